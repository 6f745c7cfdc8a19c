"""A pytest file that a lab pastes into its own CI: the same proof on every push, with the reviewed mask pinned."""

from __future__ import annotations

from collections.abc import Sequence

from .report import ProofReport

_MASK = "mask"
"""Hash of the declared mask in `ProofReport.hashes`."""


def pytest_snippet(report: ProofReport, arguments: Sequence[str]) -> str:
    """The file's text.

    Args:
        report: Of the proof that was reviewed.
        arguments: Of `python -m workbench prove`, without its output files.
    """
    pinned = {name: value for name, value in report.hashes.items() if name == _MASK}
    return f'''"""The attention mask of {_quoted(report.subject)} is as declared, in every mode that was asked for.

Made by `python -m workbench prove ... --pytest FILE`. Run it from the workbench's folder, or set WORKBENCH to it.
"""

import json
import os
import subprocess
import sys

ARGUMENTS = {list(arguments)!r}
REVIEWED = {pinned!r}


def test_the_attention_mask_is_as_declared(tmp_path):
    out = tmp_path / "proof.json"
    command = [sys.executable, "-m", "workbench", "prove", *ARGUMENTS, "--json", str(out)]
    done = subprocess.run(command, cwd=os.environ.get("WORKBENCH"), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    proof = json.loads(out.read_text())
    assert proof["holds"]
    for name, value in REVIEWED.items():
        assert proof["hashes"][name] == value, f"{{name}} is not the reviewed one: look at the proof again, then pin it"
'''


def _quoted(text: str) -> str:
    """Text that cannot end a docstring."""
    return text.replace("\\", "/").replace('"', "'")

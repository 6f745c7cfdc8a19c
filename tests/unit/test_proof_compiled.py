"""The proof of a compiled policy, and that it sees a mask which only compiled code drops.

In a process of its own: the shape checks of the test run cannot be traced, and the compiler leaves threads and caches.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROOFS = """
import json
from dataclasses import replace
import torch
from model.transformer import Trunk
from tests.proof_faults import small_config
from workbench.proof.declared import declared_by
from workbench.proof.policy import PolicySubject, random_policy
from workbench.proof.prove import prove


class ForgetsWhenCompiled(Trunk):
    def forward(self, x, mask, **rest):
        return super().forward(x, torch.ones_like(mask) if torch.compiler.is_compiling() else mask, **rest)


config = small_config()
config = replace(
    config, trunk=replace(config.trunk, layers=1), window=replace(config.window, n_obs_steps=2), foresight=("flow",)
)
found = {}
for name, kind in (("correct", Trunk), ("forgets", ForgetsWhenCompiled)):
    policy = random_policy(config)
    policy.trunk.__class__ = kind
    report = prove(PolicySubject(policy, name), declared_by(config), modes=("sdpa", "compiled"))
    mode = report.modes[1]
    cells = {f"{cell.attender} <- {cell.attended}, {cell.relation}": cell.verdict for cell in mode.findings}
    eager = [cell.verdict for cell in report.cells]
    found[name] = {"holds": report.holds, "detail": mode.detail, "cells": cells, "eager": sorted(set(eager))}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def proofs() -> dict[str, Any]:
    """What both proofs found."""
    command = [sys.executable, "-c", PROOFS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler (g++) on a CPU")
def test_compiled_code_keeps_the_mask_and_the_outputs(proofs: dict[str, Any]) -> None:
    correct = proofs["correct"]
    assert correct["holds"], correct
    assert "outputs differ by" in correct["detail"]
    assert "does not run" not in correct["detail"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler (g++) on a CPU")
def test_a_mask_dropped_under_compile_is_named_there_and_nowhere_else(proofs: dict[str, Any]) -> None:
    forgets = proofs["forgets"]
    assert not forgets["holds"]
    assert forgets["eager"] == ["OK"]
    assert forgets["cells"]["LANG <- ACT, same"] == "LEAK"
    assert forgets["cells"]["STATE <- FLOW, later"] == "LEAK"
    assert "LANG <- STATE, same" not in forgets["cells"]

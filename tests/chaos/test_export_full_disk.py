"""A full disk while a dataset is written: one error, exit code 2, and nothing left, in each layout."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FULL = 200_000  # bytes of one file; less than any of these datasets


@pytest.mark.parametrize("format", ["calvin", "libero", "lerobot"])
def test_a_full_disk_is_one_error(tmp_path: Path, format: str) -> None:
    episode = ROOT / "assets/episodes/libero_90-stack-front-bowl-0"
    limit = 60_000 if format == "calvin" else FULL  # a CALVIN file holds one step
    command = [sys.executable, "-m", "trainer", "export", episode, tmp_path / "out", "--format", format]
    done = subprocess.run(
        [*map(str, command), "--drop-steps"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        timeout=120,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "File too large" in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith(f"error: {tmp_path / 'out'}: cannot be written")
    assert not list(tmp_path.iterdir())

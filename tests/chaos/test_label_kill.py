"""`python -m trainer label` killed or out of disk: no worker stays, nothing is half-written, the rest is done later."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.factories import make_recording
from trainer.episodes.packed import save_packed
from trainer.labels.store import LabelStore

_EPISODES = 4
_TRACKER = """
import os, time
import numpy as np

def track(frames, uv):
    open(os.path.join(os.path.dirname(__file__), f"worker-{os.getpid()}"), "w").close()
    time.sleep(0.2)
    return np.repeat(uv[:, None], len(frames), 1), np.ones((len(uv), len(frames)), bool)
"""


@pytest.fixture
def argv(tmp_path: Path) -> list[str]:
    for number in range(_EPISODES):
        save_packed(make_recording(length=6, size=(24, 32), seed=number), tmp_path / "data" / str(number))
    (tmp_path / "slow.py").write_text(_TRACKER)
    command = [sys.executable, "-m", "trainer", "label", "tracks", str(tmp_path / "data"), "--workers", "2"]
    return [*command, "--store", str(tmp_path / "store"), "--tracker", f"{tmp_path / 'slow.py'}:track"]


def _labels(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "store" / "tracks").glob("*/*.safetensors"))


def _wait_until(what: str, done: object, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.timeout(240)
def test_a_killed_run_leaves_no_worker_and_goes_on(tmp_path: Path, argv: list[str]) -> None:
    child = subprocess.Popen(argv, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _wait_until("no label was made", lambda: _labels(tmp_path))
    child.send_signal(signal.SIGKILL)
    child.wait(20)
    workers = [int(path.name.removeprefix("worker-")) for path in tmp_path.glob("worker-*")]
    assert workers
    _wait_until(f"a worker of {workers} outlived its program", lambda: not any(map(_runs, workers)), 20)
    kept = _labels(tmp_path)
    assert 0 < len(kept) < _EPISODES
    for path in kept:
        assert LabelStore(tmp_path / "store", "tracks").read(path.stem).arrays
    again = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert again.returncode == 0, again.stderr
    assert f"{_EPISODES - len(kept)} made, {len(kept)} were there, 0 failed" in again.stdout


@pytest.mark.timeout(240)
def test_a_full_disk_is_one_sentence_and_nothing_is_left(tmp_path: Path, argv: list[str]) -> None:
    full = 50_000  # bytes, where a label has 240 kB
    ran = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (full, full)),
    )
    assert ran.returncode == 2, ran.stderr
    assert "Traceback" not in ran.stderr
    assert re.search(r"error: .*/store/tracks/.*\.safetensors: File too large", ran.stderr), ran.stderr
    assert [path.name for path in (tmp_path / "store").rglob("*") if path.is_file() and path.stat().st_size] == []
    assert not list((tmp_path / "store").rglob("*.tmp-*"))

"""`python -m trainer label` killed or out of disk: no worker stays, nothing is half-written, the rest is done later."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.factories import make_recording
from tests.waiting import wait_until
from trainer.episodes.packed import save_packed
from trainer.labels.store import LabelStore

_EPISODES = 4
_TRACKER = """
import os, time
from pathlib import Path
import numpy as np

home = Path(__file__).parent
LABELS = "store/tracks/*/*.safetensors"

def may_go_on():  # one worker makes one label, the rest waits for leave, so that a kill always comes in the middle
    if (home / "all-may").exists():
        return True
    workers = sorted(path.name for path in home.glob("worker-*"))
    return len(workers) == 2 and workers[0] == f"worker-{os.getpid()}" and not any(home.glob(LABELS))

def track(frames, uv):
    (home / f"worker-{os.getpid()}").touch()
    while not may_go_on():
        time.sleep(0.02)
    return np.repeat(uv[:, None], len(frames), 1), np.ones((len(uv), len(frames)), bool)
"""


@pytest.fixture
def argv(tmp_path: Path) -> list[str]:
    for number in range(_EPISODES):
        save_packed(make_recording(length=6, size=(24, 32), seed=number), tmp_path / "data" / str(number))
    (tmp_path / "waits.py").write_text(_TRACKER)
    command = [sys.executable, "-m", "trainer", "label", "tracks", str(tmp_path / "data"), "--workers", "2"]
    return [*command, "--store", str(tmp_path / "store"), "--tracker", f"{tmp_path / 'waits.py'}:track"]


def _labels(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("store/tracks/*/*.safetensors"))


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.timeout(240)
def test_a_killed_run_leaves_no_worker_and_goes_on(tmp_path: Path, argv: list[str]) -> None:
    child = subprocess.Popen(argv, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait_until(lambda: _labels(tmp_path), "a label is made")
    child.send_signal(signal.SIGKILL)
    child.wait(20)
    workers = [int(path.name.removeprefix("worker-")) for path in tmp_path.glob("worker-*")]
    assert workers
    wait_until(lambda: not any(map(_runs, workers)), f"the workers {workers} end with their program")
    (kept,) = _labels(tmp_path)
    assert LabelStore(tmp_path / "store", "tracks").read(kept.stem).arrays
    (tmp_path / "all-may").touch()
    again = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert again.returncode == 0, again.stderr
    assert f"{_EPISODES - 1} made, 1 were there, 0 failed" in again.stdout


@pytest.mark.timeout(240)
def test_a_full_disk_is_one_sentence_and_nothing_is_left(tmp_path: Path, argv: list[str]) -> None:
    (tmp_path / "all-may").touch()
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

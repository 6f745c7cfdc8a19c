"""What a stopped workbench leaves: no process of a proof, no file."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.waiting import wait_until

pytestmark = pytest.mark.chaos
ROOT = Path(__file__).parents[2]


def _named(folder: Path) -> list[str]:
    """Processes whose command line names a folder."""
    found: list[str] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.fsencode(folder) in path.read_bytes():
                found.append(path.parent.name)
        except OSError:  # it has just ended
            continue
    return found


def _proof(url: str) -> bool:
    """Asks for a proof; False while nobody answers."""
    wish = json.dumps({"kind": "prove", "subject": "preset:compact", "everything": True}).encode()
    try:
        urllib.request.urlopen(f"{url}/api/proof/runs", wish, timeout=60).close()  # noqa: S310 - our own address
    except OSError:
        return False
    return True


@pytest.mark.timeout(240)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_page_ends_its_proofs_and_removes_its_files(tmp_path: Path, number: signal.Signals) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temp = tmp_path / "temp"
    temp.mkdir()
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    page = subprocess.Popen(
        [sys.executable, "app.py", "--port", str(port)], cwd=ROOT, env={**os.environ, **cache, "TMPDIR": str(temp)}
    )
    try:
        wait_until(lambda: _proof(f"http://127.0.0.1:{port}"), "the page begins a proof", seconds=120)
        assert _named(temp)
        page.send_signal(number)
        assert page.wait(60) == (0 if number == signal.SIGINT else 128 + number)
        wait_until(lambda: not _named(temp), "its proof ends", seconds=20)
        assert not list(temp.iterdir())
    finally:
        page.kill()
        page.wait()
        for left in _named(temp):
            os.kill(int(left), signal.SIGKILL)

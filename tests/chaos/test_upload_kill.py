"""A process that is killed in the middle of uploads leaves nothing that the next one does not remove."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import files_below, wait_until
from workbench.scratch import Scratch
from workbench.uploads import Uploads

_CHILD = """
import sys
from pathlib import Path
from workbench.upload_incoming import Announced
from workbench.uploads import Uploads

desk = Uploads(Path(sys.argv[1]))
done = desk.begin("b" * 32, [Announced("done.mp4", 1)])
done.write(b"x")
desk.finish("b" * 32, done)
incoming = desk.begin("a" * 32, [Announced("half.mp4", 1 << 30)])
print("writing", flush=True)
while True:
    incoming.write(bytes(1 << 16))
"""


@pytest.mark.timeout(120)
def test_kill_in_the_middle_of_an_upload(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", _CHILD, str(tmp_path)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    assert Scratch(tmp_path).sweep() == 0
    assert files_below(tmp_path) == ["done.mp4", "half.mp4", "lock"]  # it lives, so its files are its own
    child.send_signal(signal.SIGKILL)
    child.wait(20)
    child.stdout.close()
    Uploads(tmp_path)
    wait_until(lambda: os.listdir(tmp_path) == ["lock"], "the dead one's files are removed")

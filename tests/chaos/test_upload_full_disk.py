"""A disk that is full in the middle of an upload: one sentence, nothing is left of it, and the next upload works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_CHILD = """
import io, json, resource, sys, zipfile
from pathlib import Path

from model.errors import WorkbenchError
from workbench.upload_incoming import Announced
from workbench.upload_room import Limits
from workbench.uploads import Uploads

root, how, piece = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
packed = io.BytesIO()
with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("first.mp4", b"x")
    archive.writestr("large.mp4", bytes(1 << 20))
name, data = ("t.zip", packed.getvalue()) if how == "unpacking" else ("large.mp4", bytes(1 << 20))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # as full to a file that grows beyond it
desk = Uploads(root, Limits(free_bytes=0, free_files=0))


def bring(name, data):
    incoming = desk.begin("a" * 32, [Announced(name, len(data))])
    try:
        for at in range(0, len(data), piece):
            incoming.write(data[at : at + piece])
    except WorkbenchError:
        desk.abort("a" * 32, incoming)  # as the server does
        raise
    desk.finish("a" * 32, incoming)


def left():
    return sorted(path.name for path in root.rglob("*") if path.is_file() and path.name != "lock")


told = ""
try:
    bring(name, data)
except WorkbenchError as error:
    told = str(error)
after = left()
bring("small.mp4", b"x" * 10)
print(json.dumps({"told": told, "after": after, "next": left()}))
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("how", "piece"), [("coming", 4096), ("coming", 1 << 20), ("unpacking", 1 << 20)])
def test_a_full_disk_in_the_middle_of_an_upload(tmp_path: Path, how: str, piece: int) -> None:
    child = [sys.executable, "-c", _CHILD, str(tmp_path), how, str(piece)]
    ran = subprocess.run(child, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    said: dict[str, Any] = json.loads(ran.stdout)
    assert said["told"] == "the upload does not fit: the disk is full; nothing of it was kept"
    assert (said["after"], said["next"]) == ([], ["small.mp4"])

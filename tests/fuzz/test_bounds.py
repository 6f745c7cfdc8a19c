"""Files that are small and claim to be large, each within 512 MB and two seconds of a process of its own."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

MB = 1 << 20
READ = """
import sys, time
from pathlib import Path
from model.errors import EpisodeError, UnsafeFileError
from tests.fuzz.targets import TARGETS
from tests.fuzz.worker import peak_kb
name, path, root = sys.argv[1], *map(Path, sys.argv[2:])
start = time.process_time()
said = "read"
try:
    TARGETS[name].read(path, root)
except (EpisodeError, UnsafeFileError) as error:
    said = f"{type(error).__name__}: {error}"
sys.stdout.write(f"{peak_kb()}\\n{time.process_time() - start}\\n{said[:500]}")
"""


def read_in_a_process(name: str, path: Path, root: Path) -> tuple[float, float, str]:
    """Peak resident memory in MB, processor time in seconds, and what was said."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", "-c", READ, name, str(path), str(root)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, check=True
    )
    peak, seconds, said = done.stdout.split("\n", 2)
    return int(peak) / 1024, float(seconds), said


def json_of_empty_objects() -> bytes:
    """Sixteen megabytes that become five million objects."""
    return b'{"fps": 10, "features": [' + b"{}," * ((16 * MB - 100) // 3) + b"{}]}"


def deep_json() -> bytes:
    return b'{"a": ' + b"[" * (2 * MB)


def yaml_aliases() -> bytes:
    """Values of values of values: 9^11 of them in a kilobyte."""
    lines = [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]" for at in range(1, 12)]
    return "\n".join(["a0: &a0 [x, x]", *lines, "outcome: *a11"]).encode()


def yaml_merges() -> bytes:
    lines = [f"a{at}: &a{at} {{<<: [{', '.join([f'*a{at - 1}'] * 9)}]}}" for at in range(1, 12)]
    return "\n".join(["a0: &a0 {x: 1}", *lines]).encode()


def deep_yaml() -> bytes:
    return b"a: " + b"[" * (MB - 10)


def wide_yaml() -> bytes:
    return b"a: [" + b"[]," * (MB // 3 - 10) + b"]"


def npz_bomb() -> bytes:
    """A member of half a gigabyte of zeros."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
        np.lib.format.write_array_header_1_0(
            member, {"descr": "<f8", "fortran_order": False, "shape": (512 * MB // 8,)}
        )
        for _ in range(512):
            member.write(bytes(MB))
    return buffer.getvalue()


def npz_of_many() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for at in range(20_000):
            archive.writestr(f"{at}.npy", b"")
    return buffer.getvalue()


def tfrecord_claim() -> bytes:
    """A record that says it has a gigabyte, with the right checksum of that, where nothing follows."""
    from trainer.episodes.readers.tfrecord import masked_crc

    head = struct.pack("<Q", 1 << 30)
    return head + struct.pack("<I", masked_crc(head))


def png_bomb() -> bytes:
    """Sixteen-bit pixels of zeros, as many as are allowed and more than the header says."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", 5792, 5792, 16, 0, 0, 0, 0)
    rows = zlib.compress(bytes(5792 * (2 * 5792 + 1) * 3), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def png_text_bomb() -> bytes:
    """A comment that unpacks to 300 MB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", 4, 4, 8, 2, 0, 0, 0)
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(300 * MB), 9))
    pixels = chunk(b"IDAT", zlib.compress(bytes(4 * 13)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + text + pixels + chunk(b"IEND", b"")


def json_lines() -> bytes:
    return (json.dumps({"episode_index": 1, "tasks": ["x"], "length": 3}) + "\n").encode() * 100_000


@pytest.mark.parametrize(
    ("name", "file", "make", "says"),
    [
        ("json", "meta/info.json", json_of_empty_objects, "codebase_version"),
        ("json", "meta/info.json", deep_json, "not JSON"),
        ("json lines", "episodes.jsonl", json_lines, "read"),
        ("meta.yaml", "meta.yaml", yaml_aliases, "has an alias"),
        ("meta.yaml", "meta.yaml", yaml_merges, "has an alias"),
        ("camera.yaml", "camera.yaml", deep_yaml, "is nested more than 50 deep"),
        ("camera.yaml", "camera.yaml", wide_yaml, "more than 200000 parts"),
        ("npz", "a.npz", npz_bomb, "field 'a' claims to unpack to"),
        ("npz", "a.npz", npz_of_many, "list of members"),
        ("tfrecord", "a.tfrecord", tfrecord_claim, "the record at byte 0 has 1073741824 bytes"),
        ("png16, tiff", "a.png", png_bomb, "read"),
        ("jpeg, png", "a.png", png_text_bomb, "a.png"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_bombs_stay_small(tmp_path: Path, name: str, file: str, make: object, says: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(make())  # type: ignore[operator]
    peak, seconds, said = read_in_a_process(name, path, tmp_path)
    assert says in said
    assert str(tmp_path) in said or said == "read"
    assert peak < 512
    assert seconds < 2

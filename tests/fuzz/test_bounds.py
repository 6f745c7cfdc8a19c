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

from tests.foreign_factories import field, tfrecord

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


def json_of_many(start: bytes, part: bytes, end: bytes) -> bytes:
    """As many parts as are read."""
    return start + part * (749_900 // sum(map(part.count, (b",", b"[", b"{")))) + end


def json_of_lists() -> bytes:
    return json_of_many(b'{"fps": 10, "features": [', b"[],", b"0]}")


def json_of_texts() -> bytes:
    return json_of_many(b'{"fps": 10, "features": [', b'"abcdefghij",', b"0]}")


def json_of_keys() -> bytes:
    return b'{"fps": 10, ' + b",".join(b'"%x":0' % number for number in range(749_900)) + b"}"


def deep_json() -> bytes:
    return b'{"a": ' + b"[" * 700_000


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


def example_with(name: bytes, kind: int, values: bytes) -> bytes:
    """A record of one list of bytes (1), floats (2) or integers (3)."""
    feature = field(1, name) + field(2, field(kind, values))
    return tfrecord([field(1, field(1, feature))])


def tfrecord_of_many_values() -> bytes:
    return example_with(b"steps/action", 1, field(1, b"a") * 5_000_000)


def tfrecord_of_many_integers() -> bytes:
    return example_with(b"steps/is_first", 3, field(1, b"\1" * (60 * MB)))


def tfrecord_of_many_features() -> bytes:
    return tfrecord([field(1, b"".join(field(1, field(1, b"%x" % number)) for number in range(100_000)))])


def tfrecord_of_nothing() -> bytes:
    return tfrecord([b""]) * 1_000_000


def csv_of_lines() -> bytes:
    return b"\n" * (60 * MB)


def csv_of_cells() -> bytes:
    """As many cells as are read."""
    return b"a,b,c,d,e,f,g,h\n" + b"1,2,3,4,5,6,7,8\n" * 124_000


def csv_of_a_column() -> bytes:
    return b"x\n" + b"1\n" * 299_000


def pickle_of_dictionaries() -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    return buffer.getvalue() + b"\x80\x04(" + b"}" * 4_900_000 + b"t."


def xml_of_elements() -> bytes:
    return b"<mujoco>" + b"<a/>" * 4_000_000 + b"</mujoco>"


def xml_as_large_as_read() -> bytes:
    return b"<mujoco>" + b"<a>" * 190_000


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


def json_lines_of_nothing() -> bytes:
    """Sixteen megabytes of the shortest lines."""
    return b"{}\n" * (16 * MB // 3)


def blank_lines() -> bytes:
    return b"\n" * (16 * MB)


@pytest.mark.parametrize(
    ("name", "file", "make", "says"),
    [
        ("json", "meta/info.json", json_of_empty_objects, "more than 750,000 values"),
        ("json", "meta/info.json", json_of_lists, "codebase_version"),
        ("json", "meta/info.json", json_of_texts, "codebase_version"),
        ("json", "meta/info.json", json_of_keys, "codebase_version"),
        ("json", "meta/info.json", deep_json, "not JSON"),
        ("json lines", "episodes.jsonl", json_lines, "read"),
        ("json lines", "episodes.jsonl", json_lines_of_nothing, "more than 750,000 values"),
        ("json lines", "episodes.jsonl", blank_lines, "more than 150,000 lines"),
        ("meta.yaml", "meta.yaml", yaml_aliases, "has an alias"),
        ("meta.yaml", "meta.yaml", yaml_merges, "has an alias"),
        ("camera.yaml", "camera.yaml", deep_yaml, "is nested more than 50 deep"),
        ("camera.yaml", "camera.yaml", wide_yaml, "more than 200000 parts"),
        ("npz", "a.npz", npz_bomb, "field 'a' claims to unpack to"),
        ("npz", "a.npz", npz_of_many, "list of members"),
        ("tfrecord", "a.tfrecord", tfrecord_claim, "the record at byte 0 has 1073741824 bytes"),
        ("tfrecord", "a.tfrecord", tfrecord_of_many_values, "more than 100000 values"),
        ("tfrecord", "a.tfrecord", tfrecord_of_many_integers, "bytes of integers"),
        ("tfrecord", "a.tfrecord", tfrecord_of_many_features, "more than 2000 values"),
        ("tfrecord", "a.tfrecord", tfrecord_of_nothing, "more than 100,000 records"),
        ("csv", "state.csv", csv_of_lines, "more than 1,000,000 cells"),
        ("csv", "state.csv", csv_of_cells, "read"),
        ("csv", "state.csv", csv_of_a_column, "read"),
        ("pickle", "auto_lang_ann.npy", pickle_of_dictionaries, "more than 400000 instructions"),
        ("mujoco xml", "a.xml", xml_of_elements, "read"),
        ("mujoco xml", "a.xml", xml_as_large_as_read, "read"),
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

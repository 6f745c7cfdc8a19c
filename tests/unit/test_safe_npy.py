"""npy and npz files that lie, or hold something else than numbers, are refused before memory is given to them."""

from __future__ import annotations

import io
import os
import random
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from model.errors import EpisodeError, UnsafeFileError
from trainer.episodes.safe_npy import NpzFile, read_npy


def npy(array: np.ndarray, *, version: tuple[int, int] = (1, 0)) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=version, allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3),
        np.asfortranarray(np.random.default_rng(0).normal(size=(3, 4, 2))),
        np.array(5, np.uint8),
        np.zeros((0, 7), np.float32),
        np.array([1, 2], ">i4"),
        np.array([True, False]),
    ],
)
def test_arrays_are_read_as_numpy_reads_them(tmp_path: Path, array: np.ndarray, version: tuple[int, int]) -> None:
    (tmp_path / "a.npy").write_bytes(npy(array, version=version))
    np.savez_compressed(tmp_path / "a.npz", x=array)
    with NpzFile(tmp_path / "a.npz", tmp_path) as file:
        assert file.names == ("x",)
        assert file.header("x").shape == array.shape
        for values in (read_npy(tmp_path / "a.npy", tmp_path), file.read("x", shape=array.shape)):
            np.testing.assert_array_equal(values, array)
            assert values.dtype == array.dtype.newbyteorder("=")


def header(descr: str, shape: str) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (npy(np.array([{}], object)), UnsafeFileError),
        (header("'<f8'", "(1000000000000,)") + bytes(64), UnsafeFileError),
        (header("'<f8'", "(2,)") + bytes(15), UnsafeFileError),
        (header("'<f8'", "(2,)") + bytes(17), UnsafeFileError),
        (header("[('a', '<f8')]", "(2,)") + bytes(16), UnsafeFileError),
        (header("__import__('os').system('touch ran-code')", "(2,)"), UnsafeFileError),
        (header("'<f8'", "(-2,)") + bytes(16), UnsafeFileError),
        (header("'<f8'", "(" + "9" * 40 + ",)"), UnsafeFileError),
        (header("'<U2'", "(2,)") + bytes(16), UnsafeFileError),
        (header("'<f3'", "(2,)") + bytes(6), UnsafeFileError),
        (header("'<f8'", "(" + "1," * 40 + ")") + bytes(8), UnsafeFileError),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", UnsafeFileError),
        (b"\x93NUMPY\x01\x00\x40\x00{", EpisodeError),
        (b"PK\x03\x04", EpisodeError),
        (b"", EpisodeError),
    ],
)
def test_headers_that_lie_are_one_error(
    tmp_path: Path, data: bytes, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(kind, match=r"a\.npy"):
        read_npy(tmp_path / "a.npy", tmp_path)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", data)
    with pytest.raises(kind, match=r"a\.npz: field 'x'"), NpzFile(tmp_path / "a.npz", tmp_path) as file:
        file.read("x")
    assert not (tmp_path / "ran-code").exists()


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header("'|u1'", "(60000000,)") + bytes(60_000_000))
    tracemalloc.start()
    with pytest.raises(UnsafeFileError, match="claims to unpack"):
        NpzFile(tmp_path / "a.npz", tmp_path, max_bytes=8 << 20)
    with NpzFile(tmp_path / "a.npz", tmp_path) as file, pytest.raises(EpisodeError, match="expected"):
        file.read("x", shape=(3,))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_archives_that_are_no_npz_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(2000):
            archive.writestr(f"{'x' * 60}{index}.npy", b"")
    with pytest.raises(UnsafeFileError, match="list of members"):
        NpzFile(path, tmp_path)
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):  # noqa: PT031
        archive.writestr("x.npy", b"")
        archive.writestr("x.npy", b"")
    with pytest.raises(UnsafeFileError, match="twice"):
        NpzFile(path, tmp_path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x.npy", b"")
    with pytest.raises(UnsafeFileError, match="never uses"):
        NpzFile(path, tmp_path)
    for data in (b"", b"PK\x05\x06", bytes(100)):
        path.write_bytes(data)
        with pytest.raises(EpisodeError):
            NpzFile(path, tmp_path)


def test_nothing_outside_the_root_is_read(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    np.save(tmp_path / "outside.npy", np.arange(3))
    (root / "link.npy").symlink_to(tmp_path / "outside.npy")
    np.save(root / "real.npy", np.arange(3))
    (root / "inner.npy").symlink_to(root / "real.npy")
    (root / "loop.npy").symlink_to(root / "loop.npy")
    os.mkfifo(root / "pipe.npy")
    for name, kind in (
        ("link", UnsafeFileError),
        ("pipe", UnsafeFileError),
        ("loop", EpisodeError),
        ("no", EpisodeError),
    ):
        with pytest.raises(kind):
            read_npy(root / f"{name}.npy", root)
    np.testing.assert_array_equal(read_npy(root / "inner.npy", root), np.arange(3))
    with pytest.raises(UnsafeFileError, match="more than"):
        read_npy(root / "real.npy", root, max_bytes=10)


def test_mutated_archives_give_arrays_or_one_error(tmp_path: Path) -> None:
    path, rng, refused = tmp_path / "a.npz", random.Random(0), 0
    np.savez_compressed(path, rgb=np.arange(300, dtype=np.uint8).reshape(10, 10, 3), robot_obs=np.arange(15.0))
    original = path.read_bytes()
    for _ in range(400):
        data = bytearray(original)
        for _ in range(rng.choice((1, 1, 3))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.2:
            del data[rng.randrange(len(data)) :]
        path.write_bytes(data)
        try:
            with NpzFile(path, tmp_path) as file:
                for name in file.names:
                    file.read(name)
        except (UnsafeFileError, EpisodeError):
            refused += 1
    assert refused > 150

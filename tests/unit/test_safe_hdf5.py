"""HDF5 files that lead elsewhere, or claim more than they hold, are refused before they are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.errors import EpisodeError, UnsafeFileError
from trainer.episodes import safe_hdf5

h5py = pytest.importorskip("h5py", reason="needs the extra [libero]")


def read(path: Path) -> np.ndarray:
    with safe_hdf5.open_hdf5(path) as file:
        return safe_hdf5.array(safe_hdf5.group(file, "data"), "states", columns=3)


def write(path: Path, fill: Callable[[object], None]) -> Path:
    with h5py.File(path, "w") as file:
        fill(file.create_group("data"))
    return path


def test_numbers_are_read(tmp_path: Path) -> None:
    values = np.arange(6.0).reshape(2, 3)
    path = write(tmp_path / "a.hdf5", lambda data: data.create_dataset("states", data=values, compression="gzip"))
    assert np.array_equal(read(path), values)


def test_links_out_of_the_file_are_refused(tmp_path: Path) -> None:
    def external(data: object) -> None:
        data["states"] = h5py.ExternalLink("/etc/passwd", "/x")

    def soft(data: object) -> None:
        data["states"] = h5py.SoftLink("/data")

    for fill in (external, soft):
        with pytest.raises(UnsafeFileError, match="data/states: a link"):
            read(write(tmp_path / "a.hdf5", fill))


def test_data_of_other_files_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(48))

    def external(data: object) -> None:
        data.create_dataset("states", (2, 3), "f8", external=[(str(secret), 0, 48)])

    def virtual(data: object) -> None:
        layout = h5py.VirtualLayout((2, 3), "f8")
        layout[:] = h5py.VirtualSource(str(secret), "x", (2, 3))
        data.create_virtual_dataset("states", layout)

    for fill in (external, virtual):
        with pytest.raises(UnsafeFileError, match="another file"):
            read(write(tmp_path / "a.hdf5", fill))


def test_bombs_are_refused_unread(tmp_path: Path) -> None:
    def terabytes(data: object) -> None:
        data.create_dataset("states", (10**11, 3), "f8", chunks=(1024, 3), compression="gzip")

    def ratio(data: object) -> None:
        data.create_dataset("states", data=np.zeros((10**6, 3)), compression="gzip", compression_opts=9)

    for fill in (terabytes, ratio):
        with pytest.raises(UnsafeFileError, match="claim to unpack"):
            read(write(tmp_path / "a.hdf5", fill))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 4)), r"shape \(2, 4\)"),
        (np.full((2, 3), np.nan), "NaN"),
        (np.array([[b"a", b"b", b"c"]]), "not numbers"),
    ],
)
def test_other_content_is_named(tmp_path: Path, values: np.ndarray, message: str) -> None:
    path = write(tmp_path / "a.hdf5", lambda data: data.create_dataset("states", data=values))
    with pytest.raises(EpisodeError, match=message):
        read(path)


def test_unknown_filters_and_huge_pieces_are_refused(tmp_path: Path) -> None:
    def filtered(data: object) -> None:
        data.create_dataset("states", data=np.zeros((4, 3)), scaleoffset=3, chunks=(4, 3))

    def pieces(data: object) -> None:
        data.create_dataset("states", (10**7, 3), "f8", chunks=(10**7, 3))

    for fill, says in ((filtered, "data/states: unknown filter 6"), (pieces, "data/states: is stored in pieces")):
        with pytest.raises(UnsafeFileError, match=says):
            read(write(tmp_path / "a.hdf5", fill))


def test_a_group_within_itself_ends(tmp_path: Path) -> None:
    def loop(data: object) -> None:
        data["inner"] = data

    with safe_hdf5.open_hdf5(write(tmp_path / "a.hdf5", loop)) as file:
        inner = safe_hdf5.group(file, "data")
        for _ in range(20):
            inner = safe_hdf5.group(inner, "inner")
        assert safe_hdf5.children(inner) == ["inner"]


def test_foreign_and_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.hdf5").write_text("no")
    for name in ("text.hdf5", "absent.hdf5"):
        with pytest.raises(EpisodeError, match=name):
            read(tmp_path / name)
    with pytest.raises(EpisodeError, match="data/states: missing"):
        read(write(tmp_path / "a.hdf5", lambda data: None))

"""HDF5 read as data only: no link or storage that leads out of the file, nothing that unpacks to more than it should.

HDF5 files can point at any file of the host (external links, external storage, virtual datasets) and declare datasets
of terabytes in kilobytes. What is read here is checked first.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.errors import EpisodeError, UnsafeFileError

if TYPE_CHECKING:
    import h5py

MAX_BYTES = 2 << 30
MAX_RATIO = 200  # unpacked to stored
MAX_TEXT = 16 << 20
MAX_PIECE = 64 << 20  # bytes of one chunk or one frame
MAX_CHILDREN = 100_000
_FILTERS = {"gzip", "lzf", None}


@contextmanager
def open_hdf5(path: Path) -> Generator[h5py.File]:
    """Opens a file for reading.

    Raises:
        EpisodeError: Missing, truncated, or not HDF5.
    """
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise EpisodeError(f"{path}: cannot be read as HDF5 ({error})") from None
    with file:
        yield file


def group(parent: h5py.Group, name: str) -> h5py.Group:
    """A direct child group."""
    import h5py

    child = _child(parent, name)
    if not isinstance(child, h5py.Group):
        raise EpisodeError(f"{_where(parent, name)}: not a group")
    return child


def children(parent: h5py.Group) -> list[str]:
    """The names of what lies in a group.

    Raises:
        UnsafeFileError: More than anybody could want.
    """
    if len(parent) > MAX_CHILDREN:
        raise UnsafeFileError(f"{parent.file.filename}: {parent.name} has {len(parent)} entries")
    return list(parent)


def numbers_dataset(parent: h5py.Group, name: str) -> h5py.Dataset:
    """A direct child dataset of numbers whose data lie in this file, to be read in pieces by `frame`.

    Raises:
        EpisodeError: Missing, or no dataset of numbers.
        UnsafeFileError: Its data lie elsewhere, or are packed in an unknown way or in huge pieces.
    """
    import h5py

    where = _where(parent, name)
    dataset = _child(parent, name)
    if not isinstance(dataset, h5py.Dataset):
        raise EpisodeError(f"{where}: not a dataset")
    if dataset.external or dataset.is_virtual:
        raise UnsafeFileError(f"{where}: its data lie in another file")
    if dataset.compression not in _FILTERS:
        raise UnsafeFileError(f"{where}: unknown filter {dataset.compression!r:.40}")
    if dataset.dtype.kind not in "fiu":
        raise EpisodeError(f"{where}: holds {dataset.dtype}, not numbers")
    chunk = int(np.prod(dataset.chunks or (), dtype=object)) * dataset.dtype.itemsize
    if chunk > MAX_PIECE:
        raise UnsafeFileError(f"{where}: is stored in pieces of {chunk} bytes")
    return dataset


def frame(dataset: h5py.Dataset, index: int) -> np.ndarray:
    """One entry along the first axis.

    Raises:
        EpisodeError: Damaged, or no such entry.
        UnsafeFileError: An entry is huge.
    """
    where = f"{dataset.file.filename}: {dataset.name}"
    size = int(np.prod(dataset.shape[1:], dtype=object)) * dataset.dtype.itemsize
    if size > MAX_PIECE:
        raise UnsafeFileError(f"{where}: one entry has {size} bytes")
    if not 0 <= index < len(dataset):
        raise EpisodeError(f"{where}: has {len(dataset)} entries, no entry {index}")
    try:
        return np.asarray(dataset[index])
    except (OSError, RuntimeError, ValueError) as error:
        raise EpisodeError(f"{where}: entry {index} cannot be read ({error!s:.120})") from None


def array(parent: h5py.Group, name: str, *, columns: int | None = None) -> np.ndarray:
    """A direct child dataset of finite numbers, two-dimensional where `columns` is given, as float64."""
    where = _where(parent, name)
    dataset = numbers_dataset(parent, name)
    stored = max(dataset.id.get_storage_size(), 1)
    if dataset.nbytes > MAX_BYTES or dataset.nbytes > MAX_RATIO * stored:
        raise UnsafeFileError(f"{where}: {stored} bytes claim to unpack to {dataset.nbytes}")
    if columns is not None and (dataset.ndim != 2 or dataset.shape[1] != columns):
        raise EpisodeError(f"{where}: has shape {dataset.shape}, expected (steps, {columns})")
    try:
        values = np.asarray(dataset[()], dtype=np.float64)
    except (OSError, RuntimeError, ValueError) as error:
        raise EpisodeError(f"{where}: cannot be read ({error!s:.120})") from None
    if not np.isfinite(values).all():
        raise EpisodeError(f"{where}: holds NaN or infinity")
    return values


def text(parent: h5py.Group, name: str) -> str:
    """A text attribute."""
    value: Any = parent.attrs.get(name)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise EpisodeError(f"{_where(parent, name)}: not a text attribute")
    return value


def _child(parent: h5py.Group, name: str) -> Any:
    import h5py

    link = parent.get(name, getlink=True)
    if link is None:
        raise EpisodeError(f"{_where(parent, name)}: missing")
    if not isinstance(link, h5py.HardLink):
        raise UnsafeFileError(f"{_where(parent, name)}: a link, which may lead out of the file")
    return parent[name]


def _where(parent: h5py.Group, name: str) -> str:
    return f"{parent.file.filename}: {str(parent.name).rstrip('/')}/{name}"

"""HDF5 read as data only: no link or storage that leads out of the file, nothing that unpacks to more than it should.

HDF5 files can point at any file of the host (external links, external storage, virtual datasets), declare datasets of
terabytes in kilobytes, and crash the library that reads them. So the library runs in a process of its own
(`guarded.hdf5_child`); what it says a file holds is checked here before any of it is asked for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import EpisodeError, UnsafeFileError

from .guarded.child import child

MAX_BYTES = 64 << 20  # of an array
MAX_RATIO = 200  # unpacked to stored
MAX_PIECE = 64 << 20  # bytes of one chunk or one frame
_FILTERS = {1: "gzip", 2: "shuffle", 3: "checksum", 32000: "lzf"}  # the format's numbers
_DTYPE = re.compile(r"[<>|][fiub]\d{1,2}")


@dataclass(frozen=True)
class Dataset:
    """What is known of a dataset of numbers before it is read.

    Attributes:
        rows: Entries along the first axis that can be read: fewer than `shape[0]` where the file was cut off.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    rows: int
    stored: int

    @property
    def nbytes(self) -> int:
        """Bytes when unpacked."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.rows

    def __str__(self) -> str:
        return f"{self.path}: {self.name}"


class Group:
    """A group of a file; `name` is its full path there, `depth` how many levels of it are asked for at once."""

    def __init__(self, path: Path, name: str, depth: int = 1, listing: dict[str, Any] | None = None) -> None:
        self.path, self.name, self._depth = path, name, depth
        self._listed = listing

    def where(self, name: str) -> str:
        """How messages name what lies in it."""
        return f"{self.path}: {self.name}/{name}"

    @property
    def complaint(self) -> str:
        """What is wrong with the file as a whole, "" if nothing is."""
        return str(self._listing.get("complaint", ""))[:200]

    @cached_property
    def entries(self) -> dict[str, dict[str, Any]]:
        """What lies in it, by name."""
        found: Any = self._listing.get("entries")
        if not isinstance(found, dict) or not all(isinstance(entry, dict) for entry in found.values()):
            raise EpisodeError(f"{self.path}: {self.name or '/'}: cannot be listed")
        return found

    def below(self, name: str) -> dict[str, Any] | None:
        """What is known already of what lies in a group within it."""
        entry = self.entries.get(name, {}) if self._listed is not None else {}
        return {**self._listing, "entries": entry["entries"]} if "entries" in entry else None

    @property
    def _listing(self) -> dict[str, Any]:
        if self._listed is None:
            self._listed = child("hdf5").ask("entries", self.path, name=self.name or "/", depth=self._depth)[0]
        return self._listed

    def entry(self, name: str) -> dict[str, Any]:
        """One of them.

        Raises:
            EpisodeError: Missing or damaged.
            UnsafeFileError: A link.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise EpisodeError(f"{self.where(name)}: missing")
        if entry.get("kind") == "damaged":
            raise EpisodeError(f"{self.where(name)}: damaged ({entry.get('problem', '')!s:.160})")
        if entry.get("kind") == "link":
            raise UnsafeFileError(f"{self.where(name)}: a link, which may lead out of the file")
        return entry

    def __contains__(self, name: str) -> bool:
        return name in self.entries


@contextmanager
def open_hdf5(path: Path) -> Generator[Group]:
    """The root group of a file; the file is looked at when something of it is asked for.

    Raises:
        EpisodeError: Missing; and, with every use, truncated so that nothing can be read, or not HDF5.
    """
    if not path.is_file():
        raise EpisodeError(f"{path}: cannot be read as HDF5 (no such file)")
    yield Group(path, "")


def group(parent: Group, name: str, *, depth: int = 1) -> Group:
    """A direct child group. That it is one, and no link, is found when something of it is asked for.

    Args:
        parent: The group it lies in.
        name: Its name there.
        depth: Levels of it that are asked for at once.
    """
    return Group(parent.path, f"{parent.name}/{name}", depth, parent.below(name))


def children(parent: Group) -> list[str]:
    """The names of what lies in a group.

    Raises:
        UnsafeFileError: More than anybody could want.
    """
    return list(parent.entries)


def numbers_dataset(parent: Group, name: str) -> Dataset:
    """A direct child dataset of numbers whose data lie in this file, to be read in pieces by `frame`.

    Raises:
        EpisodeError: Missing, or no dataset of numbers.
        UnsafeFileError: Its data lie elsewhere, or are packed in an unknown way or in huge pieces.
    """
    where, entry = parent.where(name), parent.entry(name)
    if entry.get("kind") != "dataset":
        raise EpisodeError(f"{where}: not a dataset")
    if entry.get("outside"):
        raise UnsafeFileError(f"{where}: its data lie in another file")
    if unknown := [number for number in entry.get("filters", [None]) if number not in _FILTERS]:
        raise UnsafeFileError(f"{where}: unknown filter {unknown[0]!r:.40}")
    dtype = str(entry.get("dtype"))
    if not entry.get("numbers") or not _DTYPE.fullmatch(dtype):
        raise EpisodeError(f"{where}: holds {dtype:.40}, not numbers")
    shape, chunk = _lengths(entry.get("shape"), where), _lengths(entry.get("chunk") or [0], where)
    rows, stored = _lengths([entry.get("rows"), entry.get("stored")], where)
    found = Dataset(parent.path, f"{parent.name}/{name}", shape, np.dtype(dtype), rows, stored)
    if math.prod(chunk) * found.dtype.itemsize > MAX_PIECE:
        raise UnsafeFileError(f"{where}: is stored in pieces of {math.prod(chunk) * found.dtype.itemsize} bytes")
    return found


def frame(dataset: Dataset, index: int) -> np.ndarray:
    """One entry along the first axis.

    Raises:
        EpisodeError: Damaged, or no such entry.
        UnsafeFileError: An entry is huge.
    """
    size = math.prod(dataset.shape[1:]) * dataset.dtype.itemsize
    if size > MAX_PIECE:
        raise UnsafeFileError(f"{dataset}: one entry has {size} bytes")
    if not 0 <= index < dataset.rows:
        raise EpisodeError(f"{dataset}: has {dataset.rows} entries, no entry {index}")
    return _read(dataset, index, dataset.shape[1:])


def array(parent: Group, name: str, *, columns: int | None = None, cut: bool = False) -> np.ndarray:
    """A direct child dataset of finite numbers, as float64.

    Args:
        parent: The group it lies in.
        name: Its name there.
        columns: It must have two dimensions, the second of this length.
        cut: Give the rows that are there of a file that was cut off, instead of raising.

    Raises:
        EpisodeError: Missing, damaged, cut off, not finite, or of another shape.
        UnsafeFileError: As `numbers_dataset`, or it claims to unpack to more than it should.
    """
    where = parent.where(name)
    dataset = numbers_dataset(parent, name)
    if dataset.nbytes > MAX_BYTES or dataset.nbytes > MAX_RATIO * max(dataset.stored, 1):
        raise UnsafeFileError(f"{where}: {dataset.stored} bytes claim to unpack to {dataset.nbytes}")
    if columns is not None and (len(dataset.shape) != 2 or dataset.shape[1] != columns):
        raise EpisodeError(f"{where}: has shape {dataset.shape}, expected (steps, {columns})")
    if not cut and dataset.shape and dataset.rows < dataset.shape[0]:
        raise EpisodeError(f"{where}: the file is cut off within it, after {dataset.rows} of {dataset.shape[0]} rows")
    shape = (dataset.rows, *dataset.shape[1:]) if dataset.shape else ()
    values = _read(dataset, None, shape).astype(np.float64)
    if not np.isfinite(values).all():
        raise EpisodeError(f"{where}: holds NaN or infinity")
    return values


def text(parent: Group, name: str) -> str:
    """A text attribute."""
    value: Any = child("hdf5").ask("text", parent.path, name=parent.name or "/", attribute=name)[0].get("text")
    if not isinstance(value, str):
        raise EpisodeError(f"{parent.where(name)}: not a text attribute")
    return value


def _read(dataset: Dataset, index: int | None, shape: tuple[int, ...]) -> np.ndarray:
    head, data = child("hdf5").ask("read", dataset.path, name=dataset.name, index=index)
    if head.get("shape") != list(shape) or head.get("dtype") != dataset.dtype.str:
        raise EpisodeError(f"{dataset}: changed while it was read")
    if len(data) != math.prod(shape) * dataset.dtype.itemsize:
        raise EpisodeError(f"{dataset}: changed while it was read")
    return np.frombuffer(data, dataset.dtype).reshape(shape).astype(dataset.dtype.newbyteorder("="), copy=False)


def _lengths(values: Any, where: str) -> tuple[int, ...]:
    if not isinstance(values, list) or not all(isinstance(value, int) and 0 <= value < 1 << 62 for value in values):
        raise EpisodeError(f"{where}: has no shape")
    return tuple(values)

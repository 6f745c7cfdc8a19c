"""Reads HDF5 for `trainer.episodes.safe_hdf5`, in a process of its own (started by `child`).

Only hard links are followed, and only data that lie in the file itself are read. Of a file that was cut off, what lies
before its end is read: the library would refuse it, so it is shown a file of the announced size, and everything that
reaches beyond the real end counts as not there.
"""

from __future__ import annotations

import io
import os
import re
from typing import Any

import h5py
import numpy as np

from model.errors import EpisodeError, UnsafeFileError

from .serve import Buffers, reason, serve

MAX_CHILDREN = 100_000
MAX_TEXT = 16 << 20
_STORED_SIZE = re.compile(r"stored_eof = (\d{1,18})")
_MAX_CHUNKS = 1_000_000


class _Padded(io.RawIOBase):
    """A file that seems to go on with zeros up to a size."""

    def __init__(self, path: str, size: int) -> None:
        self._file, self._size = open(path, "rb", buffering=0), size  # noqa: SIM115 - closed below

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(self._size + offset, 0) if whence == 2 else self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        got = self._file.readinto(view) or 0
        view[got:] = bytes(len(view) - got)
        return len(view)

    def close(self) -> None:
        self._file.close()
        super().close()


class _Opened:
    """The file that was asked about last, as long as it does not change."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self.file: Any = None
        self.size = 0
        self.announced = 0

    def get(self, path: str, where: str) -> Any:
        found = os.stat(path)
        key = (path, found.st_ino, found.st_mtime_ns, found.st_size)
        if key != self._key:
            self.close()
            self.size = self.announced = found.st_size
            self.file = self._open(path, where)
            self._key = key
        return self.file

    def close(self) -> None:
        file, self.file, self._key = self.file, None, ()
        if file is not None:
            file.close()

    def _open(self, path: str, where: str) -> Any:
        try:
            return h5py.File(path, "r")
        except OSError as error:
            stored = _STORED_SIZE.search(str(error))
            if stored is None or not self.size < int(stored[1]) < 1 << 50:
                raise EpisodeError(f"{where}: cannot be read as HDF5 ({reason(error)})") from None
            self.announced = int(stored[1])
            return h5py.File(_Padded(path, self.announced), "r")


_opened = _Opened()


def complaint(path: str, where: str) -> tuple[dict[str, Any], Buffers]:
    """Opens a file: what is wrong with it as a whole, "" if nothing is."""
    _opened.get(path, where)
    cut = f"cut off: it has {_opened.size} of its {_opened.announced} bytes"
    return {"complaint": cut if _opened.size < _opened.announced else ""}, ()


def entries(path: str, where: str, name: str) -> tuple[dict[str, Any], Buffers]:
    """What lies in a group: by name, its kind and what a reader must know before it reads."""
    group = _at(path, where, name)
    if not isinstance(group, h5py.Group):
        raise EpisodeError(f"{where}: {name}: not a group")
    if len(group) > MAX_CHILDREN:
        raise UnsafeFileError(f"{where}: {name} has {len(group)} entries")
    return {"entries": {str(child): _entry(group, str(child)) for child in group}}, ()


def read(path: str, where: str, name: str, index: int | None) -> tuple[dict[str, Any], Buffers]:
    """A dataset, or its entry along the first axis; `entries` said that it can be read."""
    dataset = _at(path, where, name)
    if not isinstance(dataset, h5py.Dataset):
        raise EpisodeError(f"{where}: {name}: not a dataset")
    if dataset.external or dataset.is_virtual:
        raise UnsafeFileError(f"{where}: {name}: its data lie in another file")
    rows = _rows(dataset)
    try:
        values = np.ascontiguousarray(
            dataset[: rows if len(dataset.shape) else None] if index is None else dataset[index]
        )
    except (OSError, RuntimeError, ValueError) as error:
        at = "" if index is None else f" entry {index}"
        raise EpisodeError(f"{where}: {name}:{at} cannot be read ({reason(error)})") from None
    return {"shape": values.shape, "dtype": values.dtype.str}, (values.data.cast("B") if values.size else b"",)


def text(path: str, where: str, name: str, attribute: str) -> tuple[dict[str, Any], Buffers]:
    """A text attribute of an object; None for anything else."""
    value = _at(path, where, name).attrs.get(attribute)
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        return {"text": None}, ()
    return {"text": value.encode("utf-8", "replace").decode()}, ()


def _at(path: str, where: str, name: str) -> Any:
    """An object by its full name, over hard links only."""
    found: Any = _opened.get(path, where)
    for part in name.strip("/").split("/"):
        if part:
            link = found.get(part, getlink=True) if isinstance(found, h5py.Group) else None
            if not isinstance(link, h5py.HardLink):
                raise UnsafeFileError(f"{where}: {name}: a link, which may lead out of the file, or missing")
            found = found[part]
    return found


def _entry(group: Any, name: str) -> dict[str, Any]:
    try:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            return {"kind": "link"}
        found: Any = group[name]
        if isinstance(found, h5py.Group):
            return {"kind": "group"}
        if not isinstance(found, h5py.Dataset) or found.shape is None:
            return {"kind": "other"}
        return _dataset(found)
    except Exception as error:  # the library raises many kinds for a damaged entry
        return {"kind": "damaged", "problem": reason(error)}


def _dataset(dataset: Any) -> dict[str, Any]:
    outside, plist = bool(dataset.external) or dataset.is_virtual, dataset.id.get_create_plist()
    return {
        "kind": "dataset",
        "shape": dataset.shape,
        "dtype": dataset.dtype.str if dataset.dtype.kind in "fiub" else str(dataset.dtype)[:40],
        "numbers": dataset.dtype.kind in "fiu",
        "chunk": dataset.chunks,
        "filters": [plist.get_filter(at)[0] for at in range(plist.get_nfilters())],
        "outside": outside,
        "stored": dataset.id.get_storage_size(),
        "rows": 0 if outside else _rows(dataset),
    }


def _rows(dataset: Any) -> int:
    """Entries along the first axis that lie before the real end of the file; all of them unless it was cut off."""
    rows = int(dataset.shape[0]) if dataset.shape else 1
    if _opened.size >= _opened.announced or not rows:
        return rows
    if dataset.chunks is None:
        offset, width = dataset.id.get_offset(), dataset.nbytes // rows
        return 0 if offset is None or not width else int(np.clip((_opened.size - offset) // width, 0, rows))
    count = dataset.id.get_num_chunks()
    if count > _MAX_CHUNKS:
        raise ValueError(f"{count} chunks")
    chunks = [dataset.id.get_chunk_info(at) for at in range(count)]
    lost = [chunk.chunk_offset[0] for chunk in chunks if chunk.byte_offset + chunk.size > _opened.size]
    wanted = int(np.prod([-(-length // part) for length, part in zip(dataset.shape, dataset.chunks, strict=True)]))
    if count < wanted:  # the list of chunks itself is cut
        lost.append(_first_missing({chunk.chunk_offset for chunk in chunks}, dataset))
    return min(lost, default=rows)


def _first_missing(there: set[tuple[int, ...]], dataset: Any) -> int:
    """The first row that belongs to a chunk nobody lists."""
    counts: dict[int, int] = {}
    for offset in there:
        counts[offset[0]] = counts.get(offset[0], 0) + 1
    tail = zip(dataset.shape[1:], dataset.chunks[1:], strict=True)
    each = int(np.prod([-(-length // part) for length, part in tail], dtype=object))
    return next(row for row in range(0, dataset.shape[0] + 1, dataset.chunks[0]) if counts.get(row, 0) < each)


if __name__ == "__main__":
    serve({"complaint": complaint, "entries": entries, "read": read, "text": text}, _opened.close)

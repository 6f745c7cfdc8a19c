"""Reads HDF5 for `trainer.episodes.safe_hdf5`, in a process of its own (started by `child`).

Only hard links are followed, and only data that lie in the file itself are read. Of a file that was cut off, what lies
before its end is read: the library would refuse it, so it is shown a file of the announced size, and everything that
reaches beyond the real end counts as not there.

Identifiers of h5py's lower half are used, not its objects: they cost a third, and a file has hundreds of datasets.
"""

from __future__ import annotations

import io
import math
import os
import re
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5f, h5g, h5l, h5o, h5s  # pyright: ignore[reportAttributeAccessIssue]

from model.errors import EpisodeError, UnsafeFileError, WorkbenchError

from .serve import Buffers, reason, serve

MAX_CHILDREN = 100_000
MAX_TEXT = 16 << 20
_STORED_SIZE = re.compile(r"stored_eof = (\d{1,18})")
_MAX_CHUNKS = 1_000_000
_MAX_GROUPS = 64  # kept open


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
    """The file that was asked about last, as long as it does not change; `groups` are those of it that are open."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._file: Any = None
        self.groups: dict[str, Any] = {}
        self.size = 0
        self.announced = 0

    def get(self, path: str, where: str) -> Any:
        """Its root."""
        found = os.stat(path)
        key = (path, found.st_ino, found.st_mtime_ns, found.st_size)
        if key != self._key:
            self.close()
            self.size = self.announced = found.st_size
            self._file = self._open(path, where)
            self.groups[""] = h5o.open(self._file, b"/")
            self._key = key
        return self.groups[""]

    def close(self) -> None:
        self._key = ()
        self.groups.clear()
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _open(self, path: str, where: str) -> Any:
        try:
            return h5f.open(os.fsencode(path), h5f.ACC_RDONLY)
        except OSError as error:
            stored = _STORED_SIZE.search(str(error))
            if stored is None or not self.size < int(stored[1]) < 1 << 50:
                raise EpisodeError(f"{where}: cannot be read as HDF5 ({reason(error)})") from None
            self.announced = int(stored[1])
            return h5py.File(_Padded(path, self.announced), "r").id


_opened = _Opened()


def entries(path: str, where: str, name: str, depth: int) -> tuple[dict[str, Any], Buffers]:
    """What lies in a group, and what is wrong with the file as a whole, "" if nothing is.

    Of what lies there, by name: its kind and what a reader must know before it reads; of groups, where `depth` is more
    than 1, their own entries.
    """
    group = _at(path, where, name)
    if not isinstance(group, h5g.GroupID):
        raise EpisodeError(f"{where}: {name}: not a group")
    cut = f"cut off: it has {_opened.size} of its {_opened.announced} bytes"
    complaint = cut if _opened.size < _opened.announced else ""
    return {"complaint": complaint, "entries": _entries(group, f"{where}: {name}", depth)}, ()


def _entries(group: Any, where: str, depth: int) -> dict[str, Any]:
    if len(group) > MAX_CHILDREN:
        raise UnsafeFileError(f"{where} has {len(group)} entries")
    links: list[tuple[bytes, int]] = []
    group.links.iterate(lambda child, link: links.append((child, link.type)), info=True)
    return {child.decode("utf-8", "surrogateescape"): _entry(group, child, link, depth - 1) for child, link in links}


def read(path: str, where: str, name: str, index: int | None) -> tuple[dict[str, Any], Buffers]:
    """A dataset, or its entry along the first axis; `entries` said that it can be read."""
    dataset = _at(path, where, name)
    if not isinstance(dataset, h5d.DatasetID):
        raise EpisodeError(f"{where}: {name}: not a dataset")
    if _outside(dataset.get_create_plist()):
        raise UnsafeFileError(f"{where}: {name}: its data lie in another file")
    try:
        values = _read(dataset, index)
    except (OSError, RuntimeError, ValueError) as error:
        at = "" if index is None else f" entry {index}"
        raise EpisodeError(f"{where}: {name}:{at} cannot be read ({reason(error)})") from None
    return {"shape": values.shape, "dtype": values.dtype.str}, (values.data.cast("B") if values.size else b"",)


def _read(dataset: Any, index: int | None) -> np.ndarray:
    """All entries along the first axis that are there, or one of them."""
    shape, space = dataset.shape, dataset.get_space()
    if not shape:
        start, count, wanted = (), (), ()
    elif index is None:
        rows = _rows(dataset, shape)
        start, count, wanted = (0,) * len(shape), (rows, *shape[1:]), (rows, *shape[1:])
    else:
        start, count, wanted = (index, *(0,) * (len(shape) - 1)), (1, *shape[1:]), shape[1:]
    values = np.empty(wanted, dataset.dtype)
    if values.size:
        if shape:
            space.select_hyperslab(start, count)
        dataset.read(h5s.create_simple(count) if shape else h5s.ALL, space, values)
    return values


def text(path: str, where: str, name: str, attribute: str) -> tuple[dict[str, Any], Buffers]:
    """A text attribute of a group; None for anything else."""
    found = _at(path, where, name)
    value = h5py.Group(found).attrs.get(attribute) if isinstance(found, h5g.GroupID) else None
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        return {"text": None}, ()
    return {"text": value.encode("utf-8", "replace").decode()}, ()


def _at(path: str, where: str, name: str) -> Any:
    """An object by its full name, over hard links only."""
    found: Any = _opened.get(path, where)
    way = ""
    for part in name.strip("/").split("/") if name.strip("/") else ():
        group, way = found, f"{way}/{part}"
        found = _opened.groups.get(way)
        if found is not None:
            continue
        if not isinstance(group, h5g.GroupID):
            raise EpisodeError(f"{where}: {way.rpartition('/')[0]}: not a group")
        try:
            found = _step(group, part.encode("utf-8", "surrogateescape"))
        except WorkbenchError as error:
            raise type(error)(f"{where}: {way}: {error}") from None
        except Exception as error:  # as in `_entry`
            raise EpisodeError(f"{where}: {way}: damaged ({reason(error)})") from None
        if isinstance(found, h5g.GroupID) and len(_opened.groups) < _MAX_GROUPS:
            _opened.groups[way] = found
    return found


def _step(group: Any, name: bytes) -> Any:
    try:
        link = group.links.get_info(name)
    except (RuntimeError, KeyError):
        if name in group:
            raise
        raise EpisodeError("missing") from None
    if link.type != h5l.TYPE_HARD:
        raise UnsafeFileError("a link, which may lead out of the file")
    return h5o.open(group, name)


def _entry(group: Any, name: bytes, link: int, depth: int) -> dict[str, Any]:
    if link != h5l.TYPE_HARD:
        return {"kind": "link"}
    try:
        found: Any = h5o.open(group, name)
        if isinstance(found, h5g.GroupID):
            return {"kind": "group", **({"entries": _entries(found, "a group", depth)} if depth > 0 else {})}
        shape = found.shape if isinstance(found, h5d.DatasetID) else None
        return {"kind": "other"} if shape is None else _dataset(found, shape)
    except UnsafeFileError:
        raise
    except Exception as error:  # the library raises many kinds for a damaged entry
        return {"kind": "damaged", "problem": reason(error)}


def _dataset(dataset: Any, shape: tuple[int, ...]) -> dict[str, Any]:
    plist, dtype = dataset.get_create_plist(), dataset.dtype
    outside = _outside(plist)
    return {
        "kind": "dataset",
        "shape": shape,
        "dtype": dtype.str if dtype.kind in "fiub" else str(dtype)[:40],
        "numbers": dtype.kind in "fiu",
        "chunk": _chunk(plist),
        "filters": [plist.get_filter(at)[0] for at in range(plist.get_nfilters())],
        "outside": outside,
        "stored": dataset.get_storage_size(),
        "rows": 0 if outside else _rows(dataset, shape),
    }


def _outside(plist: Any) -> bool:
    return bool(plist.get_external_count()) or plist.get_layout() == h5d.VIRTUAL


def _chunk(plist: Any) -> tuple[int, ...] | None:
    return plist.get_chunk() if plist.get_layout() == h5d.CHUNKED else None


def _rows(dataset: Any, shape: tuple[int, ...]) -> int:
    """Entries along the first axis that lie before the real end of the file; all of them unless it was cut off."""
    rows = int(shape[0]) if shape else 1
    if _opened.size >= _opened.announced or not rows:
        return rows
    chunk = _chunk(dataset.get_create_plist())
    if chunk is None:
        offset, width = dataset.get_offset(), math.prod(shape) * dataset.dtype.itemsize // rows
        return 0 if offset is None or not width else int(np.clip((_opened.size - offset) // width, 0, rows))
    count = dataset.get_num_chunks()
    if count > _MAX_CHUNKS:
        raise ValueError(f"{count} chunks")
    chunks = [dataset.get_chunk_info(at) for at in range(count)]
    lost = [found.chunk_offset[0] for found in chunks if found.byte_offset + found.size > _opened.size]
    if count < math.prod(-(-length // part) for length, part in zip(shape, chunk, strict=True)):
        lost.append(_first_missing({found.chunk_offset for found in chunks}, shape, chunk))  # the list itself is cut
    return min(lost, default=rows)


def _first_missing(there: set[tuple[int, ...]], shape: tuple[int, ...], chunk: tuple[int, ...]) -> int:
    """The first row that belongs to a chunk nobody lists."""
    counts: dict[int, int] = {}
    for offset in there:
        counts[offset[0]] = counts.get(offset[0], 0) + 1
    each = math.prod(-(-length // part) for length, part in zip(shape[1:], chunk[1:], strict=True))
    return next(row for row in range(0, shape[0] + 1, chunk[0]) if counts.get(row, 0) < each)


if __name__ == "__main__":
    serve({"entries": entries, "read": read, "text": text}, _opened.close)

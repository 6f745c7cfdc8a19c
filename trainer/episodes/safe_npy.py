"""npy and npz files read as data only: headers that are believed only as far as the bytes go, no objects, no bombs.

numpy's own header parser evaluates a Python literal and raises a dozen kinds of exception on damaged files; a header
that numpy writes has one form, which is matched here instead.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

import numpy as np

from model.errors import EpisodeError, UnsafeFileError

from .safe_path import plain_file

MAX_BYTES = 256 << 20
MAX_MEMBERS = 256
_MAX_HEADER = 10_000  # numpy's own limit
_MAX_DIMS = 32
_HEADER = re.compile(
    rb"\{'descr': '([<>|=])([a-zA-Z?])(\d{0,8})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}L?, ?)*(?:\d{1,18}L?)?)\),? ?\} *\n?"
)
_ZIP_END = struct.Struct("<4s4H2LH")  # signature, disks, counts, bytes and place of the directory, bytes of the comment
_ZIP_TAIL = 22 + 65535  # the end record with the longest comment
_MEMBER_BYTES = 512
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    struct.error,
    OverflowError,
    MemoryError,
)
Shape = tuple[int | None, ...]


@runtime_checkable  # so that the tests can check annotations
class Readable(Protocol):
    """What bytes are read from: a file, or a member of an archive."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, fewer at the end."""
        ...


@dataclass(frozen=True)
class NpyHeader:
    """What a npy header announces; `dtype` is "O" for pickled objects."""

    dtype: np.dtype
    fortran_order: bool
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the data behind the header."""
        size = self.dtype.itemsize
        for length in self.shape:
            size *= length
        return size


def read_npy(path: Path, root: Path, *, kinds: str = "biuf", max_bytes: int = MAX_BYTES) -> np.ndarray:
    """An array of plain numbers.

    Args:
        path: The file.
        root: It must not be a link to outside of this folder.
        kinds: The kinds of dtype that are accepted (numpy's letters).
        max_bytes: Of the file.

    Raises:
        EpisodeError: Missing, truncated, or not a npy file.
        UnsafeFileError: Holds objects, announces more than it has, or leads outside.
    """
    plain_file(path, root, max_bytes=max_bytes)
    try:
        with path.open("rb") as file:
            header = read_header(file, str(path), kinds)
            return _read_data(file, header, str(path))
    except OSError as error:
        raise EpisodeError(f"{path}: cannot be read ({error.strerror})") from None


def read_header(file: Readable, where: str, kinds: str) -> NpyHeader:
    """Reads the header and leaves `file` at the first byte of data.

    Raises:
        EpisodeError: Not a npy file, or it ends within the header.
        UnsafeFileError: A dtype that is not of `kinds`, or a header that numpy would not have written.
    """
    start = file.read(8)
    if len(start) < 8 or start[:6] != b"\x93NUMPY" or start[6] not in (1, 2, 3):
        raise EpisodeError(f"{where}: not a npy file")
    width = 2 if start[6] == 1 else 4
    size = int.from_bytes(file.read(width), "little")
    if size > _MAX_HEADER:
        raise UnsafeFileError(f"{where}: a header of {size} bytes; a plain array has a short one")
    text = file.read(size)
    if len(text) < size:
        raise EpisodeError(f"{where}: ends within its header")
    match = _HEADER.fullmatch(text)
    if match is None:
        raise UnsafeFileError(f"{where}: a header that describes no plain array")
    order, kind, itemsize, fortran, dims = (group.decode() for group in match.groups())
    if kind not in kinds:
        raise UnsafeFileError(f"{where}: holds {'objects' if kind == 'O' else f'dtype {kind}'}, not plain numbers")
    try:
        dtype = np.dtype(f"{order}{kind}{itemsize}")
    except TypeError:
        raise UnsafeFileError(f"{where}: unknown dtype {order}{kind}{itemsize}") from None
    shape = tuple(int(length.strip().rstrip("L")) for length in dims.split(",") if length.strip())
    if len(shape) > _MAX_DIMS or dtype.itemsize == 0:
        raise UnsafeFileError(f"{where}: shape {shape} of {dtype} is no array")
    return NpyHeader(dtype, fortran == "True", shape)


class NpzFile:
    """A npz archive, opened with care; only what is asked for is unpacked.

    Args:
        path: The file.
        root: It must not be a link to outside of this folder.
        max_bytes: Of the file, and of each member when unpacked.

    Raises:
        EpisodeError: Missing, truncated, or not a zip file.
        UnsafeFileError: Leads outside, or announces more than such a file may hold.
    """

    def __init__(self, path: Path, root: Path, *, max_bytes: int = MAX_BYTES) -> None:
        size = plain_file(path, root, max_bytes=max_bytes).st_size
        self._path, self._max_bytes = path, max_bytes
        try:
            check_whole(path, size)
            self._zip = zipfile.ZipFile(path)
        except _ZIP_ERRORS as error:
            raise EpisodeError(f"{path}: not a readable npz file, or truncated ({error})") from None
        self._members = {info.filename.removesuffix(".npy"): info for info in self._zip.infolist()}
        try:
            self._check()
        except UnsafeFileError:
            self._zip.close()
            raise

    def __enter__(self) -> NpzFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    @property
    def names(self) -> Sequence[str]:
        """The arrays it holds."""
        return tuple(self._members)

    def header(self, name: str, *, kinds: str = "biuf") -> NpyHeader:
        """Shape and dtype of an array, without unpacking it.

        Raises:
            EpisodeError: No such array, or damaged.
            UnsafeFileError: It holds something else than plain numbers.
        """
        return self._unpack(name, kinds, data=False)[0]

    def read(self, name: str, *, shape: Shape | None = None, kinds: str = "biuf") -> np.ndarray:
        """Unpacks one array; a `shape` with None for any length is checked before anything is allocated.

        Raises:
            EpisodeError: No such array, another shape, or damaged.
            UnsafeFileError: It holds something else than plain numbers, or announces more than it has.
        """
        return self._unpack(name, kinds, shape=shape)[1]

    def _unpack(
        self, name: str, kinds: str, *, data: bool = True, shape: Shape | None = None
    ) -> tuple[NpyHeader, np.ndarray]:
        where = f"{self._path}: field '{name}'"
        if name not in self._members:
            raise EpisodeError(f"{where} is missing")
        try:
            with self._zip.open(self._members[name]) as file:
                header = read_header(file, where, kinds)
                if shape is not None and not _fits(header.shape, shape):
                    wanted = tuple("any" if length is None else length for length in shape)
                    raise EpisodeError(f"{where} has shape {header.shape}, expected {wanted}")
                if not data:
                    return header, np.empty(0)
                announced = self._members[name].file_size
                if header.nbytes > announced:
                    raise UnsafeFileError(f"{where} announces {header.nbytes} bytes and has {announced}")
                return header, _read_data(file, header, where)
        except _ZIP_ERRORS as error:
            raise EpisodeError(f"{where} is damaged ({error})") from None

    def _check(self) -> None:
        if len(self._members) > MAX_MEMBERS or len(self._members) != len(self._zip.infolist()):
            raise UnsafeFileError(f"{self._path}: holds {len(self._zip.infolist())} arrays, or one of them twice")
        for name, info in self._members.items():
            if info.file_size > self._max_bytes:
                raise UnsafeFileError(f"{self._path}: field '{name:.80}' claims to unpack to {info.file_size} bytes")
            if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise UnsafeFileError(f"{self._path}: field '{name:.80}' is packed in a way that numpy never uses")


def check_whole(path: Path, size: int) -> None:
    """Looks at the end of an npz file of `size` bytes: it was not cut off, and its list of members is a short one.

    `zipfile` would build an object for each of millions of members before anybody could count them.

    Raises:
        EpisodeError: Empty, cut off, or not a zip file.
        UnsafeFileError: It announces more members than such a file may have.
    """
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(max(0, size - _ZIP_TAIL))
            tail = file.read(_ZIP_TAIL)
    except OSError as error:
        raise EpisodeError(f"{path}: cannot be read ({error.strerror})") from None
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or len(tail) - end < _ZIP_END.size:
        problem = "it has no list of members at its end" if size else "it is empty"
        raise EpisodeError(f"{path}: not a readable npz file, or truncated ({problem})")
    if tail[max(0, end - 20) : end].startswith(b"PK\x06\x07"):
        raise UnsafeFileError(f"{path}: has the list of members of a huge archive")
    directory_bytes = _ZIP_END.unpack_from(tail, end)[5]
    if directory_bytes > MAX_MEMBERS * _MEMBER_BYTES:
        raise UnsafeFileError(f"{path}: its list of members has {directory_bytes} bytes")


def _fits(shape: tuple[int, ...], wanted: Shape) -> bool:
    return len(shape) == len(wanted) and all(w in (None, s) for s, w in zip(shape, wanted, strict=True))


def _read_data(file: Readable, header: NpyHeader, where: str) -> np.ndarray:
    """Reads in pieces: a header that lies about its size costs no more memory than the file has bytes."""
    left, pieces = header.nbytes, []
    while left and (piece := file.read(min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    if left:
        raise UnsafeFileError(f"{where}: announces {header.nbytes} bytes of data and ends {left} bytes early")
    if file.read(1):
        raise UnsafeFileError(f"{where}: has more data than its header announces")
    flat = np.frombuffer(bytearray().join(pieces), header.dtype)
    native = flat.astype(header.dtype.newbyteorder("="), copy=False)
    return native.reshape(header.shape, order="F" if header.fortran_order else "C")

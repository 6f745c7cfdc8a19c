"""Readers of one stream of images, one class an encoding; each decodes no more than it is asked for.

Dimensions: f rendered frame, h w pixels, p picked pixel.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Integer
from numpy.lib import format as npy
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from model.errors import EpisodeError, UnsafeFileError

from .codecs import CHUNK_FRAMES, decode_chunk, decode_jpeg, encode_chunk, encode_jpeg

_CACHED_CHUNKS = 4


@runtime_checkable  # so that the tests can check annotations
class Stream(Protocol):
    """Frames by index, (h, w) or (h, w, 3) in the stored dtype. What is returned must not be written to."""

    def frame(self, index: int) -> np.ndarray:
        """One frame."""
        ...

    def pick(self, index: int, rows: Integer[np.ndarray, " p"], columns: Integer[np.ndarray, " p"]) -> np.ndarray:
        """The values of some pixels of one frame."""
        ...


class ArrayStream:
    """Frames of an array in memory or of a memory map."""

    def __init__(self, frames: np.ndarray) -> None:
        self._frames = frames

    def frame(self, index: int) -> np.ndarray:
        """One frame."""
        return np.asarray(self._frames[index])

    def pick(self, index: int, rows: Integer[np.ndarray, " p"], columns: Integer[np.ndarray, " p"]) -> np.ndarray:
        """The values of some pixels of one frame."""
        return np.asarray(self._frames[index][rows, columns])


class DeltaStream:
    """Losslessly compressed chunks; the last few decoded ones are kept, for scrubbing."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str) -> None:
        self._path, self._shape, self._dtype = path, shape, np.dtype(dtype)
        self._file = _open_blobs(path, -(-shape[0] // CHUNK_FRAMES))
        self._decoded: OrderedDict[int, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def frame(self, index: int) -> np.ndarray:
        """One frame."""
        chunk, offset = divmod(index, CHUNK_FRAMES)
        with self._lock:
            if chunk not in self._decoded:
                frames = min(CHUNK_FRAMES, self._shape[0] - chunk * CHUNK_FRAMES)
                try:
                    data = self._file.get_tensor(_blob_name(chunk)).tobytes()
                    self._decoded[chunk] = decode_chunk(data, (frames, *self._shape[1:]), self._dtype)
                except EpisodeError as error:
                    raise EpisodeError(f"{self._path}: chunk {chunk} {error}") from None
                if len(self._decoded) > _CACHED_CHUNKS:
                    self._decoded.popitem(last=False)
            self._decoded.move_to_end(chunk)
            return self._decoded[chunk][offset]

    def pick(self, index: int, rows: Integer[np.ndarray, " p"], columns: Integer[np.ndarray, " p"]) -> np.ndarray:
        """The values of some pixels of one frame."""
        return self.frame(index)[rows, columns]


class JpegStream:
    """One JPEG a frame."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self._path, self._size = path, (shape[1], shape[2])
        self._file = _open_blobs(path, shape[0])

    def frame(self, index: int) -> np.ndarray:
        """One frame."""
        try:
            return decode_jpeg(self._file.get_tensor(_blob_name(index)).tobytes(), self._size)
        except EpisodeError as error:
            raise EpisodeError(f"{self._path}: frame {index}: {error}") from None

    def pick(self, index: int, rows: Integer[np.ndarray, " p"], columns: Integer[np.ndarray, " p"]) -> np.ndarray:
        """The values of some pixels of one frame."""
        return self.frame(index)[rows, columns]


def write_delta(path: Path, frames: np.ndarray) -> None:
    """Writes what `DeltaStream` reads."""
    starts = range(0, len(frames), CHUNK_FRAMES)
    _save_blobs(path, [encode_chunk(np.ascontiguousarray(frames[at : at + CHUNK_FRAMES])) for at in starts])


def write_jpeg(path: Path, frames: np.ndarray) -> None:
    """Writes what `JpegStream` reads."""
    _save_blobs(path, [encode_jpeg(np.ascontiguousarray(frame)) for frame in frames])


def create_npy(path: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Creates a .npy file as a writable memory map; `open_npy` reads it."""
    return npy.open_memmap(path, "w+", np.dtype(dtype), shape, version=(1, 0))


def open_npy(path: Path, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Memory-maps a .npy file, read-only. Its header is compared with the one expected, never parsed.

    Raises:
        UnsafeFileError: When the file is not exactly one array of this shape and type.
    """
    expected = BytesIO()
    description = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(expected, description)
    header = expected.getvalue()
    with path.open("rb") as file:
        if file.read(len(header)) != header:
            raise UnsafeFileError(f"{path}: not a .npy file of {dtype} {shape}")
    size = len(header) + int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    if path.stat().st_size != size:
        raise UnsafeFileError(f"{path}: has {path.stat().st_size} bytes, its header announces {size}")
    return np.memmap(path, np.dtype(dtype), "r", len(header), shape).view(np.ndarray)


def _blob_name(index: int) -> str:
    return f"{index:06d}"


def _save_blobs(path: Path, blobs: list[bytes]) -> None:
    path.write_bytes(save({_blob_name(index): np.frombuffer(blob, np.uint8) for index, blob in enumerate(blobs)}))


def _open_blobs(path: Path, count: int) -> Any:
    """Opens the numbered byte strings of a stream; safetensors checks that header and file agree."""
    try:
        file = safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise EpisodeError(f"{path}: not a readable stream ({error})") from None
    if set(file.keys()) != {_blob_name(index) for index in range(count)}:
        raise EpisodeError(f"{path}: holds {len(file.keys())} pieces, expected {count}")
    for name in file.keys():  # noqa: SIM118 - safe_open is not a mapping
        if (piece := file.get_slice(name)).get_dtype() != "U8" or len(piece.get_shape()) != 1:
            raise UnsafeFileError(f"{path}: piece {name} is not a string of bytes")
    return file

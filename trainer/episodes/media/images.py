"""One compressed image, decoded in a guarded process (`guarded.image_child`).

Images that this program has just drawn itself, and the JPEG of packed training data, are not from elsewhere and need
no such process: see `codecs`.

Dimensions: h w pixels.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from model.errors import EpisodeError, UnsafeFileError

from ..guarded.child import child

MAX_PIXELS = 1 << 25
MAX_BYTES = 64 << 20
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_DEPTHS = {"<u2", ">u2", "<i4", "<f4"}


def is_image(head: bytes) -> bool:
    """Whether bytes begin like a JPEG or a PNG."""
    return head.startswith(_SIGNATURES)


def decode_image(data: bytes, where: object) -> UInt8[np.ndarray, "h w 3"]:
    """A JPEG or PNG as RGB, upright as its EXIF says; grey and palette are expanded, 16 bits made 8, no transparency.

    Raises:
        EpisodeError: Damaged or truncated.
        UnsafeFileError: Larger than this program decodes, or another format.
    """
    head, pixels = _ask("colours", data, where)
    return _array(head, pixels, np.dtype(np.uint8), (3,), where)


def decode_depth_image(data: bytes, where: object) -> Float[np.ndarray, "h w"]:
    """A 16-bit PNG, or a TIFF of 16-bit integers or floats, as float32 in the file's own unit.

    Raises:
        EpisodeError: Damaged, or not a one-channel image of more than 8 bits.
        UnsafeFileError: Larger than this program decodes, or another format.
    """
    head, pixels = _ask("depth", data, where)
    if head.get("dtype") not in _DEPTHS:
        raise EpisodeError(f"{where}: damaged image")
    return _array(head, pixels, np.dtype(head["dtype"]), (), where).astype(np.float32)


def image_size(data: bytes, where: object) -> tuple[int, int]:
    """(height, width) of the upright image, from the header. Raises as `decode_image`."""
    return _size(_ask("size", data, where)[0], where)


def read_image_file(path: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        EpisodeError: Missing or not readable.
        UnsafeFileError: Too large for an image.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UnsafeFileError(f"{path}: {path.stat().st_size} bytes, an image may have {MAX_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise EpisodeError(f"{path}: cannot be read ({error.strerror or error})") from None


def _ask(operation: str, data: bytes, where: object) -> tuple[dict[str, Any], bytearray]:
    if len(data) > MAX_BYTES:
        raise UnsafeFileError(f"{where}: {len(data)} bytes, an image may have {MAX_BYTES}")
    return child("image").ask_about(operation, data, str(where), most=MAX_PIXELS)


def _size(head: dict[str, Any], where: object) -> tuple[int, int]:
    size: Any = head.get("size")
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise EpisodeError(f"{where}: damaged image")
    return size[0], size[1]


def _array(
    head: dict[str, Any], pixels: bytearray, dtype: np.dtype, channels: tuple[int, ...], where: object
) -> np.ndarray:
    shape = (*_size(head, where), *channels)
    if math.prod(shape) * dtype.itemsize != len(pixels):
        raise EpisodeError(f"{where}: damaged image")
    return np.frombuffer(pixels, dtype).reshape(shape)

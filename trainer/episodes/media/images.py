"""One compressed image, decoded only after its header was found harmless.

Dimensions: h w pixels.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8

from model.errors import EpisodeError, UnsafeFileError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 1 << 25
MAX_BYTES = 64 << 20
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_DEPTH_MODES = {"I;16": np.uint16, "I;16B": np.uint16, "I": np.int32, "F": np.float32}


def is_image(head: bytes) -> bool:
    """Whether bytes begin like a JPEG or a PNG."""
    return head.startswith(_SIGNATURES)


def decode_image(data: bytes, where: object) -> UInt8[np.ndarray, "h w 3"]:
    """A JPEG or PNG as RGB; grey and palette images are expanded, transparency is dropped.

    Raises:
        EpisodeError: Damaged or truncated.
        UnsafeFileError: Larger than this program decodes, or another format.
    """
    with _opened(data, where, ("JPEG", "PNG")) as image:
        return np.array(_loaded(image, where).convert("RGB"))


def decode_depth_image(data: bytes, where: object) -> Float[np.ndarray, "h w"]:
    """A 16-bit PNG, or a TIFF of 16-bit integers or floats, as float32 in the file's own unit.

    Raises:
        EpisodeError: Damaged, or not a one-channel image of more than 8 bits.
        UnsafeFileError: Larger than this program decodes, or another format.
    """
    with _opened(data, where, ("PNG", "TIFF")) as image:
        if image.mode not in _DEPTH_MODES:
            raise EpisodeError(f"{where}: is a {image.mode} image; depth needs one channel of 16 bits or floats")
        return np.array(_loaded(image, where)).astype(_DEPTH_MODES[image.mode]).astype(np.float32)


def image_size(data: bytes, where: object) -> tuple[int, int]:
    """(height, width) from the header. Raises as `decode_image`."""
    with _opened(data, where, ("JPEG", "PNG", "TIFF")) as image:
        return image.height, image.width


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


def _opened(data: bytes, where: object, formats: tuple[str, ...]) -> Image.Image:
    """Parses the header only; the size is checked before a pixel is decoded."""
    from PIL import Image

    if len(data) > MAX_BYTES:
        raise UnsafeFileError(f"{where}: {len(data)} bytes, an image may have {MAX_BYTES}")
    try:
        image: Any = Image.open(io.BytesIO(data), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnsafeFileError(f"{where}: announces far more than {MAX_PIXELS} pixels") from None
    except Exception as error:  # Pillow's parsers raise whatever a mutated header makes them stumble over
        raise EpisodeError(f"{where}: not a readable {' or '.join(formats)} image ({_reason(error)})") from None
    if image.width * image.height > MAX_PIXELS:
        raise UnsafeFileError(f"{where}: announces {image.width} x {image.height} pixels, at most {MAX_PIXELS}")
    return image


def _loaded(image: Image.Image, where: object) -> Image.Image:
    try:
        image.load()
    except Exception as error:
        raise EpisodeError(f"{where}: damaged image ({_reason(error)})") from None
    return image


def _reason(error: Exception) -> str:
    return f"{error}"[:120] or type(error).__name__

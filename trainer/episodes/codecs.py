"""How the streams of images become bytes, and back.

- Lossless (static rgb, depth, body): chunks of frames, each frame as its difference to the one before (modulo the
  integer's range), the first of a chunk as differences along the row; then deflate. A camera that stands still leaves
  almost only zeros.
- JPEG, quality 95, full chroma: the wrist camera moves, and lossless would be several times as large.
  It is decoded in this process, not in a guarded one as images from elsewhere are (`media.images`), where a 128 px
  image takes 1.7 times as long. `encode_jpeg` wrote it, and its header must announce what the manifest says.
- Depth is counted in 0.1 mm in 16 bits: 0..6.5534 m, 65535 = invalid. Farther than that is invalid as well.
"""

from __future__ import annotations

import io
import zlib

import numpy as np
from jaxtyping import Float, UInt8, UInt16

from model.errors import EpisodeError

DEPTH_UNIT = 1e-4
INVALID_DEPTH = 65535
CHUNK_FRAMES = 16
JPEG_QUALITY = 95


def quantise_depth(depth: Float[np.ndarray, "*s"]) -> UInt16[np.ndarray, "*s"]:
    """Rounds metres to 0.1 mm; NaN, infinite, not positive and beyond 6.5534 m become 65535 (invalid)."""
    units = np.rint(np.asarray(depth, np.float64) / DEPTH_UNIT)
    valid = (units >= 1) & (units < INVALID_DEPTH)  # false for NaN
    return np.where(valid, units, INVALID_DEPTH).astype(np.uint16)


def metres(units: UInt16[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """Inverse of `quantise_depth`: float32 metres, NaN = invalid."""
    depth = units.astype(np.float32) * np.float32(DEPTH_UNIT)
    depth[units == INVALID_DEPTH] = np.nan
    return depth


def encode_chunk(frames: np.ndarray) -> bytes:
    """Deflates (f, h, w, ...) frames of an unsigned integer type as differences."""
    residual = frames.copy()
    residual[1:] -= frames[:-1]
    residual[0, :, 1:] -= frames[0, :, :-1]
    # high and low bytes apart: the high ones are nearly all zero
    planes = residual.view(np.uint8).reshape(-1, frames.dtype.itemsize).T
    return zlib.compress(planes.tobytes(), 9)


def decode_chunk(data: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Inverse of `encode_chunk`. Never inflates more than `shape` says.

    Raises:
        EpisodeError: When the bytes are damaged or hold another amount of data.
    """
    size = int(np.prod(shape)) * dtype.itemsize
    inflate = zlib.decompressobj()
    try:
        raw = inflate.decompress(data, size + 1)
    except zlib.error as error:
        raise EpisodeError(f"damaged data ({error})") from None
    if len(raw) != size or not inflate.eof:
        raise EpisodeError(f"holds another amount of data than the {size} bytes announced")
    planes = np.frombuffer(raw, np.uint8).reshape(dtype.itemsize, -1)
    frames = np.array(planes.T, order="C").view(dtype).reshape(shape)
    frames[0] = np.add.accumulate(frames[0], axis=1, dtype=dtype)
    return np.add.accumulate(frames, axis=0, dtype=dtype)


def encode_jpeg(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """One image as JPEG, quality 95 without chroma subsampling."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0, optimize=True)
    return buffer.getvalue()


def decode_jpeg(data: bytes, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
    """Inverse of `encode_jpeg`, up to JPEG's loss; checks the size (h, w) in the header before any pixel is decoded."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            if image.size != (size[1], size[0]) or image.mode != "RGB":
                raise EpisodeError(f"an image is {image.size} {image.mode}, expected {size[1]} x {size[0]} RGB")
            return np.array(image)  # a copy that may be written to
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise EpisodeError(f"damaged JPEG ({error})") from None

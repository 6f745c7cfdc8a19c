"""ROS 2 images as arrays: sensor_msgs/Image in its common encodings, CompressedImage as JPEG or PNG, and depth.

Depth follows REP 118: 16UC1 (and mono16) counts millimetres, 32FC1 metres; 0 and NaN are invalid. The 12-byte header of
the compressedDepth transport is skipped where a PNG follows it.

Dimensions: h w pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from model.errors import EpisodeError, UnsafeFileError

from ..media.images import MAX_PIXELS, decode_depth_image, decode_image, is_image

_COLOURS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
_DEPTHS = {"16UC1": np.uint16, "mono16": np.uint16, "32FC1": np.float32}
_COMPRESSED_DEPTH_HEADER = 12


def colours(message: Any, where: str) -> UInt8[np.ndarray, "h w 3"]:
    """RGB of an Image or a CompressedImage.

    Raises:
        EpisodeError: Damaged, or an encoding that is not read.
        UnsafeFileError: Larger than this program decodes.
    """
    if hasattr(message, "format"):
        return decode_image(bytes(message.data), where)
    channels = _COLOURS.get(message.encoding)
    if channels is None:
        raise EpisodeError(f"{where}: encoding '{message.encoding:.20}' is not read; {', '.join(_COLOURS)} are")
    pixels = _raster(message, np.dtype(np.uint8), channels, where)
    if channels == 1:
        return np.repeat(pixels, 3, axis=2)
    order = [2, 1, 0] if message.encoding.startswith("bgr") else [0, 1, 2]
    return np.ascontiguousarray(pixels[..., order])


def depth(message: Any, where: str) -> Float[np.ndarray, "h w"]:
    """Float32 metres, NaN = invalid, of a depth Image or CompressedImage. Raises as `colours`."""
    if hasattr(message, "format"):
        data = bytes(message.data)
        metres = decode_depth_image(data if is_image(data[:8]) else data[_COMPRESSED_DEPTH_HEADER:], where) * 0.001
    else:
        dtype = _DEPTHS.get(message.encoding)
        if dtype is None:
            raise EpisodeError(f"{where}: encoding '{message.encoding:.20}' is no depth; {', '.join(_DEPTHS)} are")
        raster = _raster(message, np.dtype(dtype), 1, where)[..., 0]
        metres = raster.astype(np.float32) * (0.001 if dtype is np.uint16 else 1.0)
    metres = metres.astype(np.float32)
    metres[~(np.isfinite(metres) & (metres > 0))] = np.nan
    return metres


def _raster(message: Any, dtype: np.dtype, channels: int, where: str) -> np.ndarray:
    """(h, w, channels) of a raw image, whatever lies between its rows."""
    height, width, step = int(message.height), int(message.width), int(message.step)
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise UnsafeFileError(f"{where}: announces {width} x {height} pixels, at most {MAX_PIXELS}")
    row = width * channels * dtype.itemsize
    data = np.frombuffer(message.data, np.uint8)
    if step < row or len(data) < step * (height - 1) + row:
        raise EpisodeError(f"{where}: has {len(data)} bytes for {height} rows of {max(step, row)}")
    if len(data) < step * height:  # the last row may end with its last pixel
        data = np.pad(data, (0, step * height - len(data)))
    rows = data[: step * height].reshape(height, step)
    values = np.ascontiguousarray(rows[:, :row]).view(dtype.newbyteorder(">" if message.is_bigendian else "<"))
    return values.astype(dtype).reshape(height, width, channels)

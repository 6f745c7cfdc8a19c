"""ROS 2 images as arrays: sensor_msgs/Image in its common encodings, CompressedImage as JPEG or PNG, and depth.

Encodings mean what `cv_bridge` takes them for: 8UC3 is bgr8, yuv422 is UYVY, yuv422_yuy2 is YUYV; of 16 bits the upper
8 are shown.

Depth follows REP 118: 16UC1 (and mono16) counts millimetres, 32FC1 metres; 0 and NaN are invalid. The compressedDepth
transport puts 12 bytes before its PNG. For 16UC1 they say nothing; for 32FC1 the PNG holds codes of inverse depth, and
they are (int32 0, float32 A, float32 B) of z = A / (code - B) metres, code 0 = invalid.

Dimensions: h w pixels.
"""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from model.errors import EpisodeError, UnsafeFileError

from ..media.images import MAX_PIXELS, decode_depth_image, decode_image, is_image

_COLOURS = {  # bytes (or 16-bit words) a pixel, and the conversion to RGB in OpenCV's terms
    "rgb8": (3, ""),
    "bgr8": (3, "COLOR_BGR2RGB"),
    "rgba8": (4, "COLOR_RGBA2RGB"),
    "bgra8": (4, "COLOR_BGRA2RGB"),
    "mono8": (1, "COLOR_GRAY2RGB"),
    "bayer_rggb8": (1, "COLOR_BayerRGGB2RGB"),
    "bayer_bggr8": (1, "COLOR_BayerBGGR2RGB"),
    "bayer_gbrg8": (1, "COLOR_BayerGBRG2RGB"),
    "bayer_grbg8": (1, "COLOR_BayerGRBG2RGB"),
    "uyvy": (2, "COLOR_YUV2RGB_UYVY"),
    "yuyv": (2, "COLOR_YUV2RGB_YUY2"),
}
_SYNONYMS = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8", "yuv422": "uyvy", "yuv422_yuy2": "yuyv"}
_DEPTHS = {"16UC1": np.uint16, "mono16": np.uint16, "32FC1": np.float32}
_COMPRESSED_DEPTH = struct.Struct("<iff")


def colours(message: Any, where: str) -> UInt8[np.ndarray, "h w 3"]:
    """RGB of an Image or a CompressedImage.

    Raises:
        EpisodeError: Damaged, or an encoding that is not read.
        UnsafeFileError: Larger than this program decodes.
    """
    if hasattr(message, "format"):
        return decode_image(bytes(message.data), where)
    encoding: str = _SYNONYMS.get(message.encoding) or message.encoding
    wide = encoding.endswith("16")
    known = _COLOURS.get(f"{encoding[:-2]}8" if wide else encoding)
    if known is None:
        raise EpisodeError(f"{where}: encoding '{message.encoding:.20}' is not read; {', '.join(_COLOURS)} are")
    channels, conversion = known
    pixels = _raster(message, np.dtype(np.uint16 if wide else np.uint8), channels, where)
    if wide:
        pixels = (pixels >> 8).astype(np.uint8)
    return _converted(pixels, conversion, where) if conversion else pixels


def depth(message: Any, where: str) -> Float[np.ndarray, "h w"]:
    """Float32 metres, NaN = invalid, of a depth Image or CompressedImage. Raises as `colours`."""
    if hasattr(message, "format"):
        metres = _compressed_depth(bytes(message.data), message.format, where)
    else:
        dtype = _DEPTHS.get(message.encoding)
        if dtype is None:
            raise EpisodeError(f"{where}: encoding '{message.encoding:.20}' is no depth; {', '.join(_DEPTHS)} are")
        raster = _raster(message, np.dtype(dtype), 1, where)[..., 0]
        metres = raster.astype(np.float32) * (0.001 if dtype is np.uint16 else 1.0)
    metres = metres.astype(np.float32)
    metres[~(np.isfinite(metres) & (metres > 0))] = np.nan
    return metres


def _converted(pixels: UInt8[np.ndarray, "h w c"], conversion: str, where: str) -> UInt8[np.ndarray, "h w 3"]:
    import cv2

    try:
        return cv2.cvtColor(pixels, getattr(cv2, conversion))
    except cv2.error:  # half of a pair or of a mosaic's square
        height, width = pixels.shape[:2]
        raise EpisodeError(f"{where}: {width} x {height} pixels cannot be of this encoding") from None


def _compressed_depth(data: bytes, kind: str, where: str) -> Float[np.ndarray, "h w"]:
    """Metres; what is invalid is 0, below or not finite."""
    if kind.endswith("rvl"):
        raise EpisodeError(f"{where}: depth compressed as RVL is not read; record it as PNG or raw")
    inverse = kind.startswith("32FC1")
    bare = is_image(data[:8])
    codes = decode_depth_image(data if bare else data[_COMPRESSED_DEPTH.size :], where)
    if not inverse:
        return codes * 0.001
    _, a, b = (0, math.nan, math.nan) if bare else _COMPRESSED_DEPTH.unpack_from(data)
    if not (math.isfinite(a) and math.isfinite(b) and a > 0):
        raise EpisodeError(f"{where}: does not say how its inverse depth (32FC1) is scaled")
    with np.errstate(divide="ignore"):
        return np.where(codes > 0, np.float32(a) / (codes - np.float32(b)), 0)


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

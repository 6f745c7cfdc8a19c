"""The cameras of a LeRobot episode: images inside parquet or a stretch of a video; depth as images or 12-bit video.

Depth features are those with `is_depth_map` in their description. Images count the `depth_unit` stated there (else
integers are millimetres and floats metres, as LeRobot infers it). Videos hold 12-bit codes, 0 .. 4095, linear or
logarithmic between `depth_min` and `depth_max` (m): d = exp(c (ln b - ln a) + ln a) - shift with a = depth_min + shift,
b = depth_max + shift, c = code / 4095; code 0 is what is nearer than that, or invalid, and is taken as invalid.

Dimensions: h w pixels.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from model.errors import EpisodeError, WorkbenchError

from ..media.images import decode_depth_image, decode_image
from ..media.video import Video
from .safe_parquet import ParquetTable

_LARGEST_CODE = 4095
_DEPTH_DEFAULTS = {"depth_min": 0.01, "depth_max": 10.0, "shift": 3.5}
Read = Callable[[int], np.ndarray]


def is_depth(feature: Mapping[str, Any]) -> bool:
    """Whether a feature's description says that it is a depth map."""
    facts = depth_facts(feature)
    return facts.get("is_depth_map") is True or facts.get("video.is_depth_map") is True


def depth_facts(feature: Mapping[str, Any]) -> dict[str, Any]:
    """What a feature's description says beyond shape and type."""
    parts = [feature.get(name) for name in ("video_info", "info")]
    return {key: value for part in parts if isinstance(part, dict) for key, value in part.items()}


def image_size_of(feature: Mapping[str, Any], where: str) -> tuple[int, int]:
    """(height, width) from a feature's shape, whichever of its entries is the channel.

    Raises:
        EpisodeError: The shape is none of an image.
    """
    shape, names = feature.get("shape"), feature.get("names")
    if not isinstance(shape, list) or not all(isinstance(length, int) and 0 < length < 2**15 for length in shape):
        raise EpisodeError(f"{where}: field 'shape' is {shape!r:.60}, expected that of an image")
    if isinstance(names, list) and len(names) == len(shape):
        by_name = {str(name)[0].lower(): length for name, length in zip(names, shape, strict=True) if str(name)}
        # "height, width, channel" is also written over shapes that begin with the channel
        if {"h", "w"} <= by_name.keys() and not (len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3)):
            return by_name["h"], by_name["w"]
    if len(shape) == 2:
        return shape[0], shape[1]
    if len(shape) != 3:
        raise EpisodeError(f"{where}: field 'shape' is {shape!r:.60}, expected that of an image")
    return (shape[1], shape[2]) if shape[0] in (1, 3) and shape[2] not in (1, 3) else (shape[0], shape[1])


class ParquetImages:
    """Compressed images of one column, the encoded bytes of one row group at a time in memory.

    Args:
        table: The file.
        key: The column: structs of `bytes` and `path`, or plain bytes.
        first: The episode's first row in the file.
    """

    def __init__(self, table: ParquetTable, key: str, first: int) -> None:
        self._table, self._key, self._first = table, key, first
        self._group: tuple[int, Any] | None = None
        self._lock = threading.Lock()

    def bytes_of(self, frame: int) -> bytes:
        """The encoded image of a frame of the episode.

        Raises:
            EpisodeError: It is not stored in the file, or the file is damaged.
        """
        group, row = self._table.group_of(self._first + frame)
        with self._lock:
            if self._group is None or self._group[0] != group:
                self._group = (group, self._table.read_groups([group], [self._key]).column(0))
            value = self._group[1][row].as_py()
        data = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(data, bytes):
            raise EpisodeError(f"{self._table.path}: '{self._key}' row {self._first + frame} holds no image")
        return data


def read_images(images: ParquetImages, where: str) -> Read:
    """Colours from a column of images."""
    return lambda frame: decode_image(images.bytes_of(frame), f"{where} frame {frame}")


def read_depth_images(images: ParquetImages, feature: Mapping[str, Any], where: str) -> Read:
    """Float32 metres, NaN = invalid, from a column of depth images."""
    facts, dtype = depth_facts(feature), str(feature.get("dtype"))
    unit = facts.get("depth_unit", "m" if dtype.startswith("float") else "mm")
    if unit not in ("m", "mm"):
        raise EpisodeError(f"{where}: field 'depth_unit' is {unit!r:.20}, expected m or mm")
    scale = np.float32(1.0 if unit == "m" else 0.001)
    return lambda frame: _valid(decode_depth_image(images.bytes_of(frame), f"{where} frame {frame}") * scale)


def read_video(video: Video, times: Float[np.ndarray, " t"], where: str, tolerance: float) -> Read:
    """Colours: the frame nearest to each time, as LeRobot picks it.

    Args:
        video: The episode's stretch of the video.
        times: When each frame of the episode is shown, seconds from the start of the file.
        where: For messages.
        tolerance: Seconds; a time without a frame that near is an error.
    """

    def read(frame: int) -> np.ndarray:
        index = int(np.argmin(np.abs(video.times - times[frame])))
        if abs(video.times[index] - times[frame]) > tolerance:
            raise EpisodeError(
                f"{where}: '{video.path.name}' has no frame at {times[frame]:.3f} s (frame {frame}); it ends at "
                f"{video.times[-1]:.3f} s{f': {video.complaint}' if video.complaint else ''}"
            )
        return video.frame(index)

    return read


def readable_frames(video: Video, times: Float[np.ndarray, " t"], tolerance: float) -> int:
    """How many of the times have a frame that can be read, up to the first that has none; see `read_video`."""
    try:
        index = np.abs(video.times[None] - times[:, None]).argmin(1)
        good = (np.abs(video.times[index] - times) <= tolerance) & (index < video.readable)
    except WorkbenchError:
        return 0
    return int(np.argmin(np.append(good, False)))


def read_depth_video(codes: Read, feature: Mapping[str, Any], where: str) -> Read:
    """Float32 metres, NaN = invalid, from 12-bit codes."""
    facts = depth_facts(feature)
    low, high, shift = (_number(facts.get(f"video.{name}", value), where) for name, value in _DEPTH_DEFAULTS.items())
    logarithmic = facts.get("video.use_log", True) is not False
    if not low < high or (logarithmic and low + shift <= 0):
        raise EpisodeError(f"{where}: its depth range {low} .. {high} m (shift {shift}) is none")
    share = np.arange(_LARGEST_CODE + 1) / _LARGEST_CODE
    if logarithmic:
        metres = np.exp(share * math.log((high + shift) / (low + shift))) * (low + shift) - shift
    else:
        metres = low + share * (high - low)
    metres[0] = np.nan
    table = metres.astype(np.float32)
    return lambda frame: table[np.minimum(codes(frame), _LARGEST_CODE)]


def depth_pixels(feature: Mapping[str, Any], where: str) -> None:
    """Raises `EpisodeError` where a depth video is not stored as 12-bit grey, the one form that is read."""
    stored = depth_facts(feature).get("video.pix_fmt", "gray12le")
    if stored != "gray12le":
        raise EpisodeError(f"{where}: its depth is stored as {stored!r:.30}; gray12le can be read")


def _valid(depth: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
    return depth


def _number(value: Any, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise EpisodeError(f"{where}: {value!r:.40} is no number")
    return float(value)

"""The list of a video's packets, as ffmpeg's `framecrc` writes it: when each frame is shown, without decoding any.

Dimensions: f frame.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from model.errors import EpisodeError, UnsafeFileError

from .ffmpeg import Answer
from .images import MAX_PIXELS

MAX_FRAMES = 1_000_000
_TIME_BASE = re.compile(r"#tb 0: (\d{1,9})/(\d{1,9})")
_DIMENSIONS = re.compile(r"#dimensions 0: (\d{1,6})x(\d{1,6})")
_PACKET = re.compile(r"0,\s*(-?\d{1,18}|NOPTS),\s*(-?\d{1,18}|NOPTS),[^F\n]*(?:F=0x([0-9A-Fa-f]{1,4}))?")
_DISCARD = 4  # AV_PKT_FLAG_DISCARD: decoded for the sake of others, never shown


@dataclass(frozen=True, kw_only=True)
class Packets:
    """What a container says of a stream.

    Attributes:
        times: When each frame is shown, seconds from the file's start, increasing.
        height: Of the stored image, before any rotation for display; likewise `width`. Pixels.
        complaint: Why the container seems damaged, "" if it does not.
    """

    times: Float[np.ndarray, " f"]
    height: int
    width: int
    complaint: str


def parse_packets(answer: Answer, path: Path, span: tuple[float, float] | None) -> Packets:
    """Reads the list, keeping what lies in `span` (seconds) where one is given.

    Raises:
        EpisodeError: It lists no frame.
        UnsafeFileError: It lists more, or larger, frames than this program decodes.
    """
    text = answer.data.decode("ascii", "replace")
    base, size = _TIME_BASE.search(text), _DIMENSIONS.search(text)
    if base is None or size is None or int(base[2]) == 0 or int(base[1]) == 0:
        raise EpisodeError(f"{path}: has no video stream that can be read ({answer.complaint or 'no frames'})")
    width, height = int(size[1]), int(size[2])
    if not 0 < width * height <= MAX_PIXELS:
        raise UnsafeFileError(f"{path}: announces {width} x {height} pixels, at most {MAX_PIXELS}")
    shown = [match for match in _PACKET.finditer(text) if not int(match[3] or "1", 16) & _DISCARD]
    if len(shown) > MAX_FRAMES:
        raise UnsafeFileError(f"{path}: has {len(shown)} frames, at most {MAX_FRAMES}")
    column = 2 if all(match[2] != "NOPTS" for match in shown) else 1  # AVI stores decoding times only
    ticks = [int(match[column]) for match in shown if match[column] != "NOPTS"]
    times = np.unique(np.array(ticks, np.float64)) * int(base[1]) / int(base[2])
    if span is not None:  # a copy begins at the key frame before
        half = 0.5 * float(np.median(np.diff(times))) if len(times) > 1 else 0.0
        times = times[(times >= span[0] - half) & (times < span[1] - half)]
    if not len(times):
        raise EpisodeError(f"{path}: has no frame{'' if span is None else f' from {span[0]} s to {span[1]} s'}")
    return Packets(times=times, height=height, width=width, complaint=answer.complaint)

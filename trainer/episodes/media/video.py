"""A video file as frames by index: random access without decoding what nobody asked for.

Opening reads the times of all frames from the container, without decoding one. Frames are decoded in short runs; the
runs used last are kept, within one budget for all videos of the process.

Dimensions: f frame, h w pixels.
"""

from __future__ import annotations

import threading
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8, UInt16

from model.errors import EpisodeError, UnsafeFileError

from .ffmpeg import run_ffmpeg
from .images import MAX_PIXELS
from .kept import KeptArrays
from .packets import MAX_FRAMES, Packets, parse_packets

_RUN_BYTES, _RUN_FRAMES = 24 << 20, 16
_KEPT = KeptArrays(160 << 20)
_SIGNATURES = ((4, b"ftyp"), (0, b"\x1a\x45\xdf\xa3"), (8, b"AVI "))
_MAX_PARTS = 4096  # of an MP4 that are looked at; it has five or six, or two for each second
_HEADER = 64  # bytes that the PPM header of a frame cannot exceed

Pixels = Literal["rgb24", "gray12le", "gray16le"]


def is_video(head: bytes) -> bool:
    """Whether bytes begin like MP4/MOV, Matroska/WebM or AVI."""
    return any(head[at : at + len(mark)] == mark for at, mark in _SIGNATURES)


def is_cut_off(path: Path) -> bool:
    """Whether an MP4 ends before its parts do, or lacks the part that lists its frames; looks at a few bytes of each.

    False for other containers, and for what cannot be read at all: the decoder will say.
    """
    try:
        size, at, kinds = path.stat().st_size, 0, set[bytes]()
        with path.open("rb") as file:
            for _ in range(_MAX_PARTS):
                if at >= size:
                    break
                file.seek(at)
                head = file.read(16)
                length = int.from_bytes(head[:4], "big")
                if at == 0 and head[4:8] != b"ftyp":
                    return False
                if length == 1:
                    length = int.from_bytes(head[8:16], "big")
                kinds.add(head[4:8])
                at = size if length == 0 else at + max(length, 8)
    except OSError:
        return False
    return at > size or b"moov" not in kinds


def is_cut_off_avi(path: Path) -> bool:
    """Whether an AVI is shorter than it says, or never said how long it is: ffmpeg plays it without a word."""
    try:
        with path.open("rb") as file:
            head = file.read(12)
        size = path.stat().st_size
    except OSError:
        return False
    announced = int.from_bytes(head[4:8], "little")
    return head[:4] == b"RIFF" and head[8:] == b"AVI " and (announced == 0 or announced + 8 > size)


class Video:
    """The first video stream of a file, or a stretch of it. Nothing is read before it is asked for.

    Args:
        path: An MP4, MOV, Matroska, WebM or AVI file.
        span: Only the frames from .. to (seconds); a file may hold many episodes.
        pixels: rgb24; for depth the format of a one-channel stream, whose values are then given as they are.

    Raises:
        EpisodeError: (by every member) No video, or damaged so that nothing can be read.
        UnsafeFileError: It is larger, or takes longer, than this program decodes.
    """

    def __init__(self, path: Path, *, span: tuple[float, float] | None = None, pixels: Pixels = "rgb24") -> None:
        self.path, self._span, self._pixels = path, span, pixels
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.times)

    @property
    def times(self) -> Float[np.ndarray, " f"]:
        """Presentation times in seconds from the file's start, increasing."""
        return self._packets.times

    @property
    def complaint(self) -> str:
        """Why the container seems damaged, "" if it does not. The frames that it still lists can be asked for."""
        return self._packets.complaint or ("it is cut off" if is_cut_off_avi(self.path) else "")

    @property
    def rate(self) -> float:
        """Frames a second: by the mean of the usual intervals, which a clock of whole milliseconds gives as 66 or 67.

        Without the last digits of that clock; 1.0 for a single frame.
        """
        intervals = np.diff(self.times)
        if not len(intervals):
            return 1.0
        usual = float(np.sort(intervals)[len(intervals) // 2])
        return float(f"{1 / intervals[abs(intervals - usual) <= usual / 10].mean():.6g}")

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width) of the first image, upright; decodes it."""
        height, width = self.frame(0).shape[:2]
        return height, width

    def frame(self, index: int) -> UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w"]:
        """One frame; what is returned must not be written to.

        Raises:
            EpisodeError: No such frame, or it is damaged; names the last good one before it.
        """
        if not 0 <= index < len(self):
            raise EpisodeError(f"{self.path}: has no frame {index}, only {len(self)}")
        first = index - index % self._run_length
        with self._lock:  # a second visitor waits for the run instead of decoding it once more
            frames = _KEPT.get((id(self), first))
            if frames is None:
                frames = self._decode(first, min(self._run_length, len(self) - first))
                _KEPT.put(self, (id(self), first), frames)
        if index - first >= len(frames):
            last = first + len(frames) - 1
            raise EpisodeError(f"{self.path}: frame {index} is damaged; the last good one before it is {last}")
        return frames[index - first]

    @cached_property
    def readable(self) -> int:
        """How many frames can be read: all that are listed, or up to the last good one of a damaged file."""
        last = len(self) - 1
        while self.complaint and last >= 0:
            try:
                self.frame(last)
            except EpisodeError:
                last -= 1
            else:
                break
        return last + 1

    @cached_property
    def _packets(self) -> Packets:
        start, end = self._span or (0.0, 0.0)
        before = [] if self._span is None else ["-ss", f"{max(0.0, start):.6f}"]
        until = [] if self._span is None else ["-to", f"{end:.6f}"]
        after = [*until, "-map", "0:v:0", "-c", "copy", "-copyts", "-start_at_zero", "-f", "framecrc"]
        answer = run_ffmpeg(self.path, before, after, limit=120 * MAX_FRAMES)
        return parse_packets(answer, self.path, self._span)

    @property
    def _run_length(self) -> int:
        return max(1, min(_RUN_FRAMES, _RUN_BYTES // (3 * self._packets.height * self._packets.width)))

    def _decode(self, first: int, count: int) -> np.ndarray:
        """Up to `count` frames (f, h, w, ...); fewer where the file is damaged."""
        picked = ["-map", "0:v:0", "-frames:v", str(count), "-fps_mode", "passthrough", "-filter_threads", "1"]
        pixels = self._packets.height * self._packets.width
        if self._pixels == "rgb24":
            output = [*picked, "-pix_fmt", "rgb24", "-c:v", "ppm", "-f", "image2pipe"]
            limit = count * (3 * pixels + _HEADER)
        else:
            output = [*picked, "-pix_fmt", self._pixels, "-c:v", "rawvideo", "-f", "rawvideo"]
            limit = 2 * count * pixels
        data = run_ffmpeg(self.path, self._seek(first), output, limit=limit).data
        if self._pixels == "rgb24":
            return _ppm_frames(data, self.path)
        whole = len(data) // (2 * pixels)
        return np.frombuffer(data, "<u2", whole * pixels).reshape(whole, self._packets.height, self._packets.width)

    def _seek(self, index: int) -> list[str]:
        """Options that make frame `index` the first one: a time between it and the one before."""
        if index == 0 and self._span is None:
            return []
        gap = self.times[index] - self.times[index - 1] if index else 1 / self.rate
        return ["-ss", f"{max(0.0, self.times[index] - 0.5 * gap):.6f}"]


def _ppm_frames(data: bytes, path: Path) -> UInt8[np.ndarray, "f h w 3"]:
    """Splits concatenated PPM images of one size; a last incomplete one is left out."""
    magic, size, depth = (data.split(b"\n", 3)[:3] + [b""] * 3)[:3]
    width, height = (int(part) for part in size.split()) if size.replace(b" ", b"").isdigit() else (0, 0)
    if (magic, depth) != (b"P6", b"255") or not 0 < width * height <= MAX_PIXELS:
        raise EpisodeError(f"{path}: the decoder gave no image")
    header = f"P6\n{width} {height}\n255\n".encode()
    length = len(header) + 3 * width * height
    whole = len(data) // length
    if any(not data.startswith(header, at * length) for at in range(whole)):
        raise UnsafeFileError(f"{path}: its frames change size; the first is {height} x {width}")
    rows = np.frombuffer(data, np.uint8, whole * length).reshape(whole, length)
    return rows[:, len(header) :].reshape(whole, height, width, 3)

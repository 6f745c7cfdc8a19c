"""2D tracks of a whole clip: a grid of points from every start frame, followed for some frames.

Trackers differ, the label is one: `ClipTracks`. What is stored is displacement from the grid, so that any pixel can be
looked up by the grid point next to it.

Dimensions: f frame, h w pixels, p grid point, l later frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float16, Float32, Integer, UInt8

from model.errors import EpisodeError

from .classical import Chain, pairs
from .frames import at_most
from .plugin import ask

MAX_SIDE = 320
"""Clips are followed at this size at most: flow at full size costs four times as much and is no better at the grid."""
_MUST = "it must return finite pixels (points, frames, 2) and bool visibility (points, frames)"


@dataclass(frozen=True, kw_only=True)
class ClipTracks:
    """Where the points of a grid in each frame are in the frames after it.

    Attributes:
        size: (height, width) of the images, pixels.
        grid: Points along each axis; point (i, j) starts at ((j + 0.5) w / grid, (i + 0.5) h / grid).
        displacement: Pixels (u, v) from the start, entry l = the (l + 1)-th later frame; where not visible, where the
            point was last seen. Zero beyond the clip's end.
        visible: Seen there; false beyond the clip's end.
    """

    size: tuple[int, int]
    grid: int
    displacement: Float16[np.ndarray, "f p l 2"]
    visible: Bool[np.ndarray, "f p l"]

    def nearest(self, uv: Float[np.ndarray, "n 2"]) -> Integer[np.ndarray, " n"]:
        """The grid point next to each pixel."""
        height, width = self.size
        columns, rows = np.clip((uv * self.grid / (width, height)).astype(np.int64), 0, self.grid - 1).T
        return rows * self.grid + columns

    def follow(
        self, frame: int, uv: Float[np.ndarray, "n 2"], later: Sequence[int]
    ) -> tuple[Float[np.ndarray, "n l 2"], Bool[np.ndarray, "n l"]]:
        """Where pixels of a frame are at later frames, moved as the grid point next to them.

        Args:
            frame: The start frame.
            uv: Pixels of it.
            later: Frames after it; those beyond the end or the label's reach count as not visible.

        Returns:
            Pixels, and whether the point is seen there.
        """
        reach = self.displacement.shape[2]
        ahead = np.asarray(later, np.int64) - frame
        known = (ahead > 0) & (ahead <= reach)  # beyond the clip's end nothing is marked as seen
        entry = np.clip(ahead - 1, 0, reach - 1)
        points = self.nearest(uv)[:, None]
        moved = uv[:, None] + self.displacement[frame][points, entry].astype(np.float64)
        return moved, self.visible[frame][points, entry] & known


def grid_points(size: tuple[int, int], grid: int) -> Float[np.ndarray, "p 2"]:
    """Centres of grid x grid cells of an image, row after row, pixels."""
    height, width = size
    v, u = np.meshgrid((np.arange(grid) + 0.5) * height / grid, (np.arange(grid) + 0.5) * width / grid, indexing="ij")
    return np.stack([u.ravel(), v.ravel()], 1)


@runtime_checkable  # so that the tests can check annotations
class Tracker(Protocol):
    """Follows points through a short clip; what a user's own tracker must do."""

    def __call__(
        self, frames: UInt8[np.ndarray, "f h w 3"], uv: Float32[np.ndarray, "p 2"]
    ) -> tuple[Float32[np.ndarray, "p f 2"], Bool[np.ndarray, "p f"]]:
        """Pixels of frame 0 in every frame (frame 0 included), and whether they are seen there."""
        ...


def classical_tracks(
    frames: Iterable[UInt8[np.ndarray, "h w 3"]], count: int, *, grid: int, reach: int, still_camera: bool
) -> ClipTracks:
    """Tracks by the classical recipe, see `classical`. Every pair of frames is matched once for all starts.

    Args:
        frames: The clip; two frames of it are in memory at a time.
        count: How many there are, at least two.
        grid: Points along each axis.
        reach: Frames that each start is followed for.
        still_camera: What has not changed is held in place.
    """
    ahead = iter(frames)
    first = next(ahead)
    size, before = first.shape[:2], at_most(first, MAX_SIDE)
    factor = np.array(size[::-1]) / before.shape[1::-1]
    start = grid_points(size, grid)
    shape = (count, grid * grid, reach)
    displacement, visible = np.zeros((*shape, 2), np.float16), np.zeros(shape, bool)
    chains: list[tuple[int, Chain]] = []
    for after, pair in enumerate(pairs(chain([before], (at_most(frame, MAX_SIDE) for frame in ahead))), 1):
        chains.append((after - 1, Chain(before, start / factor, still_camera=still_camera)))
        for begun, points in chains:
            points.step(pair)
            entry = after - begun - 1
            displacement[begun, :, entry] = points.uv * factor - start
            visible[begun, :, entry] = points.visible
        chains = [(begun, points) for begun, points in chains if after - begun < reach]
        before = pair.after
    return ClipTracks(size=size, grid=grid, displacement=displacement, visible=visible)


def plugin_tracks(
    frames: Iterable[UInt8[np.ndarray, "h w 3"]], count: int, tracker: Tracker, *, grid: int, reach: int
) -> ClipTracks:
    """Tracks by somebody else's tracker, asked once for every start frame.

    Args:
        frames: The clip; `reach` + 1 frames of it are in memory at a time.
        count: How many there are, at least two.
        tracker: What follows.
        grid: Points along each axis.
        reach: Frames that each start is followed for.

    Raises:
        EpisodeError: It failed, or returned something of another shape, or numbers that are not finite.
    """
    ahead = iter(frames)
    window = deque(islice(ahead, reach + 1))
    size = window[0].shape[:2]
    start = grid_points(size, grid).astype(np.float32)
    shape = (count, grid * grid, reach)
    displacement, visible = np.zeros((*shape, 2), np.float16), np.zeros(shape, bool)
    for first in range(count - 1):
        uv, seen = ask("the tracker", _followed, tracker, np.stack(window), start)
        later = len(window) - 1
        displacement[first, :, :later] = np.where(seen[..., None], uv - start[:, None], 0)[:, 1:]
        visible[first, :, :later] = seen[:, 1:]
        window.popleft()
        window.extend(islice(ahead, 1))
    return ClipTracks(size=size, grid=grid, displacement=displacement, visible=visible)


def _followed(
    tracker: Tracker, clip: UInt8[np.ndarray, "f h w 3"], start: Float32[np.ndarray, "p 2"]
) -> tuple[Float[np.ndarray, "p f 2"], Bool[np.ndarray, "p f"]]:
    """What the tracker says, once it is what a tracker must say."""
    said = tracker(clip, start)
    if not isinstance(said, tuple | list) or len(said) != 2:  # pyright: ignore[reportUnnecessaryComparison, reportUnnecessaryIsInstance]
        raise EpisodeError(f"the tracker returned {type(said).__name__}; {_MUST}")
    uv, seen = np.asarray(said[0]), np.asarray(said[1])
    if uv.shape != (len(start), len(clip), 2) or seen.shape != uv.shape[:2] or seen.dtype != bool:
        raise EpisodeError(
            f"the tracker returned {uv.shape} and {seen.dtype} {seen.shape} for {len(start)} points in {len(clip)} "
            f"frames; {_MUST}"
        )
    if not np.isfinite(uv[seen]).all():
        raise EpisodeError(f"the tracker returned numbers that are not finite; {_MUST}")
    return uv, seen

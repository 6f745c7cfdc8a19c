"""Which points to follow: 1250 pixels of a frame, a quarter of them on things that move (the paper's share).

A point moves when, over the flow's horizon and seen by a camera that stands still, it travels more than 1 px (of an
image 224 px wide, whatever the stored size) and more than a tenth of the frame's 95th percentile, or when its depth
changes by more than 5 mm. The camera standing still means: for the static view its own flow, for the wrist view what
the body does in the world.

Dimensions: p point, l flow step, h w pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

from model.config import WindowConfig
from model.errors import EpisodeError
from trainer.episodes.episode import Episode, View

FLOW_POINTS = 1250
MOVING_SHARE = 0.25
_MOVING_PIXELS = 1.0
_REFERENCE_WIDTH = 224
_MOVING_PERCENTILE, _MOVING_FRACTION = 95, 0.1
_MOVING_METRES = 0.005
_MAX_REPEATS = 4


@dataclass(frozen=True)
class Points:
    """Start points in one view at one step.

    Attributes:
        uv: Centres of pixels of the stored image.
        moving: False everywhere when the episode has no exact flow.
    """

    uv: Float[np.ndarray, "p 2"]
    moving: Bool[np.ndarray, " p"]


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Where points of one view really went.

    Attributes:
        start: x, y as fractions of the image, depth in metres.
        delta: Displacement from the start after each flow step, in the same units; 0 where it is not known.
        visible: Depth-tested and inside the image.
        inside: Known, and inside the image whether hidden or not.
    """

    start: Float[np.ndarray, "p 3"]
    delta: Float[np.ndarray, "p l 3"]
    visible: Bool[np.ndarray, "p l"]
    inside: Bool[np.ndarray, "p l"]


def true_paths(episode: Episode, view: View, step: int, uv: Float[np.ndarray, "p 2"], window: WindowConfig) -> Paths:
    """The exact flow of pixels with a known depth, over the flow's horizon."""
    height, width = episode.image_size(view)
    columns, rows = uv.astype(np.int64).T
    scale = np.array([width, height, 1.0])
    first = np.concatenate([uv, episode.depth(view, step)[rows, columns, None]], 1)
    tracks = episode.tracks(view, step, uv, flow_times(step, window))
    later = tracks.uvz[..., :2]
    return Paths(
        start=first / scale,
        delta=np.where(tracks.known[..., None], (tracks.uvz - first[:, None]) / scale, 0),
        visible=tracks.visible,
        inside=tracks.known & ((later >= 0) & (later < (width, height))).all(-1),
    )


def flow_times(step: int, window: WindowConfig) -> Integer[np.ndarray, " l"]:
    """The control steps at which the flow from `step` is predicted; they may lie beyond the end."""
    return step + window.flow_stride * np.arange(1, window.flow_steps + 1)


def choose_points(
    episode: Episode, step: int, window: WindowConfig, *, view: View = "static", count: int = FLOW_POINTS, seed: int = 0
) -> Points:
    """Chooses start points: a pure function of its arguments.

    A quarter is drawn among the moving pixels; where there are few, each is taken up to four times; the rest is drawn
    among all other pixels of known depth. An episode without 3D tracks gives points drawn evenly from the image.

    Raises:
        EpisodeError: No image at `step`, or not one pixel of known depth.
    """
    rng = np.random.default_rng([seed, step])
    height, width = episode.image_size(view)
    if not episode.has("tracks", view):
        pixels = _draw(rng, np.arange(height * width), count)
        return _points(pixels, np.zeros(count, bool), width)
    valid = np.isfinite(episode.depth(view, step)).ravel()
    if not valid.any():
        raise EpisodeError(f"{episode.name}: '{view}' has no valid depth at step {step}")
    is_moving = moving_pixels(episode, step, window, view=view).ravel() & valid
    candidates = np.flatnonzero(is_moving)
    n_moving = min(round(MOVING_SHARE * count), _MAX_REPEATS * len(candidates))
    still = np.flatnonzero(valid & ~is_moving)
    if not len(still):
        n_moving = count
    moving, rest = _draw(rng, candidates, n_moving), _draw(rng, still, count - n_moving)
    return _points(np.concatenate([moving, rest]), np.arange(count) < n_moving, width)


def moving_pixels(
    episode: Episode, step: int, window: WindowConfig, *, view: View = "static"
) -> Bool[np.ndarray, "h w"]:
    """Which pixels of a frame show something that moves over the flow's horizon."""
    lateral, axial = np.moveaxis(episode.own_motion(view, step, int(flow_times(step, window)[-1])), -1, 0)
    least = max(
        _MOVING_PIXELS * lateral.shape[1] / _REFERENCE_WIDTH,
        _MOVING_FRACTION * float(np.percentile(lateral, _MOVING_PERCENTILE)),
    )
    return (lateral > least) | (axial > _MOVING_METRES)


def _draw(rng: np.random.Generator, pixels: Integer[np.ndarray, " n"], count: int) -> Integer[np.ndarray, " count"]:
    """`count` of `pixels`, none drawn again before all have been drawn."""
    if not len(pixels):
        return pixels[:count]
    rounds, rest = divmod(count, len(pixels))
    return np.concatenate([np.tile(pixels, rounds), rng.choice(pixels, rest, replace=False, shuffle=False)])


def _points(pixels: Integer[np.ndarray, " p"], moving: Bool[np.ndarray, " p"], width: int) -> Points:
    rows, columns = np.divmod(pixels, width)
    return Points(uv=np.stack([columns, rows], 1) + 0.5, moving=moving)

"""What of the truth beside a prediction is itself estimated: said on every panel and number that it touches.

A figure against pseudo depth or against a tracker's tracks measures agreement with another network, not with the world.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from trainer.episodes.episode import Episode, View
from trainer.labels.overlay import Labelled
from trainer.labels.tracks import grid_points

PSEUDO_DEPTH, PSEUDO_TRACKS = "pseudo_depth", "pseudo_tracks"
PSEUDO = "pseudo"
_AHEAD = 12
"""Frames that image tracks are drawn for."""
_DRAWN = 160
_MOVES = 2.0
"""Pixels of an image 224 wide: what moves less has no line."""


def pseudo_remarks(episode: Episode, views: Sequence[View]) -> tuple[str, ...]:
    """Keys of `foresight.REMARKS`: which truth of an episode is estimated.

    Args:
        episode: The episode.
        views: Whose flow the policy predicts.
    """
    info = episode.info
    tracked = not info.has_exact_flow and any(episode.has("tracks", view) for view in views if view in info.views)
    found = {PSEUDO_DEPTH: info.depth_origin == "pseudo", PSEUDO_TRACKS: tracked}
    return tuple(name for name, holds in found.items() if holds)


def is_pseudo(metric: str, remarks: Collection[str]) -> bool:
    """Whether a figure, by its full name, compares with an estimate.

    Flow counts in both cases: its tracks are lifted by depth, and start from it.
    """
    parts = metric.split(".")
    if any(part.startswith("flow") for part in parts):
        return PSEUDO_TRACKS in remarks or PSEUDO_DEPTH in remarks
    return PSEUDO_DEPTH in remarks and bool({"depth", "future_depth"} & set(parts))


def label_badges(episode: Episode) -> list[str]:
    """What to write beside the episode about tracks that a tracker gave."""
    if not isinstance(episode, Labelled):
        return []
    tracked: list[View] = [view for view in episode.info.views if episode.has_image_tracks(view)]
    return [f"{view} {'3D' if episode.has('tracks', view) else '2D'} tracks: pseudo" for view in tracked]


def image_tracks(episode: Episode, view: View, step: int, size: tuple[int, int]) -> Mapping[str, Any] | None:
    """Image tracks of an episode without depth, to be drawn over its picture; None where there are none.

    Args:
        episode: The episode.
        view: Whose picture.
        step: The control step of the picture.
        size: (height, width) of the picture as it is drawn.

    Returns:
        `lines`: per point its pixels, NaN from where the tracker lost it; `of`: grid points; `until`: the last step.
    """
    if not isinstance(episode, Labelled) or not episode.has_image_tracks(view) or episode.has("tracks", view):
        return None
    first = int(np.searchsorted(episode.frame_steps, step))
    later = episode.frame_steps[first + 1 : first + 1 + _AHEAD]
    recorded = episode.image_size(view)
    start = grid_points(recorded, episode.grid(view))
    moved, seen = episode.image_tracks(view, step, start, later)
    lines = np.concatenate([start[:, None], np.where(seen[..., None], moved, np.nan)], 1)
    far = np.where(seen, np.linalg.norm(moved - start[:, None], axis=-1), 0).max(1, initial=0.0)
    moving = np.flatnonzero(far > _MOVES * recorded[1] / 224)
    shown = moving[:: max(1, -(-len(moving) // _DRAWN))]
    scale = (size[1] / recorded[1], size[0] / recorded[0])
    return {"lines": lines[shown] * scale, "of": len(start), "until": int(later[-1]) if len(later) else step}

"""How far tracks are off, measured where the truth is known: simulated episodes with exact flow.

Dimensions: p point, n sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from model.errors import ConfigError
from trainer.episodes.episode import Episode
from trainer.episodes.open import open_episode

from .track_labeller import TrackLabeller, tracks_of
from .tracks import ClipTracks, grid_points

_REFERENCE_WIDTH = 224
_MOVING_PX = 1.0  # of a 224 px image, as in trainer.data.points
_HORIZONS = (1, 5, 10)
_EVERY = 5  # start frames


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Tracked points with their truth, pixels of a 224 px wide image and metres.

    Attributes:
        error: Lateral distance between tracked and true pixel.
        motion: Distance of the true pixel from the start: what zero flow is off by.
        lifted: Distance in space between the tracked pixel lifted by the later frame's true depth and the true point;
            NaN where that depth is invalid.
        seen: The tracker says visible.
        visible: It is (depth-tested).
    """

    error: Float[np.ndarray, " n"]
    motion: Float[np.ndarray, " n"]
    lifted: Float[np.ndarray, " n"]
    seen: Bool[np.ndarray, " n"]
    visible: Bool[np.ndarray, " n"]


def check_tracks(names: Sequence[str], labeller: TrackLabeller) -> str:
    """A table: by horizon, moving and still points, the tracker beside zero flow.

    Raises:
        ConfigError: None of the episodes has exact flow.
    """
    episodes = [episode for episode in map(open_episode, names) if episode.info.has_exact_flow]
    if not episodes:
        raise ConfigError("--check needs simulated episodes with exact flow; none of these has it")
    parts: dict[int, list[Samples]] = {ahead: [] for ahead in _HORIZONS if ahead <= labeller.reach}
    for episode in episodes:
        tracks = tracks_of(labeller.label(episode), labeller.view)
        for ahead, found in parts.items():
            found += [_samples(episode, labeller, tracks, first, ahead) for first in _starts(episode, ahead)]
    lines = [
        f"{len(episodes)} episodes with exact flow, {labeller.grid} x {labeller.grid} points from every {_EVERY}th "
        f"frame; pixels of a {_REFERENCE_WIDTH} px wide image",
        f"{'frames ahead':>12}  {'points':8}{'n':>8}{'kept':>7}{'median px':>11}{'zero flow':>11}{'< 2 px':>8}"
        f"{'median mm, lifted by true depth':>33}",
    ]
    for ahead, found in parts.items():
        lines += _rows(ahead, found)
    return "\n".join(lines) + "\n"


def _starts(episode: Episode, ahead: int) -> range:
    return range(0, len(episode.frame_steps) - ahead, _EVERY)


def _samples(episode: Episode, labeller: TrackLabeller, tracks: ClipTracks, first: int, ahead: int) -> Samples:
    view, steps = labeller.view, episode.frame_steps
    start = grid_points(tracks.size, tracks.grid)
    truth = episode.tracks(view, int(steps[first]), start, steps[[first + ahead]])
    uv, seen = tracks.follow(first, start, [first + ahead])
    known = truth.known[:, 0]
    uv, true = uv[known, 0], truth.uvz[known, 0]
    width = tracks.size[1] / _REFERENCE_WIDTH
    return Samples(
        error=np.linalg.norm(uv - true[:, :2], axis=1) / width,
        motion=np.linalg.norm(start[known] - true[:, :2], axis=1) / width,
        lifted=np.linalg.norm(
            _points(episode, labeller, int(steps[first + ahead]), uv) - _unproject(episode, labeller, true), axis=1
        ),
        seen=seen[known, 0],
        visible=truth.visible[known, 0],
    )


def _points(
    episode: Episode, labeller: TrackLabeller, step: int, uv: Float[np.ndarray, "p 2"]
) -> Float[np.ndarray, "p 3"]:
    depth = episode.depth(labeller.view, step)
    height, width = depth.shape
    columns, rows = np.clip(uv.astype(np.int64), 0, (width - 1, height - 1)).T
    return _unproject(episode, labeller, np.concatenate([uv, depth[rows, columns, None]], 1))


def _unproject(episode: Episode, labeller: TrackLabeller, uvz: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p 3"]:
    pixels = np.concatenate([uvz[:, :2], np.ones((len(uvz), 1))], 1)
    return pixels @ np.linalg.inv(episode.intrinsics(labeller.view)).T * uvz[:, 2:]


def _rows(ahead: int, parts: list[Samples]) -> list[str]:
    error, motion, lifted, seen, visible = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("error", "motion", "lifted", "seen", "visible")
    )
    rows: list[str] = []
    for title, group in (("moving", visible & (motion > _MOVING_PX)), ("still", visible & (motion <= _MOVING_PX))):
        kept = group & seen
        if not kept.any():
            rows.append(f"{ahead:>12}  {title:8}{group.sum():>8}{0:>7.0%}")
            continue
        rows.append(
            f"{ahead:>12}  {title:8}{group.sum():>8}{kept.sum() / group.sum():>7.0%}{np.median(error[kept]):>11.2f}"
            f"{np.median(motion[kept]):>11.2f}{(error[kept] < 2).mean():>8.0%}{np.nanmedian(lifted[kept]) * 1e3:>33.1f}"
        )
    hidden = ~visible
    if hidden.any():
        rows.append(
            f"{ahead:>12}  {'hidden':8}{hidden.sum():>8}{(hidden & seen).sum() / hidden.sum():>7.0%}  (kept = wrongly)"
        )
    return rows

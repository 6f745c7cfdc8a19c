"""The scales of a training split that a policy carries with its weights: see `model.config.Statistics`.

Dimensions: v view, p point, l flow step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.config import PolicyConfig, Statistics
from model.errors import EpisodeError
from trainer.episodes.episode import Episode, View

from .points import choose_points, flow_times

_MAX_EPISODES = 64
_FRAMES_PER_EPISODE = 8
_PIXEL_STRIDE = 4
_FLOW_POINTS = 256
_LEAST_SCALE_XY, _LEAST_SCALE_DEPTH = 0.005, 0.005  # of a split in which hardly anything moves


def measure_statistics(episodes: Sequence[Episode], config: PolicyConfig, *, seed: int = 0) -> Statistics:
    """Measures depth and flow scales on evenly spaced frames of up to 64 episodes of the training split.

    The scale of the flow is the root mean square displacement of moving points over all flow steps. What the episodes
    do not have (depth of a view, flow, actions) keeps the value in `config.stats`.

    Raises:
        EpisodeError: The episodes disagree about the units of their actions.
    """
    rng = np.random.default_rng(seed)
    some = [episodes[index] for index in sorted(rng.permutation(len(episodes))[:_MAX_EPISODES])]
    depths = [_depth_moments(some, view) for view in config.views]
    lateral, axial = _flow_scales(some, config, seed)
    metres, radians = _action_units(episodes, config.stats)
    known = config.stats
    return Statistics(
        depth_mean=tuple(m if m is not None else old for (m, _), old in zip(depths, known.depth_mean, strict=True)),
        depth_std=tuple(s if s is not None else old for (_, s), old in zip(depths, known.depth_std, strict=True)),
        flow_scale_xy=known.flow_scale_xy if lateral is None else lateral,
        flow_scale_depth=known.flow_scale_depth if axial is None else axial,
        action_metres_per_unit=metres,
        action_radians_per_unit=radians,
    )


def _some_steps(episode: Episode) -> list[int]:
    steps = episode.frame_steps
    return [int(steps[at]) for at in np.unique(np.linspace(0, len(steps) - 1, _FRAMES_PER_EPISODE).astype(int))]


def _depth_moments(episodes: Sequence[Episode], view: View) -> tuple[float | None, float | None]:
    """Mean and standard deviation of valid depth, metres."""
    values = [
        depth[np.isfinite(depth)]
        for episode in episodes
        if episode.info.depth_scale == "metric" and episode.has("depth", view)
        for step in _some_steps(episode)
        for depth in [episode.depth(view, step)[::_PIXEL_STRIDE, ::_PIXEL_STRIDE]]
    ]
    valid = np.concatenate([np.zeros(0), *values])
    if not len(valid):
        return None, None
    return float(valid.mean()), max(float(valid.std()), 1e-3)


def _flow_scales(episodes: Sequence[Episode], config: PolicyConfig, seed: int) -> tuple[float | None, float | None]:
    """Root mean square displacement of moving, visible points: fraction of the image side, metres."""
    view, window = config.flow_view, config.window
    lateral: list[np.ndarray] = []
    axial: list[np.ndarray] = []
    for episode in episodes:
        if not episode.info.has_exact_flow or view not in episode.info.views:
            continue
        height, width = episode.image_size(view)
        for step in _some_steps(episode):
            points = choose_points(episode, step, window, view=view, count=_FLOW_POINTS, seed=seed)
            uv = points.uv[points.moving]
            columns, rows = uv.astype(np.int64).T
            tracks = episode.tracks(view, step, uv, flow_times(step, window))
            depth = episode.depth(view, step)[rows, columns, None]
            moved = (tracks.uvz[..., :2] - uv[:, None]) / (width, height)
            lateral.append(moved[tracks.visible].ravel())
            axial.append((tracks.uvz[..., 2] - depth)[tracks.visible])
    if not sum(map(len, axial)):
        return None, None
    rms_lateral, rms_axial = (float(np.sqrt(np.mean(np.concatenate(part) ** 2))) for part in (lateral, axial))
    return max(rms_lateral, _LEAST_SCALE_XY), max(rms_axial, _LEAST_SCALE_DEPTH)


def _action_units(episodes: Sequence[Episode], known: Statistics) -> tuple[float, float]:
    spaces = [episode.info.action_space for episode in episodes]
    units = {(space.metres_per_unit, space.radians_per_unit, space.frame) for space in spaces if space is not None}
    if len(units) > 1:
        raise EpisodeError(f"the episodes command actions in different units {sorted(units)}; train on one kind")
    for metres, radians, _ in units:
        return metres, radians
    return known.action_metres_per_unit, known.action_radians_per_unit

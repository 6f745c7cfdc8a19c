"""The scales of a training split that a policy carries with its weights: see `model.config.Statistics`.

Dimensions: v view, p point, l flow step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from model.config import PolicyConfig, Statistics
from model.errors import EpisodeError
from trainer.episodes.episode import Episode, View
from trainer.metrics.flow import unproject

from .images import scaled_intrinsics
from .points import choose_points, true_paths

_MAX_EPISODES = 64
_FRAMES_PER_EPISODE = 8
_PIXEL_STRIDE = 4
_FLOW_POINTS = 256
_LEAST_SCALE_XY, _LEAST_SCALE_METRES = 0.005, 0.005  # of a split in which hardly anything moves


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
    metres, radians = _action_units(episodes, config.stats)
    known = config.stats
    return replace(
        known,
        depth_mean=tuple(m if m is not None else old for (m, _), old in zip(depths, known.depth_mean, strict=True)),
        depth_std=tuple(s if s is not None else old for (_, s), old in zip(depths, known.depth_std, strict=True)),
        action_metres_per_unit=metres,
        action_radians_per_unit=radians,
        **_flow_scales(some, config, seed),
    )


def _some_steps(episode: Episode) -> list[int]:
    steps = episode.frame_steps
    return [int(steps[at]) for at in np.unique(np.linspace(0, len(steps) - 1, _FRAMES_PER_EPISODE).astype(int))]


def _depth_moments(episodes: Sequence[Episode], view: View) -> tuple[float | None, float | None]:
    """Mean and standard deviation of valid depth, metres; estimated depth counts only where none is recorded."""
    recorded = [episode for episode in episodes if episode.info.depth_origin == "true" and episode.has("depth", view)]
    values = [
        depth[np.isfinite(depth)]
        for episode in recorded or episodes
        if episode.info.depth_scale == "metric" and episode.has("depth", view)
        for step in _some_steps(episode)
        for depth in [episode.depth(view, step)[::_PIXEL_STRIDE, ::_PIXEL_STRIDE]]
    ]
    valid = np.concatenate([np.zeros(0), *values])
    if not len(valid):
        return None, None
    return float(valid.mean()), max(float(valid.std()), 1e-3)


def _flow_scales(episodes: Sequence[Episode], config: PolicyConfig, seed: int) -> dict[str, float]:
    """Root mean square displacement of moving, visible points of all flow views, by field; empty without any."""
    moved: list[np.ndarray] = []
    metres: list[np.ndarray] = []
    exact = [episode for episode in episodes if episode.info.has_exact_flow]
    for episode in exact or episodes:  # a tracker's word counts only where there is no better
        for view in config.flow_views:
            if not episode.has("tracks", view):
                continue
            K = scaled_intrinsics(episode, view, 1)
            for step in _some_steps(episode):
                points = choose_points(episode, step, config.window, view=view, count=_FLOW_POINTS, seed=seed)
                paths = true_paths(episode, view, step, points.uv[points.moving], config.window)
                end = paths.start[:, None] + paths.delta
                metres.append((unproject(end, K) - unproject(paths.start, K)[:, None])[paths.visible])
                moved.append(paths.delta[paths.visible])
    if not sum(map(len, moved)):
        return {}
    across, along, lateral = (
        float(np.sqrt(np.mean(np.concatenate(part)[:, which] ** 2)))
        for part, which in ((moved, slice(2)), (moved, slice(2, 3)), (metres, slice(2)))
    )
    return {
        "flow_scale_xy": max(across, _LEAST_SCALE_XY),
        "flow_scale_depth": max(along, _LEAST_SCALE_METRES),
        "flow_scale_lateral": max(lateral, _LEAST_SCALE_METRES),
    }


def _action_units(episodes: Sequence[Episode], known: Statistics) -> tuple[float, float]:
    spaces = [episode.info.action_space for episode in episodes]
    units = {(space.metres_per_unit, space.radians_per_unit, space.frame) for space in spaces if space is not None}
    if len(units) > 1:
        raise EpisodeError(f"the episodes command actions in different units {sorted(units)}; train on one kind")
    for metres, radians, _ in units:
        return metres, radians
    return known.action_metres_per_unit, known.action_radians_per_unit

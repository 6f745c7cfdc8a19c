"""Scales of the training episodes: measured once at the start of a run and stored in its configuration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from model.config import PolicyConfig, Statistics
from model.errors import EpisodeError
from trainer.episodes.episode import Episode, View

MAX_EPISODES = 64
STEPS_PER_EPISODE = 4
GRID = 24
"""Start points a side from which the scale of the flow is measured."""
MIN_MOTION_M = 0.005
MIN_STD_M, MIN_FLOW_XY, MIN_FLOW_M = 0.01, 0.005, 0.005
"""Floors, so that a data set in which nothing moves has finite units."""


def measure_statistics(episodes: Sequence[Episode], config: PolicyConfig) -> Statistics:
    """Depth mean and deviation by view, and the root mean square displacement of moving points, over a fixed sample.

    Raises:
        EpisodeError: No episode has depth in one of the views of `config`.
    """
    chosen = [episodes[i] for i in np.unique(np.linspace(0, len(episodes) - 1, MAX_EPISODES).round().astype(int))]
    depth = [_depth_sample(chosen, view) for view in config.views]
    motion = np.concatenate([_motion_sample(episode, config) for episode in chosen] or [np.zeros((0, 3))])
    scale_xy, scale_depth = MIN_FLOW_XY, MIN_FLOW_M
    if len(motion):
        scale_xy = max(scale_xy, float(np.sqrt(np.mean(motion[:, :2] ** 2))))
        scale_depth = max(scale_depth, float(np.sqrt(np.mean(motion[:, 2] ** 2))))
    space = next((episode.info.action_space for episode in chosen if episode.info.action_space), None)
    return Statistics(
        depth_mean=tuple(round(float(sample.mean()), 4) for sample in depth),
        depth_std=tuple(round(max(MIN_STD_M, float(sample.std())), 4) for sample in depth),
        flow_scale_xy=round(scale_xy, 4),
        flow_scale_depth=round(scale_depth, 4),
        action_metres_per_unit=space.metres_per_unit if space else Statistics().action_metres_per_unit,
        action_radians_per_unit=space.radians_per_unit if space else Statistics().action_radians_per_unit,
    )


def _depth_sample(episodes: Sequence[Episode], view: View) -> Float[np.ndarray, " n"]:
    samples: list[np.ndarray] = []
    for episode in episodes:
        if view not in episode.info.views or episode.info.depth_scale is None:
            continue
        for step in _spread(episode.frame_steps):
            depth = episode.depth(view, int(step))
            samples.append(depth[np.isfinite(depth) & (depth > 0)])
    values = np.concatenate(samples) if samples else np.zeros(0)
    if len(values) == 0:
        raise EpisodeError(f"no training episode has depth in the '{view}' view; record some, or train without it")
    return values.astype(np.float64)


def _motion_sample(episode: Episode, config: PolicyConfig) -> Float[np.ndarray, "n 3"]:
    """Displacements of moving points after each flow step: image fractions and metres."""
    if not episode.info.has_exact_flow or config.flow_view not in episode.info.views:
        return np.zeros((0, 3))
    height, width = episode.image_size(config.flow_view)
    v, u = np.meshgrid((np.arange(GRID) + 0.5) * height / GRID, (np.arange(GRID) + 0.5) * width / GRID, indexing="ij")
    uv = np.stack([u.ravel(), v.ravel()], axis=-1)
    found: list[np.ndarray] = []
    for step in _spread(episode.frame_steps):
        later = int(step) + config.window.flow_stride * np.arange(config.window.flow_steps + 1)
        tracks = episode.tracks(config.flow_view, int(step), uv, later)
        motion = (tracks.uvz - tracks.uvz[:, :1])[:, 1:] / np.array([width, height, 1.0])
        largest = np.abs(np.where(tracks.known[:, 1:, None], motion, 0.0)).max(axis=(1, 2))
        moving = (largest > MIN_MOTION_M)[:, None] & tracks.known[:, 1:]
        found.append(motion[moving])
    return np.concatenate(found)


def _spread(steps: np.ndarray) -> np.ndarray:
    return steps[np.unique(np.linspace(0, len(steps) - 1, STEPS_PER_EPISODE).round().astype(int))]

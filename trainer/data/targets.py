"""What really came after one time of an episode.

Dimensions: b batch, t observation step, a supervised frame, v view, h w pixels, p point, l flow step, k action step,
f flow view.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from model.batch import Targets
from model.config import PolicyConfig
from model.errors import EpisodeError
from trainer.episodes.episode import Episode, View

from .images import read_depth, read_rgb, scaled_intrinsics
from .observation import check_window, window_steps
from .points import FLOW_POINTS, choose_points, true_paths


def targets_at(
    episode: Episode,
    step: int,
    config: PolicyConfig,
    *,
    frames: Sequence[int],
    points: int = FLOW_POINTS,
    seed: int = 0,
) -> Targets:
    """The targets (b = 1) of the window whose newest frame is control step `step`.

    What the episode does not have (depth, a camera, exact flow, anything beyond its end) is zero and masked.

    Args:
        episode: Where the window lies.
        step: Newest control step of the window.
        config: Says what a window is.
        frames: Supervised frames, increasing indices into t. Those that are padding are masked.
        points: Flow points of each supervised frame and flow view; all 1250 in evaluation, fewer in training.
        seed: Of the choice of points, see `choose_points`.

    Raises:
        EpisodeError: No image at a step that the targets need.
    """
    check_window(episode, step, config.window)
    if list(frames) != sorted(set(frames)) or not all(0 <= frame < config.window.n_obs_steps for frame in frames):
        raise EpisodeError(f"frames must increase within 0..{config.window.n_obs_steps - 1}, got {list(frames)}")
    steps = window_steps(step, config.window)
    supervised = {row: steps[frame] for row, frame in enumerate(frames) if frame < len(steps)}
    action, action_mask = _actions(episode, steps, config)
    return Targets(
        frames=torch.tensor(list(frames), dtype=torch.int64),
        action=action,
        action_mask=action_mask,
        progress=_progress(episode, steps, config) if config.progress else None,
        **_trust(episode, config),
        **_images(episode, supervised, len(frames), config),
        **_flow(episode, supervised, len(frames), config, points, seed),
    )


def _trust(episode: Episode, config: PolicyConfig) -> dict[str, Tensor]:
    """How much the depth and the flow of an episode count."""
    estimated = episode.info.depth_origin == "pseudo"
    trust = {"depth_trust": not estimated, "flow_trust": episode.info.has_exact_flow and not estimated}
    return {name: torch.tensor([1.0 if exact else config.loss.pseudo]) for name, exact in trust.items()}


def _images(episode: Episode, supervised: dict[int, int], n_rows: int, config: PolicyConfig) -> dict[str, Tensor]:
    """Current depth, future colours and future depth of every supervised frame and view."""
    shape = (1, n_rows, len(config.views), config.image_size, config.image_size)
    out = {
        "depth": torch.zeros(shape),
        "depth_valid": torch.zeros(shape, dtype=torch.bool),
        "future_rgb": torch.zeros(*shape[:3], 3, *shape[3:], dtype=torch.uint8),
        "future_depth": torch.zeros(shape),
        "future_depth_valid": torch.zeros(shape, dtype=torch.bool),
        "future_mask": torch.zeros(shape[:3], dtype=torch.bool),
    }
    future = {
        row: at + config.window.future_offset
        for row, at in supervised.items()
        if at + config.window.future_offset < episode.info.length
    }
    for index, view in enumerate(config.views):
        if view not in episode.info.views:
            continue
        if future:
            rows = list(future)
            out["future_rgb"][0, rows, index] = read_rgb(episode, view, list(future.values()), config.image_size)
            out["future_mask"][0, rows, index] = True
        if episode.has("depth", view):
            for name, wanted in (("depth", supervised), ("future_depth", future)):
                if wanted:
                    depth, valid = read_depth(episode, view, list(wanted.values()), config.image_size)
                    out[name][0, list(wanted), index] = depth
                    out[f"{name}_valid"][0, list(wanted), index] = valid
    return out


def _flow(
    episode: Episode, supervised: dict[int, int], n_rows: int, config: PolicyConfig, points: int, seed: int
) -> dict[str, Tensor]:
    """Start points of every supervised frame and where they went, view by view."""
    views = [_flow_of(episode, view, supervised, n_rows, config, points, seed) for view in config.flow_views]
    flow = {name: torch.from_numpy(np.concatenate([found[name] for found in views], 2)) for name in views[0]}
    if config.flow.coordinates == "camera":
        flow["flow_camera"] = flow_cameras(episode, config)
    return flow


def _flow_of(
    episode: Episode,
    view: View,
    supervised: dict[int, int],
    n_rows: int,
    config: PolicyConfig,
    points: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """The points of one view; all zero where the episode has no such camera or no exact flow."""
    n_steps = config.window.flow_steps
    start, moving = np.zeros((1, n_rows, points, 3), np.float32), np.zeros((1, n_rows, points), bool)
    delta = np.zeros((1, n_rows, points, n_steps, 3), np.float32)
    weight = np.zeros((1, n_rows, points, n_steps), np.float32)
    visible = np.zeros((1, n_rows, points, n_steps), bool)
    known = episode.has("tracks", view)
    for row, at in supervised.items() if known else ():
        chosen = choose_points(episode, at, config.window, view=view, count=points, seed=seed)
        paths = true_paths(episode, view, at, chosen.uv, config.window)
        start[0, row], moving[0, row], delta[0, row] = paths.start, chosen.moving, paths.delta
        weight[0, row] = np.where(paths.visible, 1.0, config.loss.flow_occluded) * paths.inside
        visible[0, row] = paths.visible
    return {
        "flow_start": start,
        "flow_delta": delta,
        "flow_weight": weight,
        "flow_visible": visible,
        "flow_moving": moving,
    }


def flow_cameras(episode: Episode, config: PolicyConfig) -> Float[Tensor, "1 f 3 3"]:
    """`Targets.flow_camera` of an episode; the identity for a view whose intrinsics it does not have."""
    K = [
        scaled_intrinsics(episode, view, 1) if view in episode.info.views and episode.has("K", view) else np.eye(3)
        for view in config.flow_views
    ]
    return torch.from_numpy(np.stack(K)[None].astype(np.float32))


def _progress(episode: Episode, steps: list[int], config: PolicyConfig) -> Tensor:
    """The share of the episode that has passed at each frame; 0 in padded frames."""
    progress = torch.zeros(1, config.window.n_obs_steps)
    progress[0, : len(steps)] = torch.tensor(steps) / max(episode.info.length - 1, 1)
    return progress


def _actions(episode: Episode, steps: list[int], config: PolicyConfig) -> tuple[Tensor, Tensor]:
    """The chunk of commands that starts at each frame, at the control rate."""
    window = config.window
    action = torch.zeros(1, window.n_obs_steps, window.chunk_size, 7)
    mask = torch.zeros(1, window.n_obs_steps, window.chunk_size, dtype=torch.bool)
    if episode.info.action_space is not None and episode.has("action"):
        at = np.asarray(steps)[:, None] + np.arange(window.chunk_size)
        inside = at < episode.info.length
        chunk = episode.action[np.minimum(at, episode.info.length - 1)] * inside[..., None]
        action[0, : len(steps)] = torch.from_numpy(chunk)
        mask[0, : len(steps)] = torch.from_numpy(inside)
    return action, mask

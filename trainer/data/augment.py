"""Random shift: the whole window moves by one offset a view, borders replicated, and all its labels move along.

Dimensions: b batch, v view, f flow view, h w pixels.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from model.batch import Observation, Targets
from model.config import PolicyConfig

MAX_SHIFT = 0.05  # of the image side: 10 of 200 px as in GR-MG


def random_offsets(rng: np.random.Generator, config: PolicyConfig) -> Int64[Tensor, "v 2"]:
    """Whole pixels (right, down) for each view, evenly within 5 % of the image side."""
    most = round(MAX_SHIFT * config.image_size)
    return torch.from_numpy(rng.integers(-most, most + 1, (len(config.views), 2)))


def shift(
    observation: Observation, targets: Targets, config: PolicyConfig, offsets: Int64[Tensor, "v 2"]
) -> tuple[Observation, Targets]:
    """Moves images, depth, validity, flow points and cameras by `offsets`; points that leave the image get weight 0."""
    moved = {
        name: _shift_images(getattr(targets, name), offsets)
        for name in ("depth", "depth_valid", "future_depth", "future_depth_valid", "future_rgb")
    }
    moves = offsets[[config.views.index(view) for view in config.flow_views]].float() / config.image_size
    per_point = moves.repeat_interleave(targets.flow_start.shape[2] // len(moves), 0)
    start = targets.flow_start + functional.pad(per_point, (0, 1))
    later = start[..., None, :2] + targets.flow_delta[..., :2]
    inside = ((later >= 0) & (later < 1)).all(-1) & ((start[..., :2] >= 0) & (start[..., :2] < 1)).all(-1)[..., None]
    goal = observation.goal_rgb
    if goal is not None:  # of the static camera, which is the first
        goal = _shift_images(goal[:, None, None], offsets[:1])[:, 0, 0]
    return (
        replace(observation, rgb=_shift_images(observation.rgb, offsets), goal_rgb=goal),
        replace(
            targets,
            **moved,
            flow_start=start,
            flow_weight=targets.flow_weight * inside,
            flow_visible=targets.flow_visible & inside,
            flow_camera=None if targets.flow_camera is None else _shift_cameras(targets.flow_camera, moves),
        ),
    )


def _shift_cameras(K: Float[Tensor, "b f 3 3"], moves: Float[Tensor, "f 2"]) -> Float[Tensor, "b f 3 3"]:
    """The principal point moves with the image: a place in the camera stays where it is."""
    moved = K.clone()
    moved[:, :, :2, 2] += moves
    return moved


def _shift_images(images: Tensor, offsets: Int64[Tensor, "v 2"]) -> Tensor:
    """Shifts (b, ., v, ..., h, w) by whole pixels, replicating the border."""
    height, width = images.shape[-2:]
    shifted = torch.empty_like(images)
    for view, (dx, dy) in enumerate(offsets.tolist()):
        source, target = images[:, :, view].numpy(), shifted[:, :, view].numpy()  # copies rows faster than torch
        rows, columns = slice(max(dy, 0), height + min(dy, 0)), slice(max(dx, 0), width + min(dx, 0))
        target[..., rows, columns] = source[
            ..., rows.start - dy : rows.stop - dy, columns.start - dx : columns.stop - dx
        ]
        # borders: first the columns beside the copied block, then whole rows above and below it
        target[..., rows, : columns.start] = target[..., rows, columns.start : columns.start + 1]
        target[..., rows, columns.stop :] = target[..., rows, columns.stop - 1 : columns.stop]
        target[..., : rows.start, :] = target[..., rows.start : rows.start + 1, :]
        target[..., rows.stop :, :] = target[..., rows.stop - 1 : rows.stop, :]
    return shifted

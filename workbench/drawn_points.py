"""The points whose flow is drawn: a raster that is the same at every time, so that no track jumps between two times.

What is scored are other points (`trainer.data.points`): a quarter of them on what moves, drawn anew at every time. The
raster is decoded beside them from the same trunk outputs, so drawing costs one more call of the flow decoder.

Imports torch. Dimensions: p point, l flow step, h w pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from model.batch import Prediction
from model.config import PolicyConfig
from model.embedding import Embedded
from model.geometry import flow_in_image
from model.policy import Policy
from trainer.data.points import Paths, flow_times, moving_pixels, true_paths
from trainer.data.targets import flow_cameras
from trainer.episodes.episode import Episode, View

from .foresight import FlowForesight

GRID = 35
"""Points a side: 1225, about as many as the paper follows."""
DRAWN_VIEW: View = "static"


@dataclass(frozen=True, kw_only=True)
class DrawnPoints:
    """The raster at one time of an episode.

    Attributes:
        step: The control step.
        start: x, y as fractions of the image, depth in metres; NaN depth where it is not known.
        truth: Where the points went, None where nobody says so in space.
        moving: False everywhere without `truth`.
        camera: Intrinsics, image width and height being 1; None where they are not known.
    """

    step: int
    start: Float[Tensor, "p 3"]
    truth: Paths | None
    moving: Bool[np.ndarray, " p"]
    camera: Float[Tensor, "1 1 3 3"] | None


def raster(height: int, width: int, side: int = GRID) -> Float[np.ndarray, "p 2"]:
    """Centres of `side` x `side` pixels, spread evenly over an image, row after row."""
    rows, columns = (np.floor((np.arange(side) + 0.5) * length / side) + 0.5 for length in (height, width))
    v, u = np.meshgrid(rows, columns, indexing="ij")
    return np.stack([u.ravel(), v.ravel()], 1)


def drawn_points(episode: Episode, step: int, config: PolicyConfig) -> DrawnPoints | None:
    """The raster of the static image; None where nothing of it can be drawn.

    That is a policy without flow, or with that of the wrist only, and a flow in metres without intrinsics.
    """
    if "flow" not in config.foresight or DRAWN_VIEW not in config.flow_views:
        return None
    height, width = episode.image_size(DRAWN_VIEW)
    uv = raster(height, width)
    camera = flow_cameras(episode, config)[:, :1] if episode.has("K", DRAWN_VIEW) else None
    if camera is None and config.flow.coordinates == "camera":
        return None
    if not episode.has("tracks", DRAWN_VIEW):
        start = np.concatenate([uv / (width, height), np.full((len(uv), 1), np.nan)], 1)
        return DrawnPoints(step=step, start=_tensor(start), truth=None, moving=np.zeros(len(uv), bool), camera=camera)
    columns, rows = uv.astype(np.int64).T
    paths = true_paths(episode, DRAWN_VIEW, step, uv, config.window)
    moving = moving_pixels(episode, step, config.window, view=DRAWN_VIEW)[rows, columns]
    return DrawnPoints(step=step, start=_tensor(paths.start), truth=paths, moving=moving, camera=camera)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


def with_depth(points: DrawnPoints, depth: Float[Tensor, "h w"] | None) -> DrawnPoints:
    """Unknown start depths taken from a predicted depth map, if there is one."""
    if depth is None:
        return points
    height, width = depth.shape
    columns = (points.start[:, 0] * width).long().clamp(0, width - 1)
    rows = (points.start[:, 1] * height).long().clamp(0, height - 1)
    start = points.start.clone()
    start[:, 2] = torch.where(start[:, 2].isnan(), depth[rows, columns], start[:, 2])
    return replace(points, start=start)


def decode_points(
    policy: Policy, hidden: Float[Tensor, "b t n d"], seen: Embedded, newest: int, points: list[DrawnPoints]
) -> Prediction:
    """The flow of every row's raster with its attention, in the coordinates that the policy predicts."""
    config = policy.config
    start = torch.stack([item.start for item in points])[:, None]
    mean = config.stats.depth_mean[config.views.index(DRAWN_VIEW)]
    start = torch.where(start.isnan(), mean, start)  # read by `flow.start_depth` only, where depth is not predicted
    views = len(config.flow_views)  # a policy of both decodes as many points of each; the static view's come first
    made = policy.decode(
        hidden,
        seen,
        frames=torch.tensor([newest]),
        flow_start=start.repeat(1, 1, views, 1),
        decoders=frozenset({"flow"}),
        capture=True,
    )
    if made.flow_delta is None or made.flow_visible_logit is None:
        raise AssertionError("a policy that has a flow decoder decoded no flow")
    count = start.shape[2]
    return Prediction(
        flow_delta=made.flow_delta[:, :, :count],
        flow_visible_logit=made.flow_visible_logit[:, :, :count],
        attention={name: rows[:, :, :, :count] for name, rows in (made.attention or {}).items()},
    )


def drawn_flow(policy: Policy, points: DrawnPoints, made: Prediction) -> FlowForesight:
    """Tracks in pixels of the policy's image, their start included; `made` is of this time (b = 1)."""
    config = policy.config
    to_pixels = np.array([config.image_size, config.image_size, 1.0], np.float32)
    if made.flow_delta is None or made.flow_visible_logit is None:
        raise AssertionError("no flow was decoded for the drawn points")
    delta = made.flow_delta
    if config.flow.coordinates == "camera" and points.camera is not None:
        delta = flow_in_image(points.start[None, None], delta, points.camera)
    first, truth = points.start.numpy() * to_pixels, points.truth
    probability = torch.sigmoid(made.flow_visible_logit[0, 0]).numpy()
    begun = np.ones((len(first), 1), bool)
    return FlowForesight(
        uvz=_tracks(first, delta[0, 0].numpy() * to_pixels),
        visible_probability=np.concatenate([begun.astype(np.float32), probability], 1),
        uvz_true=None if truth is None else _tracks(first, truth.delta * to_pixels),
        known=None if truth is None else np.concatenate([begun, truth.inside], 1),
        visible_true=None if truth is None else np.concatenate([begun, truth.visible], 1),
        moving=points.moving,
        start_depth="predicted" if truth is None else "true",
        steps=np.concatenate([[points.step], flow_times(points.step, config.window)]),
    )


def no_flow(step: int, config: PolicyConfig) -> FlowForesight:
    """What stands in the place of tracks where there are none."""
    steps = np.concatenate([[step], flow_times(step, config.window)])
    return FlowForesight(
        uvz=np.zeros((0, len(steps), 3), np.float32),
        visible_probability=np.zeros((0, len(steps)), np.float32),
        uvz_true=None,
        known=None,
        visible_true=None,
        moving=np.zeros(0, bool),
        start_depth="predicted",
        steps=steps,
    )


def _tracks(first: Float[np.ndarray, "p 3"], delta: Float[np.ndarray, "p l 3"]) -> Float[np.ndarray, "p l+1 3"]:
    return np.concatenate([first[:, None], first[:, None] + delta], axis=1).astype(np.float32)

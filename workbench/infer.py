"""One run of the policy over one or several times of an episode, and its outputs as plain arrays.

Imports torch: `predict` imports this module when the first prediction is wanted. Dimensions as in `foresight`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from model.batch import Observation, Prediction, Targets
from model.config import PolicyConfig, Statistics
from model.errors import EpisodeError
from model.policy import Policy
from trainer.data.images import scaled_intrinsics
from trainer.data.points import FLOW_POINTS, choose_points, flow_times
from trainer.data.windows import observation_at, targets_at
from trainer.episodes.episode import Episode, View
from trainer.metrics.action import in_units_of
from trainer.metrics.window import Window, rgb_future, rgb_now, score_window, true_depth

from .attention.captured import attention_foresight, attention_maps, shown_rows
from .foresight import FlowForesight, Foresight, ViewForesight


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What one time of an episode gives to the policy and to the comparison; all b = 1.

    Attributes:
        flow_start: `targets.flow_start` where the truth is known, else points drawn from the image.
    """

    step: int
    observation: Observation
    targets: Targets
    flow_start: Float[Tensor, "1 1 p 3"]
    has_flow: bool

    @property
    def newest(self) -> int:
        """Index of the newest real frame of the window."""
        return int(self.observation.frame_mask.sum()) - 1


def remarks_of(config: PolicyConfig) -> tuple[str, ...]:
    """What a reader must know about a policy's predictions, as keys of `foresight.REMARKS`."""
    future, flow = "future" in config.foresight, "flow" in config.foresight
    found = {
        "no_depth": "depth" not in config.foresight,
        "no_future": not future,
        "no_future_depth": future and not config.future_depth,
        "no_flow": not flow,
        "flat_flow": flow and not config.flow.predict_depth,
        "patch_colours": future and config.norm_pix,
        "given_goal": config.goal_image,
    }
    return tuple(name for name, holds in found.items() if holds)


def gather(policy: Policy, episode: Episode, step: int) -> Inputs:
    """Reads everything that one time needs from the episode.

    Raises:
        EpisodeError: The step has no image, or a frame that is needed cannot be read.
    """
    config = policy.config
    observation = observation_at(episode, step, config, policy.tokenize)
    newest = int(observation.frame_mask.sum()) - 1
    targets = targets_at(episode, step, config, frames=[newest], points=FLOW_POINTS)
    start, has_flow = targets.flow_start, episode.info.has_exact_flow
    if not has_flow:
        height, width = episode.image_size(config.flow_view)
        uv = choose_points(episode, step, config.window, view=config.flow_view).uv / (width, height)
        depth = np.full(len(uv), config.stats.depth_mean[config.views.index(config.flow_view)])
        start = torch.from_numpy(np.concatenate([uv, depth[:, None]], 1)).float()[None, None]
    return Inputs(step=step, observation=observation, targets=targets, flow_start=start, has_flow=has_flow)


@torch.inference_mode()
def run_policy(policy: Policy, batch: Sequence[Inputs]) -> list[Prediction]:
    """Predicts several times whose windows have equally many frames; one prediction (b = 1) each, with attention."""
    observation = _stack([item.observation for item in batch])
    start = torch.cat([item.flow_start for item in batch])
    newest = torch.tensor([batch[0].newest])
    view = policy.config.views.index(policy.config.flow_view)
    guesses = policy.config.flow.start_depth and "depth" in policy.config.foresight
    if guesses and not all(item.has_flow for item in batch):
        seen = _required(policy(observation, frames=newest, decoders=frozenset({"depth"})).depth)
        start = start.clone()
        for row, item in enumerate(batch):
            if not item.has_flow:
                start[row, 0, :, 2] = _depth_at(seen[row, 0, view], start[row, 0])
    prediction = policy(observation, frames=newest, flow_start=start, capture=shown_rows(policy))
    return [_row(prediction, row) for row in range(len(batch))]


def assemble(
    policy: Policy, episode: Episode, inputs: Inputs, prediction: Prediction, mean_action: Sequence[float] | None
) -> Foresight:
    """Puts prediction, truth, numbers and attention of one time together."""
    config = policy.config
    window = Window(
        episode=episode,
        step=inputs.step,
        observation=inputs.observation,
        targets=inputs.targets,
        prediction=prediction,
    )
    flow = _flow(policy, inputs, prediction)
    captured = {name: value[0].numpy() for name, value in (prediction.attention or {}).items()}
    maps = attention_maps(policy, inputs.observation, captured, inputs.step)
    mean = None if mean_action is None else np.asarray(mean_action, np.float64)
    action, action_true = _actions(window, config.stats)
    return Foresight(
        step=inputs.step,
        future_step=inputs.step + config.window.future_offset,
        views={view: _view(window, policy, view) for view in config.views if view in episode.info.views},
        flow=flow,
        attention=attention_foresight(maps, flow.uvz[:, 0, :2], config.image_size),
        action=action,
        action_true=action_true,
        metrics=score_window(window, config, mean),
        remarks=remarks_of(config),
    )


def _view(window: Window, policy: Policy, view: View) -> ViewForesight:
    config, episode, targets, prediction = policy.config, window.episode, window.targets, window.prediction
    index = config.views.index(view)
    has_depth = episode.has("depth", view)
    came = bool(targets.future_mask[0, 0, index])
    future_true = targets.future_rgb[0, 0, index].permute(1, 2, 0).contiguous().numpy()
    camera: tuple[np.ndarray, np.ndarray] | None
    try:
        camera = scaled_intrinsics(episode, view, config.image_size), episode.T_world_camera(view)[window.step]
    except EpisodeError:  # a recording without cameras: everything but 3D can be shown
        camera = None
    return ViewForesight(
        rgb=rgb_now(window, index),
        depth=_of_view(prediction.depth, index),
        depth_true=_truth(targets.depth, targets.depth_valid, index) if has_depth else None,
        future_rgb=None if prediction.future_rgb is None else rgb_future(window, index),
        future_rgb_true=future_true if came else None,
        future_depth=_of_view(prediction.future_depth, index),
        future_depth_true=_truth(targets.future_depth, targets.future_depth_valid, index)
        if came and has_depth
        else None,
        K=None if camera is None else camera[0],
        T_world_camera=None if camera is None else camera[1],
    )


def _flow(policy: Policy, inputs: Inputs, prediction: Prediction) -> FlowForesight:
    """Tracks in pixels of the policy's image, their start included."""
    config, targets = policy.config, inputs.targets
    to_pixels = np.array([config.image_size, config.image_size, 1.0], np.float32)
    steps = np.concatenate([[inputs.step], flow_times(inputs.step, config.window)])
    if prediction.flow_delta is None:
        return _no_flow(steps)
    start = inputs.flow_start[0, 0].clone()
    if not inputs.has_flow:
        view = config.views.index(config.flow_view)
        start[:, 2] = torch.nan if prediction.depth is None else _depth_at(prediction.depth[0, 0, view], start)
    first = start.numpy() * to_pixels
    uvz = _tracks(first, _array(prediction.flow_delta)[0, 0] * to_pixels)
    probability = torch.sigmoid(_required(prediction.flow_visible_logit)[0, 0]).numpy()
    weight = targets.flow_weight[0, 0].numpy()
    ones = np.ones((len(first), 1), bool)
    return FlowForesight(
        uvz=uvz,
        visible_probability=np.concatenate([ones.astype(np.float32), probability], 1),
        uvz_true=_tracks(first, targets.flow_delta[0, 0].numpy() * to_pixels) if inputs.has_flow else None,
        known=np.concatenate([ones, weight > 0], 1) if inputs.has_flow else None,
        visible_true=np.concatenate([ones, targets.flow_visible[0, 0].numpy()], 1) if inputs.has_flow else None,
        moving=targets.flow_moving[0, 0].numpy() if inputs.has_flow else np.zeros(len(first), bool),
        start_depth="true" if inputs.has_flow else "predicted",
        steps=steps,
    )


def _no_flow(steps: np.ndarray) -> FlowForesight:
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


def _actions(window: Window, stats: Statistics) -> tuple[Float[np.ndarray, "k 7"], Float[np.ndarray, "k 7"] | None]:
    """The predicted chunk with the gripper as a probability, and the recorded one, both in the episode's units."""
    chunk = _required(window.prediction.action)[0, window.newest].clone()
    chunk[:, 6] = torch.sigmoid(chunk[:, 6])
    space = window.episode.info.action_space
    if space is None or not window.episode.has("action"):
        return chunk.numpy(), None
    exists = window.targets.action_mask[0, window.newest][:, None]
    true = torch.where(exists, window.targets.action[0, window.newest], torch.nan)
    return in_units_of(chunk.numpy(), stats, space).astype(np.float32), true.numpy()


def _depth_at(depth: Float[Tensor, "h w"], start: Float[Tensor, "p 3"]) -> Float[Tensor, " p"]:
    """The depth under start points in image fractions."""
    height, width = depth.shape
    columns = (start[:, 0] * width).long().clamp(0, width - 1)
    rows = (start[:, 1] * height).long().clamp(0, height - 1)
    return depth[rows, columns]


def _tracks(first: Float[np.ndarray, "p 3"], delta: Float[np.ndarray, "p l 3"]) -> Float[np.ndarray, "p l+1 3"]:
    return np.concatenate([first[:, None], first[:, None] + delta], axis=1).astype(np.float32)


def _truth(depth: Tensor, valid: Tensor, view: int) -> Float[np.ndarray, "h w"]:
    return true_depth(depth[0, 0, view], valid[0, 0, view]).astype(np.float32)


def _of_view(depth: Tensor | None, view: int) -> Float[np.ndarray, "h w"] | None:
    return None if depth is None else _array(depth)[0, 0, view]


def _required(value: Tensor | None) -> Tensor:
    if value is None:
        raise AssertionError("a decoder that every such policy has gave nothing")
    return value


def _array(value: Tensor | None) -> np.ndarray:
    return _required(value).float().numpy()


def _stack(observations: Sequence[Observation]) -> Observation:
    first = observations[0]
    names = [field.name for field in dataclasses.fields(Observation) if getattr(first, field.name) is not None]
    return Observation(**{name: torch.cat([getattr(item, name) for item in observations]) for name in names})


def _row(prediction: Prediction, row: int) -> Prediction:
    """One row of a batch as a prediction of its own, b = 1."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(prediction):
        value = getattr(prediction, field.name)
        values[field.name] = value[row : row + 1] if isinstance(value, Tensor) else value
    values["attention"] = {name: value[row : row + 1] for name, value in (prediction.attention or {}).items()}
    return Prediction(**values)

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
from model.policy import Policy
from trainer.data.images import scaled_intrinsics
from trainer.data.points import FLOW_POINTS
from trainer.data.windows import observation_at, targets_at
from trainer.episodes.episode import Episode, View
from trainer.metrics.action import in_units_of
from trainer.metrics.window import Window, rgb_future, rgb_now, score_window, true_depth

from .attention.captured import attention_foresight, attention_maps, shown_rows
from .drawn_points import DRAWN_VIEW, DrawnPoints, decode_points, drawn_flow, drawn_points, no_flow, with_depth
from .foresight import Foresight, ViewForesight
from .pseudo import pseudo_remarks


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What one time of an episode gives to the policy and to the comparison; all b = 1.

    Attributes:
        drawn: The points whose flow is drawn, None where there are none.
        has_flow: `targets` hold points whose true flow is known, to be scored.
    """

    step: int
    observation: Observation
    targets: Targets
    drawn: DrawnPoints | None
    has_flow: bool

    @property
    def newest(self) -> int:
        """Index of the newest real frame of the window."""
        return int(self.observation.frame_mask.sum()) - 1


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What the policy made of one time; all b = 1.

    Attributes:
        prediction: All of it, the flow that of the scored points; the attention is of the drawn ones.
        drawn: `Inputs.drawn`, unknown start depths predicted.
        drawn_flow: Their flow.
    """

    prediction: Prediction
    drawn: DrawnPoints | None
    drawn_flow: Prediction


def remarks_of(config: PolicyConfig) -> tuple[str, ...]:
    """What a reader must know about a policy's predictions, as keys of `foresight.REMARKS`."""
    future, flow = "future" in config.foresight, "flow" in config.foresight
    found = {
        "no_depth": "depth" not in config.foresight,
        "no_future": not future,
        "no_future_depth": future and not config.future_depth,
        "no_flow": not flow,
        "flat_flow": flow and not config.flow.predict_depth,
        "wrist_flow": flow and DRAWN_VIEW not in config.flow_views,
        "also_wrist_flow": flow and len(config.flow_views) > 1,
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
    return Inputs(
        step=step,
        observation=observation,
        targets=targets_at(episode, step, config, frames=[newest], points=FLOW_POINTS),
        drawn=drawn_points(episode, step, config),
        has_flow=any(episode.has("tracks", view) for view in config.flow_views),
    )


@torch.inference_mode()
def run_policy(policy: Policy, batch: Sequence[Inputs]) -> list[Outputs]:
    """Predicts several times of one episode whose windows have equally many frames, with attention."""
    observation, newest = _stack([item.observation for item in batch]), batch[0].newest
    frames = torch.tensor([newest])
    hidden, seen, attention = policy.trunk_outputs(observation, frames=frames, capture=shown_rows(policy))
    scored = torch.cat([item.targets.flow_start for item in batch]) if batch[0].has_flow else None
    prediction = policy.decode(hidden, seen, frames=frames, flow_start=scored)
    drawn = [_with_depth(item.drawn, prediction, row, policy.config) for row, item in enumerate(batch)]
    present = [item for item in drawn if item is not None]
    flow = decode_points(policy, hidden, seen, newest, present) if present else Prediction()
    prediction = dataclasses.replace(prediction, attention=attention | (flow.attention or {}))
    return [
        Outputs(prediction=_row(prediction, row), drawn=drawn[row], drawn_flow=_row(flow, row))
        for row in range(len(batch))
    ]


def _with_depth(
    points: DrawnPoints | None, prediction: Prediction, row: int, config: PolicyConfig
) -> DrawnPoints | None:
    if points is None or prediction.depth is None:
        return points
    return with_depth(points, prediction.depth[row, 0, config.views.index(DRAWN_VIEW)])


def assemble(
    policy: Policy, episode: Episode, inputs: Inputs, outputs: Outputs, mean_action: Sequence[float] | None
) -> Foresight:
    """Puts prediction, truth, numbers and attention of one time together."""
    config, prediction = policy.config, outputs.prediction
    window = Window(
        episode=episode,
        step=inputs.step,
        observation=inputs.observation,
        targets=inputs.targets,
        prediction=prediction,
    )
    flow = no_flow(inputs.step, config)
    if outputs.drawn is not None:
        flow = drawn_flow(policy, outputs.drawn, outputs.drawn_flow)
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
        remarks=(*remarks_of(config), *pseudo_remarks(episode, config.flow_views)),
    )


def _view(window: Window, policy: Policy, view: View) -> ViewForesight:
    config, episode, targets, prediction = policy.config, window.episode, window.targets, window.prediction
    index = config.views.index(view)
    has_depth = episode.has("depth", view)
    came = bool(targets.future_mask[0, 0, index])
    future_true = targets.future_rgb[0, 0, index].permute(1, 2, 0).contiguous().numpy()
    pose = episode.T_world_camera(view)[window.step] if episode.has("T_world_camera", view) else None
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
        K=scaled_intrinsics(episode, view, config.image_size) if episode.has("K", view) else None,
        T_world_camera=pose,
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

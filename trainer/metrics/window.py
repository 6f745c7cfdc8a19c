"""From a policy and one time of one episode to all its figures: the only file here that needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, UInt8

from model.batch import Observation, Prediction, Targets
from model.config import PolicyConfig, Statistics
from model.policy import Policy
from trainer.data.images import scaled_intrinsics
from trainer.data.windows import observation_at, targets_at
from trainer.episodes.episode import Episode

from .action import in_units_of
from .step import action_scores, depth_scores, flow_scores, future_scores, visibility_scores


@dataclass(frozen=True, kw_only=True)
class Window:
    """One time of an episode, b = 1: what the policy saw, what it predicted for the newest frame, and what came."""

    episode: Episode
    step: int
    observation: Observation
    targets: Targets
    prediction: Prediction

    @property
    def newest(self) -> int:
        """Index of the newest real frame of the window."""
        return int(self.observation.frame_mask.sum()) - 1


def predict_window(policy: Policy, episode: Episode, step: int, *, points: int) -> Window:
    """Runs `policy` (in evaluation mode) on the window that ends at control step `step`."""
    config = policy.config
    observation = observation_at(episode, step, config, policy.tokenize)
    newest = int(observation.frame_mask.sum()) - 1
    targets = targets_at(episode, step, config, frames=[newest], points=points)
    device = next(policy.parameters()).device
    with torch.inference_mode():
        prediction = policy(observation.to(device), frames=targets.frames, flow_start=targets.flow_start.to(device)).to(
            "cpu"
        )
    return Window(episode=episode, step=step, observation=observation, targets=targets, prediction=prediction)


def score_window(
    window: Window, config: PolicyConfig, mean_action: Float[np.ndarray, " 7"] | None = None
) -> dict[str, float]:
    """Every figure of `window` that its episode has the truth for, by full name."""
    scores: dict[str, float] = {}
    for index, view in enumerate(config.views):
        if bool(window.observation.view_mask[0, index]):
            scores |= {f"{view}.{name}": value for name, value in _view_scores(window, config, index).items()}
    return scores | _flow_scores(window, config) | _action_scores(window, config.stats, mean_action)


def rgb_now(window: Window, view: int) -> UInt8[np.ndarray, "h w 3"]:
    """The newest image of a view, by index."""
    return _image(window.observation.rgb[0, window.newest, view])


def rgb_future(window: Window, view: int) -> UInt8[np.ndarray, "h w 3"]:
    """The predicted image, clipped to 0..255 as it is shown. The policy must have a future decoder."""
    if window.prediction.future_rgb is None:
        raise ValueError("this prediction has no future image")
    return _image((window.prediction.future_rgb[0, 0, view].float().clamp(0, 1) * 255).round().to(torch.uint8))


def true_depth(depth: torch.Tensor, valid: torch.Tensor) -> Float[np.ndarray, "h w"]:
    """A target depth with NaN where it is not known."""
    return np.where(valid.numpy(), depth.numpy(), np.nan)


def _view_scores(window: Window, config: PolicyConfig, view: int) -> dict[str, float]:
    targets, prediction = window.targets, window.prediction
    depth_now = true_depth(targets.depth[0, 0, view], targets.depth_valid[0, 0, view])
    scores: dict[str, float] = {}
    if prediction.depth is not None and np.isfinite(depth_now).any():
        scores |= depth_scores(_array(prediction.depth[0, 0, view]), depth_now, config.stats.depth_mean[view])
    if prediction.future_rgb is None or not bool(targets.future_mask[0, 0, view]):
        return scores
    future_depth = true_depth(targets.future_depth[0, 0, view], targets.future_depth_valid[0, 0, view])
    with_depth = prediction.future_depth is not None and np.isfinite(future_depth).any()
    predicted_depth = _array(prediction.future_depth[0, 0, view]) if prediction.future_depth is not None else depth_now
    return scores | future_scores(
        rgb=rgb_future(window, view),
        rgb_true=_image(targets.future_rgb[0, 0, view]),
        rgb_now=rgb_now(window, view),
        depth=predicted_depth,
        depth_true=future_depth if with_depth else None,
        depth_now_true=depth_now if with_depth else None,
    )


def _flow_scores(window: Window, config: PolicyConfig) -> dict[str, float]:
    targets, prediction = window.targets, window.prediction
    known = targets.flow_weight[0, 0].numpy() > 0
    if prediction.flow_delta is None or prediction.flow_visible_logit is None or not known.any():
        return {}
    view = config.views.index(config.flow_view)
    to_pixels = np.array([config.image_size, config.image_size, 1.0])
    start = _array(targets.flow_start[0, 0]) * to_pixels
    true = start[:, None] + _array(targets.flow_delta[0, 0]) * to_pixels
    delta = _array(prediction.flow_delta[0, 0]) * to_pixels
    K, moving = (
        scaled_intrinsics(window.episode, config.flow_view, config.image_size),
        targets.flow_moving[0, 0].numpy(),
    )
    score = partial(flow_scores, uvz_true=true, known=known, moving=moving, K=K)
    scores = score(uvz=start[:, None] + delta, start_uvz=start)
    if prediction.depth is not None and not config.flow.start_depth:  # else the true depth is in the prediction
        own = start.copy()
        columns, rows = (np.clip(start[:, i].astype(int), 0, config.image_size - 1) for i in (0, 1))
        own[:, 2] = _array(prediction.depth[0, 0, view])[rows, columns]
        scores |= score(uvz=own[:, None] + delta, start_uvz=own, start_depth="predicted")
    probability = _array(prediction.flow_visible_logit[0, 0].sigmoid())
    return scores | visibility_scores(probability, targets.flow_visible[0, 0].numpy(), known, moving)


def _action_scores(window: Window, stats: Statistics, mean_action: Float[np.ndarray, " 7"] | None) -> dict[str, float]:
    space, newest = window.episode.info.action_space, window.newest
    if window.prediction.action is None or space is None or not window.episode.has("action"):
        return {}
    predicted = _array(window.prediction.action[0, newest])
    predicted[:, 6] = 1.0 / (1.0 + np.exp(-predicted[:, 6]))
    exists = window.targets.action_mask[0, newest].numpy()
    true = np.where(exists[:, None], _array(window.targets.action[0, newest]), np.nan)
    predicted = in_units_of(predicted, stats, space)
    mean = None if mean_action is None else in_units_of(mean_action[None], stats, space)[0]
    before = _gripper_before(window.episode, window.step)
    return action_scores(predicted, true, space=space, gripper_before=before, mean_action=mean)


def _gripper_before(episode: Episode, step: int) -> float:
    """The gripper command of the step before, 0 shut or 1 open; at the start of an episode, how it stands."""
    before = episode.action[step - 1, 6] if step > 0 or not episode.has("state") else episode.state[0, 7]
    return float(before > 0.5)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.float().numpy().astype(np.float64)


def _image(tensor: torch.Tensor) -> UInt8[np.ndarray, "h w 3"]:
    return np.ascontiguousarray(tensor.permute(1, 2, 0).numpy())

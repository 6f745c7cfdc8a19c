"""From a policy and one time of one episode to all its figures: the only file here that needs torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8

from model.batch import Observation, Prediction, Targets
from model.config import PolicyConfig, Statistics
from model.geometry import flow_in_image
from model.policy import Policy
from trainer.data.images import scaled_intrinsics
from trainer.data.windows import observation_at, targets_at
from trainer.episodes.episode import Episode

from .action import in_units_of
from .step import action_scores, depth_scores, flow_scores, future_scores, progress_scores, visibility_scores


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
    scores |= _flow_scores(window, config)
    return scores | _action_scores(window, config.stats, mean_action) | _progress_scores(window)


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
    """Figures of every flow view; those of a second one have its name in front."""
    if window.prediction.flow_delta is None or window.prediction.flow_visible_logit is None:
        return {}
    scores: dict[str, float] = {}
    for index, view in enumerate(config.flow_views):
        found = _flow_scores_of(window, config, index, window.prediction.flow_visible_logit)
        scores |= found if index == 0 else {f"{view}.{name}": value for name, value in found.items()}
    return scores


def _flow_scores_of(
    window: Window, config: PolicyConfig, index: int, visible_logit: Float[torch.Tensor, "1 1 p l"]
) -> dict[str, float]:
    """Figures of one flow view, by index; empty where its truth is not known."""
    view, targets, depth = config.flow_views[index], window.targets, window.prediction.depth
    points = _points_of(window, config, index)
    known = targets.flow_weight[0, 0, points].numpy() > 0
    if not known.any():
        return {}
    to_pixels = np.array([config.image_size, config.image_size, 1.0])
    start = _array(targets.flow_start[0, 0, points])
    true = (start[:, None] + _array(targets.flow_delta[0, 0, points])) * to_pixels
    K, moving = scaled_intrinsics(window.episode, view, config.image_size), targets.flow_moving[0, 0, points].numpy()

    def score(start: Float[np.ndarray, "p 3"], start_depth: str) -> dict[str, float]:
        uvz = (start[:, None] + _image_flow(window, config, index, start)) * to_pixels
        first = start * to_pixels
        return flow_scores(
            uvz=uvz, uvz_true=true, start_uvz=first, known=known, moving=moving, K=K, start_depth=start_depth
        )

    scores = score(start, "true")
    if depth is not None and not config.flow.start_depth:  # else the true depth is in the prediction
        own = start.copy()
        columns, rows = (
            np.clip((start[:, i] * config.image_size).astype(int), 0, config.image_size - 1) for i in (0, 1)
        )
        own[:, 2] = _array(depth[0, 0, config.views.index(view)])[rows, columns]
        scores |= score(own, "predicted")
    probability = _array(visible_logit[0, 0, points].sigmoid())
    return scores | visibility_scores(probability, targets.flow_visible[0, 0, points].numpy(), known, moving)


def _points_of(window: Window, config: PolicyConfig, index: int) -> slice:
    """Where the points of a flow view stand."""
    count = window.targets.flow_start.shape[2] // len(config.flow_views)
    return slice(index * count, (index + 1) * count)


def _image_flow(
    window: Window, config: PolicyConfig, index: int, start: Float[np.ndarray, "p 3"]
) -> Float[np.ndarray, "p l 3"]:
    """Predicted displacements of a view's points in image sides and metres of depth.

    Where the policy predicts metres along the camera's axes they depend on the depth of `start`.
    """
    delta, camera = window.prediction.flow_delta, window.targets.flow_camera
    if delta is None:
        raise ValueError("this prediction has no flow")
    delta = delta[:, :, _points_of(window, config, index)]
    if config.flow.coordinates == "camera" and camera is not None:
        delta = flow_in_image(
            torch.from_numpy(start)[None, None], delta.double(), camera[:, index : index + 1].double()
        )
    return _array(delta[0, 0])


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


def _progress_scores(window: Window) -> dict[str, float]:
    if window.prediction.progress is None or window.targets.progress is None:
        return {}
    predicted, true = (float(x[0, window.newest]) for x in (window.prediction.progress, window.targets.progress))
    return progress_scores(predicted, true)


def _gripper_before(episode: Episode, step: int) -> float:
    """The gripper command of the step before, 0 shut or 1 open; at the start of an episode, how it stands."""
    before = episode.action[step - 1, 6] if step > 0 or not episode.has("state") else episode.state[0, 7]
    return float(before > 0.5)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.double().numpy()


def _image(tensor: torch.Tensor) -> UInt8[np.ndarray, "h w 3"]:
    return np.ascontiguousarray(tensor.permute(1, 2, 0).numpy())

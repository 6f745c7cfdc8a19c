"""The training losses: every term by name, masked, reduced in float32.

Dimensions: b batch, a supervised frame, t frame of the window, v view, p point, l flow step, k action step, h w pixels.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from .batch import Observation, Prediction, Targets
from .config import LossWeights, PolicyConfig
from .decoders.images import patch_statistics
from .decoders.patch import patchify
from .encoders.image_features import normalise_rgb, prepare_rgb
from .errors import ConfigError
from .geometry import flow_in_camera

ACTION_TERMS = frozenset({"action_arm", "action_gripper", "action_kl"})
SILOG_LAMBDA = 0.5
ACTIVE_VARIANCE = 0.01
_LEAST_DEPTH = 1e-3  # metres: an untrained decoder may say less than nothing


def masked_mean(values: Float[Tensor, "*n"], weight: Float[Tensor, "*#n"] | Bool[Tensor, "*#n"]) -> Float[Tensor, ""]:
    """Sum of weight x value over max(1, sum of weight), both over all elements; NaN where weight is 0 does no harm."""
    values = _raised(values)
    weight = weight.to(values.dtype).expand_as(values)
    values = torch.where(weight > 0, values, 0.0)
    return (values * weight).sum() / weight.sum().clamp(min=1.0)


def kl_to_standard_normal(mean: Float[Tensor, "*n z"], logvar: Float[Tensor, "*n z"]) -> Float[Tensor, "*n"]:
    """KL(N(mean, exp logvar) || N(0, 1)) in nats, summed over the latent."""
    mean, logvar = _raised(mean), _raised(logvar)
    return 0.5 * (mean.square() + logvar.exp() - logvar - 1).sum(-1)


@torch.no_grad()
def active_latents(mean: Float[Tensor, "*n z"], valid: Bool[Tensor, "*n"]) -> Float[Tensor, ""]:
    """How many dimensions of the posterior say something: their mean varies by more than 0.01 over the valid chunks.

    The measure of Burda et al. 2016, section 5.2. 0: the posterior has collapsed and the CVAE is a plain regressor.
    """
    weight = valid[..., None].to(mean.dtype)
    count, over = weight.sum().clamp(min=1.0), tuple(range(mean.dim() - 1))
    mean = torch.where(weight > 0, mean, 0.0)
    centred = mean - (mean * weight).sum(over) / count
    return ((centred.square() * weight).sum(over) / count > ACTIVE_VARIANCE).sum().float()


def _raised(x: Tensor) -> Tensor:
    """At least float32."""
    return x if x.dtype == torch.float64 else x.float()


def loss_terms(
    prediction: Prediction, targets: Targets, observation: Observation, config: PolicyConfig
) -> dict[str, Float[Tensor, ""]]:
    """All terms that prediction and configuration allow, unweighted.

    Names and units: `depth` (normalised depth)^2; `future_rgb` (ImageNet- or patch-normalised colour)^2, views
    summed; `future_depth` (normalised depth)^2, views summed; `flow` and `flow_velocity` smooth L1 in flow scales;
    `flow_visibility` nats; `action_arm` smooth L1 in action units; `action_gripper` nats; `action_kl` nats.
    `progress` square error of a share. With `depth_form` = l1, silog or ssi the depth terms are absolute, squared
    logarithmic or aligned squared errors; with `flow_form` = mse or l1 the flow's are square or absolute.
    """
    with torch.autocast(observation.rgb.device.type, enabled=False):
        terms: dict[str, Tensor] = {}
        if prediction.depth is not None:
            per_view = _depth(prediction.depth, targets.depth, targets.depth_valid, targets.depth_trust, config)
            # A view without any true depth has no say: averaging its zero would halve the weight of the other's.
            terms["depth"] = masked_mean(per_view, targets.depth_valid.flatten(3).any(3).flatten(0, 1).any(0))
        if prediction.future_rgb is not None:
            terms["future_rgb"] = _future_rgb(prediction.future_rgb, targets, observation, config)
        if prediction.future_depth is not None:
            true, valid = targets.future_depth, targets.future_depth_valid
            per_view = _depth(prediction.future_depth, true, valid, targets.depth_trust, config)
            terms["future_depth"] = per_view.sum()
        if prediction.flow_delta is not None and prediction.flow_visible_logit is not None:
            terms |= _flow(prediction.flow_delta, prediction.flow_visible_logit, targets, config)
        if prediction.action is not None:
            terms |= _action(prediction, prediction.action, targets, observation)
        if prediction.progress is not None and targets.progress is not None:
            error = (prediction.progress - targets.progress).square()
            terms["progress"] = masked_mean(error, observation.frame_mask)
        return terms


def total_loss(terms: dict[str, Tensor], weights: LossWeights, *, with_action: bool) -> Float[Tensor, ""]:
    """L = action + beta depth + gamma future + delta flow; phase 1 leaves the action out (`with_action` false)."""
    each = {
        "action_arm": weights.action,
        "action_gripper": weights.action * weights.gripper,
        "action_kl": weights.action * weights.kl,
        "depth": weights.depth,
        "future_rgb": weights.future,
        "future_depth": weights.future * weights.future_depth,
        "flow": weights.flow,
        "flow_velocity": weights.flow * weights.flow_velocity,
        "flow_visibility": weights.flow * weights.flow_visibility,
        "progress": weights.progress,
    }
    used = [name for name in terms if with_action or name not in ACTION_TERMS]
    return torch.stack([each[name] * terms[name] for name in used]).sum()


def _depth(
    predicted: Float[Tensor, "b a v h w"],
    true: Float[Tensor, "b a v h w"],
    valid: Bool[Tensor, "b a v h w"],
    trust: Float[Tensor, " b"] | None,
    config: PolicyConfig,
) -> Float[Tensor, " v"]:
    """Error of depth by view, in deviations of the training data (`silog`: in squared logarithms), times `trust`."""
    form = config.loss.depth_form
    if form in ("mse", "l1"):
        error = (predicted - true) / predicted.new_tensor(config.stats.depth_std)[:, None, None]
        error, weight = error.square() if form == "mse" else error.abs(), valid
    else:
        images = (predicted.flatten(3), true.flatten(3), valid.flatten(3))
        error = (
            _silog(*images) if form == "silog" else _ssi(*images) / predicted.new_tensor(config.stats.depth_std) ** 2
        )
        weight = valid.flatten(3).any(-1)
    error = _trusted(error, trust)
    return torch.stack([masked_mean(error[:, :, view], weight[:, :, view]) for view in range(error.shape[2])])


def _trusted(error: Float[Tensor, "b ..."], trust: Float[Tensor, " b"] | None) -> Float[Tensor, "b ..."]:
    """Errors of every window times what its truth counts; the mean over them is still over all of them."""
    return error if trust is None else error * trust.view(-1, *[1] * (error.ndim - 1))


def _image_mean(values: Float[Tensor, "*n m"], valid: Bool[Tensor, "*n m"]) -> Float[Tensor, "*n 1"]:
    """Mean over the valid pixels of every image; 0 where there are none."""
    return torch.where(valid, values, 0.0).sum(-1, keepdim=True) / valid.sum(-1, keepdim=True).clamp(min=1)


def _silog(
    predicted: Float[Tensor, "*n m"], true: Float[Tensor, "*n m"], valid: Bool[Tensor, "*n m"]
) -> Float[Tensor, "*n"]:
    """Scale-invariant logarithmic error of every image: mean g^2 - lambda (mean g)^2 (Eigen et al. 2014)."""
    gap = predicted.clamp(min=_LEAST_DEPTH).log() - true.clamp(min=_LEAST_DEPTH).log()
    return (_image_mean(gap.square(), valid) - SILOG_LAMBDA * _image_mean(gap, valid).square())[..., 0]


def _ssi(
    predicted: Float[Tensor, "*n m"], true: Float[Tensor, "*n m"], valid: Bool[Tensor, "*n m"]
) -> Float[Tensor, "*n"]:
    """Mean square error of every image after its best scale and shift (Ranftl et al. 2020, least squares), m^2."""
    p, d = predicted - _image_mean(predicted, valid), true - _image_mean(true, valid)
    scale = _image_mean(p * d, valid) / _image_mean(p.square(), valid).clamp(min=1e-9)
    return _image_mean((scale * p - d).square(), valid)[..., 0]


def _future_rgb(
    predicted: Float[Tensor, "b a v 3 h w"], targets: Targets, observation: Observation, config: PolicyConfig
) -> Float[Tensor, ""]:
    """Square error of the future image, views summed.

    With `norm_pix` the target's patches have zero mean and unit deviation, and the prediction, which was given the
    current patches' statistics to be shown, is stripped of them again.
    """
    predicted, true = normalise_rgb(predicted), prepare_rgb(targets.future_rgb)
    if config.norm_pix:
        size = config.future.patch_size
        mean, std = patch_statistics(prepare_rgb(observation.rgb[:, targets.frames]), size)
        predicted = (patchify(predicted, size) - mean) / std
        mean, std = patch_statistics(true, size)
        true = (patchify(true, size) - mean) / std
    error = (predicted - true).square().flatten(3).mean(-1)
    views = [masked_mean(error[:, :, view], targets.future_mask[:, :, view]) for view in range(error.shape[2])]
    return torch.stack(views).sum()


def _flow(
    delta: Float[Tensor, "b a p l 3"], visible_logit: Float[Tensor, "b a p l"], targets: Targets, config: PolicyConfig
) -> dict[str, Float[Tensor, ""]]:
    """Weighted error of the displacement; of its steps; cross-entropy of visibility where the truth is known.

    A tracker that loses a point does not say that it is hidden: such windows have no say in visibility.
    """
    dimensions = 3 if config.flow.predict_depth else 2
    scale = delta.new_tensor(config.flow_scale)
    predicted, true = (delta / scale)[..., :dimensions], (_true_flow(targets, config) / scale)[..., :dimensions]
    weight = targets.flow_weight
    known = weight > 0
    if targets.flow_trust is not None:
        known = known & (targets.flow_trust == 1)[:, None, None, None]
    error = _trusted(_flow_error(predicted, true, config.loss), targets.flow_trust)
    visibility = functional.binary_cross_entropy_with_logits(
        visible_logit, targets.flow_visible.to(visible_logit.dtype), reduction="none"
    )
    terms = {
        "flow": masked_mean(error, weight[..., None]),
        "flow_visibility": masked_mean(visibility, known),
    }
    if config.loss.flow_velocity > 0:
        velocity = _trusted(_flow_error(_steps(predicted), _steps(true), config.loss), targets.flow_trust)
        both = torch.cat([weight[..., :1], torch.minimum(weight[..., 1:], weight[..., :-1])], -1)
        terms["flow_velocity"] = masked_mean(velocity, both[..., None])
    return terms


def _true_flow(targets: Targets, config: PolicyConfig) -> Float[Tensor, "b a p l 3"]:
    """The true displacement in the coordinates that the policy predicts."""
    if config.flow.coordinates == "image":
        return targets.flow_delta
    if targets.flow_camera is None:
        raise ConfigError("Targets.flow_camera must be set: flow.coordinates = camera needs the intrinsics")
    return flow_in_camera(targets.flow_start, targets.flow_delta, targets.flow_camera)


def _flow_error(
    predicted: Float[Tensor, "b a p l c"], true: Float[Tensor, "b a p l c"], loss: LossWeights
) -> Float[Tensor, "b a p l c"]:
    match loss.flow_form:
        case "smooth_l1":
            return functional.smooth_l1_loss(predicted, true, beta=loss.flow_beta, reduction="none")
        case "mse":
            return (predicted - true).square()
        case "l1":
            return (predicted - true).abs()


def _steps(delta: Float[Tensor, "b a p l c"]) -> Float[Tensor, "b a p l c"]:
    """Displacement of every flow step from the one before; the first from the start."""
    return torch.diff(delta, dim=3, prepend=torch.zeros_like(delta[..., :1, :]))


def _action(
    prediction: Prediction, action: Float[Tensor, "b t k 7"], targets: Targets, observation: Observation
) -> dict[str, Float[Tensor, ""]]:
    """Arm, gripper and, where a posterior was drawn, KL over the frames that have a true action."""
    arm = functional.smooth_l1_loss(action[..., :6], targets.action[..., :6], reduction="none")
    gripper = functional.binary_cross_entropy_with_logits(action[..., 6], targets.action[..., 6], reduction="none")
    terms = {
        "action_arm": masked_mean(arm, targets.action_mask[..., None]),
        "action_gripper": masked_mean(gripper, targets.action_mask),
    }
    if prediction.latent_mean is not None and prediction.latent_logvar is not None:
        kl = kl_to_standard_normal(prediction.latent_mean, prediction.latent_logvar)
        terms["action_kl"] = masked_mean(kl, observation.frame_mask & targets.action_mask.any(-1))
    return terms

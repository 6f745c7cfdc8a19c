"""Losses against numbers worked out by hand, their masks, their gradients, and one batch learnt by heart."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from model.batch import Observation, Prediction, Targets
from model.config import LossWeights, PolicyConfig, preset
from model.losses import kl_to_standard_normal, loss_terms, masked_mean, total_loss
from model.policy import Policy
from tests.policy_factories import composite_tiny, make_observation, make_targets, small

ALL_TERMS = {
    "depth", "future_rgb", "future_depth", "flow", "flow_visibility", "action_arm", "action_gripper", "action_kl"
}  # fmt: skip


def _perfect(targets: Targets) -> Prediction:
    """What a policy that knows the truth would say."""
    return Prediction(
        depth=targets.depth.clone(),
        future_rgb=targets.future_rgb / 255,
        future_depth=targets.future_depth.clone(),
        flow_delta=targets.flow_delta.clone(),
        flow_visible_logit=torch.where(targets.flow_visible, 50.0, -50.0),
        action=torch.cat([targets.action[..., :6], torch.where(targets.action[..., 6:] > 0.5, 50.0, -50.0)], -1),
        latent_mean=torch.zeros(2, 3, 4),
        latent_logvar=torch.zeros(2, 3, 4),
    )


def _case(config: PolicyConfig | None = None) -> tuple[PolicyConfig, Observation, Targets, Prediction]:
    config = config or preset("tiny")
    targets = make_targets(config)
    return config, make_observation(config), targets, _perfect(targets)


@pytest.mark.parametrize("norm_pix", [False, True])
def test_truth_costs_nothing(norm_pix: bool) -> None:
    config, observation, targets, perfect = _case(replace(preset("tiny"), norm_pix=norm_pix))
    if norm_pix:  # the truth in the statistics of the current patches
        targets = replace(targets, future_rgb=observation.rgb[:, targets.frames])
        perfect = replace(perfect, future_rgb=targets.future_rgb / 255)
    terms = loss_terms(perfect, targets, observation, config)
    assert set(terms) == ALL_TERMS
    for name, value in terms.items():
        assert value.item() == pytest.approx(0, abs=1e-6), name


def test_depth_is_in_deviations() -> None:
    """20 cm beyond, deviations 0.4 m and 0.3 m: mean over views of (0.2 / s)^2."""
    config, observation, targets, perfect = _case()
    assert perfect.depth is not None
    wrong = replace(perfect, depth=perfect.depth + 0.2)
    expected = (0.25 + (0.2 / 0.3) ** 2) / 2
    assert loss_terms(wrong, targets, observation, config)["depth"].item() == pytest.approx(expected, rel=1e-4)
    absolute = replace(config, loss=LossWeights(depth_form="l1"))
    assert loss_terms(wrong, targets, observation, absolute)["depth"].item() == pytest.approx(
        (0.5 + 0.2 / 0.3) / 2, rel=1e-4
    )


def test_future_views_are_summed() -> None:
    config, observation, targets, perfect = _case()
    assert perfect.future_rgb is not None
    assert perfect.future_depth is not None
    wrong = replace(perfect, future_rgb=perfect.future_rgb + 0.1, future_depth=perfect.future_depth + 0.2)
    terms = loss_terms(wrong, targets, observation, config)
    per_view = sum((0.1 / s) ** 2 for s in (0.229, 0.224, 0.225)) / 3
    assert terms["future_rgb"].item() == pytest.approx(2 * per_view, rel=1e-4)
    assert terms["future_depth"].item() == pytest.approx(0.25 + (0.2 / 0.3) ** 2, rel=1e-4)


def test_flow_is_smooth_l1_in_flow_scales() -> None:
    """Off by one unit in x of three axes: (1 - beta / 2) / 3, weighted by visibility."""
    config, observation, targets, perfect = _case(replace(preset("tiny"), loss=LossWeights(flow_velocity=0.1)))
    assert perfect.flow_delta is not None
    delta = perfect.flow_delta.clone()
    delta[..., 0] += config.stats.flow_scale_xy
    terms = loss_terms(replace(perfect, flow_delta=delta), targets, observation, config)
    assert terms["flow"].item() == pytest.approx(0.95 / 3, rel=1e-3)
    assert terms["flow_velocity"].item() == pytest.approx(0.95 / 3 / 3, rel=1e-3)  # only the first step is off
    weight = targets.flow_weight.clone()
    weight[:, :, :10] = 0.1
    delta = perfect.flow_delta.clone()
    delta[:, :, :10, :, 0] += config.stats.flow_scale_xy
    occluded = loss_terms(replace(perfect, flow_delta=delta), replace(targets, flow_weight=weight), observation, config)
    assert occluded["flow"].item() == pytest.approx(0.95 / 3 * 0.1 / 1.1, rel=1e-3)


def test_lateral_flow_has_no_depth_in_its_loss() -> None:
    tiny = preset("tiny")
    config, observation, targets, perfect = _case(replace(tiny, flow=replace(tiny.flow, predict_depth=False)))
    assert perfect.flow_delta is not None
    flat = perfect.flow_delta * torch.tensor([1.0, 1.0, 0.0])
    assert loss_terms(replace(perfect, flow_delta=flat), targets, observation, config)["flow"].item() == 0


def test_action_terms() -> None:
    config, observation, targets, perfect = _case()
    assert perfect.action is not None
    wrong = replace(
        perfect,
        action=torch.cat([perfect.action[..., :6] + 2.0, torch.zeros_like(perfect.action[..., 6:])], -1),
        latent_mean=torch.ones(2, 3, 4),
    )
    terms = loss_terms(wrong, targets, observation, config)
    assert terms["action_arm"].item() == pytest.approx(1.5, rel=1e-4)
    assert terms["action_gripper"].item() == pytest.approx(math.log(2), rel=1e-4)
    assert terms["action_kl"].item() == pytest.approx(2.0, rel=1e-4)


def test_kl_of_a_narrow_posterior() -> None:
    mean, logvar = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, -2.0]])
    expected = 0.5 * (1 + math.exp(-2) + 2 - 1)
    assert kl_to_standard_normal(mean, logvar).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("name", sorted(ALL_TERMS))
def test_masked_entries_cost_nothing_even_as_nan(name: str) -> None:
    config, observation, targets, perfect = _case()
    off = {
        "depth_valid": torch.zeros_like(targets.depth_valid),
        "future_depth_valid": torch.zeros_like(targets.future_depth_valid),
        "future_mask": torch.zeros_like(targets.future_mask),
        "flow_weight": torch.zeros_like(targets.flow_weight),
        "action_mask": torch.zeros_like(targets.action_mask),
    }
    poisoned = Prediction(
        **{key: None if value is None else torch.full_like(value, torch.nan) for key, value in vars(perfect).items()}
    )
    terms = loss_terms(poisoned, replace(targets, **off), observation, config)
    assert terms[name].item() == 0


def test_masked_mean_counts_weight() -> None:
    values = torch.tensor([[1.0, 3.0], [torch.nan, 5.0]])
    weight = torch.tensor([[1.0, 0.5], [0.0, 1.0]])
    assert masked_mean(values, weight).item() == pytest.approx((1 + 1.5 + 5) / 2.5)
    assert masked_mean(torch.ones(4, 2), torch.tensor([[True], [False], [True], [True]])).item() == 1
    assert masked_mean(torch.ones(4), torch.zeros(4)).item() == 0


def test_total_is_the_papers_sum() -> None:
    terms = {name: torch.tensor(1.0) for name in ALL_TERMS | {"flow_velocity"}}
    weights = LossWeights(flow_velocity=0.1)
    foresight = 0.05 + 0.1 * (1 + 1) + 0.1 * (1 + 0.05 + 0.1)
    assert total_loss(terms, weights, with_action=False).item() == pytest.approx(foresight, rel=1e-6)
    assert total_loss(terms, weights, with_action=True).item() == pytest.approx(foresight + 1 + 0.01 + 1, rel=1e-6)


def test_missing_decoders_have_no_terms() -> None:
    config, observation, targets, perfect = _case()
    only = Prediction(depth=perfect.depth)
    assert set(loss_terms(only, targets, observation, config)) == {"depth"}


def test_gradients_are_right() -> None:
    rng = torch.Generator().manual_seed(0)
    x, y = (torch.randn(3, 4, generator=rng, dtype=torch.float64, requires_grad=True) for _ in range(2))
    torch.autograd.gradcheck(kl_to_standard_normal, (x, y))
    weight = torch.rand(3, 1, generator=rng, dtype=torch.float64)
    torch.autograd.gradcheck(lambda v: masked_mean(v.square(), weight), (x,))


@pytest.mark.parametrize(("name", "steps"), [("tiny", 80), ("composite", 160)])
def test_one_batch_is_learnt_by_heart(name: str, steps: int) -> None:
    """Every term falls by 90 % of its first value."""
    torch.manual_seed(0)
    config = preset("tiny") if name == "tiny" else composite_tiny()
    config = replace(
        config, loss=LossWeights(depth=1.0, future=1.0, flow=1.0, gripper=1.0, kl=0.1, flow_visibility=1.0)
    )
    policy, observation = Policy(config), make_observation(config, batch=1)
    targets = _smooth(make_targets(config, batch=1, frames=(2,), points=8))
    optimizer = torch.optim.Adam(policy.parameters())
    first: dict[str, float] = {}
    terms: dict[str, torch.Tensor] = {}
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1.0, 2 * (steps - step) / steps)
        out = policy(observation, frames=targets.frames, flow_start=targets.flow_start, action=targets.action)
        terms = loss_terms(out, targets, observation, config)
        first = first or {key: value.item() for key, value in terms.items()}
        optimizer.zero_grad()
        total_loss(terms, config.loss, with_action=True).backward()
        optimizer.step()
    left = {key: terms[key].item() / first[key] for key in terms if key != "action_kl"}
    assert max(left.values()) < 0.1, left
    assert terms["action_kl"].item() < 1.0


def _smooth(targets: Targets) -> Targets:
    """Truth that a tiny decoder can paint: ramps instead of noise."""
    ramp = torch.linspace(0, 1, targets.depth.shape[-1])
    shift = torch.rand(*targets.depth.shape[:3], 1, 1, generator=torch.Generator().manual_seed(0))
    depth = 0.3 + ramp + shift
    rgb = (200 * (ramp[:, None] + ramp).clamp(max=1) * shift).to(torch.uint8)
    return replace(
        targets,
        depth=depth.expand_as(targets.depth),
        future_depth=(1.7 - depth + shift).expand_as(targets.depth),
        future_rgb=rgb[:, :, :, None].expand_as(targets.future_rgb),
    )


def test_a_view_without_depth_does_not_halve_the_others_weight() -> None:
    config, observation, targets, perfect = _case()
    assert perfect.depth is not None
    valid = targets.depth_valid.clone()
    valid[:, :, 1] = False
    wrong, bare = replace(perfect, depth=perfect.depth + 0.2), replace(targets, depth_valid=valid)
    assert loss_terms(wrong, bare, observation, config)["depth"].item() == pytest.approx(0.25, rel=1e-4)
    nothing = replace(targets, depth_valid=torch.zeros_like(valid))
    assert loss_terms(wrong, nothing, observation, config)["depth"].item() == 0


def _with_loss(**changes: object) -> PolicyConfig:
    return replace(preset("tiny"), loss=replace(LossWeights(), **changes))


def test_silog_forgives_half_of_a_common_factor() -> None:
    """Everything e times too far: g = 1, so 1 - 0.5."""
    config, observation, targets, perfect = _case(_with_loss(depth_form="silog"))
    assert perfect.depth is not None
    wrong = replace(perfect, depth=math.e * perfect.depth)
    assert loss_terms(wrong, targets, observation, config)["depth"].item() == pytest.approx(0.5, rel=1e-4)
    assert loss_terms(perfect, targets, observation, config)["depth"].item() == pytest.approx(0, abs=1e-6)
    behind = replace(perfect, depth=-perfect.depth)
    assert loss_terms(behind, targets, observation, config)["depth"].isfinite()


def test_ssi_forgives_scale_and_shift_of_every_image() -> None:
    config, observation, targets, perfect = _case(_with_loss(depth_form="ssi"))
    assert perfect.depth is not None
    scale = torch.rand(2, 2, 2, 1, 1) + 0.5
    moved = replace(perfect, depth=scale * perfect.depth + 3 * scale)
    assert loss_terms(moved, targets, observation, config)["depth"].item() == pytest.approx(0, abs=1e-6)
    flat = replace(perfect, depth=torch.ones_like(perfect.depth))
    spread = (targets.depth.flatten(3).var(-1, correction=0) / torch.tensor(config.stats.depth_std) ** 2).mean()
    assert loss_terms(flat, targets, observation, config)["depth"].item() == pytest.approx(spread.item(), rel=1e-3)


def test_ssi_looks_at_valid_pixels_only() -> None:
    config, observation, targets, perfect = _case(_with_loss(depth_form="ssi"))
    assert perfect.depth is not None
    valid = torch.rand(perfect.depth.shape, generator=torch.Generator().manual_seed(0)) > 0.5
    spoilt = replace(perfect, depth=torch.where(valid, 2 * perfect.depth - 1, 100.0))
    holes = replace(targets, depth_valid=valid)
    assert loss_terms(spoilt, holes, observation, config)["depth"].item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("form", "expected"), [("mse", 4.0), ("l1", 2.0), ("smooth_l1", 1.95)])
def test_flow_error_has_the_form_that_is_configured(form: str, expected: float) -> None:
    """Two scales too far in every coordinate."""
    config, observation, targets, perfect = _case(_with_loss(flow_form=form))
    assert perfect.flow_delta is not None
    stats = config.stats
    scale = torch.tensor([stats.flow_scale_xy, stats.flow_scale_xy, stats.flow_scale_depth])
    wrong = replace(perfect, flow_delta=perfect.flow_delta + 2 * scale)
    assert loss_terms(wrong, targets, observation, config)["flow"].item() == pytest.approx(expected, rel=1e-4)


def test_progress_counts_real_frames_only() -> None:
    config = small("gr_mg")
    observation, targets = make_observation(config), make_targets(config)
    assert targets.progress is not None
    mask = observation.frame_mask.clone()
    mask[1, 1:] = False
    observation = replace(observation, frame_mask=mask)
    guess = torch.where(mask, targets.progress + 0.1, 5.0)
    terms = loss_terms(Prediction(progress=guess), targets, observation, config)
    assert terms["progress"].item() == pytest.approx(0.01, rel=1e-3)
    assert total_loss(terms, replace(config.loss, progress=3.0), with_action=True).item() == pytest.approx(
        0.03, rel=1e-3
    )

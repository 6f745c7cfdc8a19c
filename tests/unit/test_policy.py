"""The whole policy: one forward pass, its reductions, and what must not change its numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch

from model.attention import Capture
from model.batch import Observation, Prediction
from model.config import PolicyConfig, TokenConfig, preset
from model.policy import Policy
from tests.policy_factories import composite_tiny, make_observation, make_policy, make_targets, row

CONFIGS: dict[str, Callable[[], PolicyConfig]] = {"tiny": lambda: preset("tiny"), "composite": composite_tiny}
FRAMES = torch.tensor([0, 2])


@pytest.fixture(scope="module", params=list(CONFIGS))
def policy(request: pytest.FixtureRequest) -> Policy:
    return make_policy(CONFIGS[request.param]())


def _forward(policy: Policy, observation: Observation, capture: Capture | None = None) -> Prediction:
    start = make_targets(policy.config, batch=3).flow_start[: len(observation.text)]
    with torch.no_grad():
        return policy(observation, frames=FRAMES, flow_start=start, capture=capture)


def _assert_same(one: Prediction, other: Prediction, *, atol: float = 2e-5) -> None:
    for item in fields(Prediction):
        a, b = getattr(one, item.name), getattr(other, item.name)
        if item.name == "attention" or a is None:
            continue
        assert torch.allclose(a, b, atol=atol), (item.name, (a - b).abs().max())


def test_shapes_and_dtypes(policy: Policy) -> None:
    out = _forward(policy, make_observation(policy.config))
    shapes = {item.name: getattr(out, item.name) for item in fields(Prediction)}
    assert {name: tuple(value.shape) for name, value in shapes.items() if value is not None} == {
        "depth": (2, 2, 2, 32, 32),
        "future_rgb": (2, 2, 2, 3, 32, 32),
        "future_depth": (2, 2, 2, 32, 32),
        "flow_delta": (2, 2, 20, 3, 3),
        "flow_visible_logit": (2, 2, 20, 3),
        "action": (2, 3, 3, 7),
    }
    assert all(value.dtype == torch.float32 for value in shapes.values() if isinstance(value, torch.Tensor))


def test_act_is_the_newest_chunk_of_the_full_pass(policy: Policy) -> None:
    observation = make_observation(policy.config)
    chunk = _forward(policy, observation).action
    assert chunk is not None
    action = policy.act(observation)
    assert torch.allclose(action[..., :6], chunk[:, -1, :, :6], atol=1e-5)
    assert torch.allclose(action[..., 6], chunk[:, -1, :, 6].sigmoid(), atol=1e-5)


def test_act_with_windows_of_different_length(policy: Policy) -> None:
    """Dropping queries changes nothing, whatever the padding of each row."""
    observation = _padded(make_observation(policy.config, batch=3), [1, 3, 2])
    chunk = _forward(policy, observation).action
    action = policy.act(observation)
    assert chunk is not None
    for index, length in enumerate([1, 3, 2]):
        assert torch.allclose(action[index, :, :6], chunk[index, length - 1, :, :6], atol=1e-5)


def test_act_enters_only_what_the_action_sees(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """231 of 530 tokens in the paper's sizes: all inputs, and FLOW and ACT of the newest frame."""
    seen: list[int] = []
    forward = policy.trunk.forward

    def spy(x: torch.Tensor, *args: object, **kwargs: object) -> object:
        seen.append(x.shape[1])
        return forward(x, *args, **kwargs)  # pyright: ignore[reportArgumentType, reportCallIssue]

    monkeypatch.setattr(policy.trunk, "forward", spy)
    policy.act(make_observation(policy.config))
    assert seen == [3 * 12 + 4 + 1]


def _padded(observation: Observation, lengths: list[int]) -> Observation:
    mask = torch.arange(observation.rgb.shape[1]) < torch.tensor(lengths)[:, None]
    real = mask[..., None, None, None, None]
    return replace(observation, frame_mask=mask, rgb=observation.rgb * real.to(torch.uint8))


def test_padded_frames_do_not_matter(policy: Policy) -> None:
    observation = _padded(make_observation(policy.config), [2, 2])
    other = make_observation(policy.config, seed=5)
    garbage = replace(
        observation,
        rgb=torch.cat([observation.rgb[:, :2], other.rgb[:, 2:]], 1),
        state_arm=torch.cat([observation.state_arm[:, :2], other.state_arm[:, 2:]], 1),
    )
    clean, dirty = _forward(policy, observation), _forward(policy, garbage)
    for item in fields(Prediction):
        a, b = getattr(clean, item.name), getattr(dirty, item.name)
        if a is not None:
            valid = slice(0, 2) if item.name == "action" else slice(0, 1)
            assert torch.equal(a[:, valid], b[:, valid]), item.name
            assert torch.isfinite(a).all(), item.name


def test_absent_wrist_camera_does_not_matter(policy: Policy) -> None:
    observation = make_observation(policy.config)
    without = replace(observation, view_mask=torch.tensor([[True, False]] * 2))
    rgb = observation.rgb.clone()
    rgb[:, :, 1] = 0
    one, other = _forward(policy, without), _forward(policy, replace(without, rgb=rgb))
    assert one.action is not None
    assert other.action is not None
    assert torch.equal(one.action, other.action)
    full = _forward(policy, observation)
    assert full.action is not None
    assert not torch.allclose(one.action, full.action, atol=1e-6)


def test_capture_changes_no_number(policy: Policy) -> None:
    observation = make_observation(policy.config)
    captured = _forward(policy, observation, Capture())
    _assert_same(_forward(policy, observation), captured)
    assert captured.attention


def test_rows_of_a_batch_are_independent(policy: Policy) -> None:
    observation = make_observation(policy.config, batch=3)
    together = _forward(policy, observation)
    alone = _forward(policy, row(observation, 0))
    _assert_same(alone, Prediction(**{f.name: _first(getattr(together, f.name)) for f in fields(Prediction)}))


def _first(value: torch.Tensor | None) -> torch.Tensor | None:
    return None if value is None else value[:1]


@pytest.mark.parametrize("decoders", [{"depth"}, {"future"}, {"flow"}, {"action"}, {"depth", "action"}])
def test_asking_for_less_changes_no_number(policy: Policy, decoders: set[str]) -> None:
    observation = make_observation(policy.config)
    start = make_targets(policy.config).flow_start
    with torch.no_grad():
        some = policy(observation, frames=FRAMES, flow_start=start, decoders=frozenset(decoders))
        every = policy(observation, frames=FRAMES, flow_start=start)
    _assert_same(some, every)
    given = {name for name, value in vars(some).items() if value is not None}
    names = {"future": {"future_rgb", "future_depth"}, "flow": {"flow_delta", "flow_visible_logit"}}
    assert given == set().union(*(names.get(name, {name}) for name in decoders))


def test_a_frame_is_decoded_alike_alone_and_among_others(policy: Policy) -> None:
    observation, start = make_observation(policy.config), make_targets(policy.config).flow_start
    with torch.no_grad():
        both = policy(observation, frames=FRAMES, flow_start=start)
        one = policy(observation, frames=torch.tensor([2]), flow_start=start[:, 1:])
    for name in ("depth", "future_rgb", "future_depth", "flow_delta"):
        assert torch.allclose(getattr(both, name)[:, 1:], getattr(one, name), atol=2e-5), name


VARIANTS: dict[str, Callable[[PolicyConfig], PolicyConfig]] = {
    "future_query": lambda c: replace(c, depth_source="future_query"),
    "depth_query": lambda c: replace(c, depth_source="depth_query"),
    "norm_pix": lambda c: replace(c, norm_pix=True),
    "act_sees_future": lambda c: replace(c, tokens=replace(c.tokens, act_sees_future=True)),
    "token_causal": lambda c: replace(
        c, tokens=TokenConfig(flow=2, future=3, input_causality="token", query_group_attn="none")
    ),
    "two_dimensional": lambda c: replace(
        c, foresight=("future", "flow"), future_depth=False, flow=replace(c.flow, predict_depth=False)
    ),
    "full_flow": lambda c: replace(c, flow=replace(c.flow, attention="full", start_depth=True)),
    "only_depth": lambda c: replace(c, foresight=("depth",)),
    "only_action": lambda c: replace(c, foresight=()),
    "one_view": lambda c: replace(c, views=("static",), stats=replace(c.stats, depth_mean=(1.0,), depth_std=(1.0,))),
    "wrist_flow": lambda c: replace(c, flow_view="wrist"),
    "flow_of_both": lambda c: replace(c, flow_view="both"),
    "full_flow_of_both": lambda c: replace(c, flow_view="both", flow=replace(c.flow, attention="full")),
    "flow_in_metres": lambda c: replace(c, flow=replace(c.flow, coordinates="camera")),
    "future_depth_queries": lambda c: replace(c, future_depth_trunk="own_queries"),
    "coarse_depth": lambda c: replace(c, depth=replace(c.depth, output_stride=4)),
}


@pytest.mark.parametrize("name", list(VARIANTS))
def test_every_choice_runs_and_acts_as_in_the_full_pass(name: str) -> None:
    config = VARIANTS[name](preset("tiny"))
    policy, observation = make_policy(config), make_observation(config)
    start = torch.rand(2, 2, 6, 3)
    with torch.no_grad():
        out = policy(observation, frames=FRAMES, flow_start=start)
    assert (out.depth is not None) == ("depth" in config.foresight)
    assert (out.future_rgb is not None) == ("future" in config.foresight)
    assert (out.flow_delta is not None) == ("flow" in config.foresight)
    assert (out.future_depth is not None) == ("future" in config.foresight and config.future_depth)
    assert torch.allclose(policy.act(observation)[..., :6], out.action[:, -1, :, :6], atol=1e-5)
    captured = policy(observation, frames=FRAMES, flow_start=start, capture=Capture())
    _assert_same(out, captured)


def test_training_draws_a_latent_from_the_true_chunk(policy: Policy) -> None:
    observation, targets = make_observation(policy.config), make_targets(policy.config)
    torch.manual_seed(0)
    out = policy(observation, frames=FRAMES, action=targets.action, decoders=frozenset({"action"}))
    again = policy(observation, frames=FRAMES, action=targets.action, decoders=frozenset({"action"}))
    assert out.latent_mean is not None
    assert out.latent_mean.shape == (2, 3, policy.config.action.latent)
    assert torch.equal(out.latent_mean, again.latent_mean)
    assert not torch.equal(out.action, again.action)


def test_autocast_gives_float32_predictions_close_to_full_precision(policy: Policy) -> None:
    observation = make_observation(policy.config)
    full = _forward(policy, observation)
    with torch.autocast("cpu", torch.bfloat16):
        half = _forward(policy, observation)
    for item in fields(Prediction):
        a, b = getattr(full, item.name), getattr(half, item.name)
        if a is not None:
            assert b.dtype == torch.float32, item.name
            assert (a - b).abs().max() < 0.03 * a.abs().max(), item.name  # twice the worst of 6 weights


def test_compact_fits_its_budget() -> None:
    policy = Policy(preset("compact"))
    bytes_fp32 = 4 * sum(value.numel() for value in policy.state_dict().values())
    assert bytes_fp32 < 15 * 2**20
    assert policy.layout.length == 175


def test_language_reaches_the_action(policy: Policy) -> None:
    observation = make_observation(policy.config, batch=1)
    left, right = (
        policy.act(replace(observation, text=policy.tokenize([f"push the block {side}"]))) for side in ("left", "right")
    )
    assert not torch.allclose(left, right, atol=1e-7)

"""Attention: what the mask forbids has no influence, what is captured is what was used."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from model.attention import Attention, Capture, attention_mask, attention_probabilities, check_captures, visible_keys
from model.config import preset
from model.errors import CaptureError
from model.policy import Policy
from model.tokens import token_layout
from tests.policy_factories import make_observation, make_policy


@pytest.fixture(scope="module")
def policy() -> Policy:
    return make_policy(preset("tiny"))


@pytest.fixture(scope="module")
def tokens(policy: Policy) -> Tensor:
    return torch.randn(2, policy.layout.length, policy.config.trunk.width, generator=torch.Generator().manual_seed(1))


def _noised(tokens: Tensor, positions: Tensor) -> Tensor:
    noisy = tokens.clone()
    noisy[:, positions] += torch.randn(noisy[:, positions].shape, generator=torch.Generator().manual_seed(2))
    return noisy


def _run(policy: Policy, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        return policy.trunk(tokens, (policy.mask if mask is None else mask)[None, None])[0]


@pytest.mark.parametrize("group", ["FUT_S", "FUT_W"])
def test_future_queries_never_reach_the_action(policy: Policy, tokens: Tensor, group: str) -> None:
    act = policy.layout.indices("ACT")
    noisy = _noised(tokens, policy.layout.indices(group))
    assert torch.equal(_run(policy, tokens)[:, act], _run(policy, noisy)[:, act])


@pytest.mark.parametrize("group", ["FLOW", "ACT"])
def test_queries_of_other_frames_never_reach_the_action(policy: Policy, tokens: Tensor, group: str) -> None:
    act = policy.layout.indices("ACT", [1])
    noisy = _noised(tokens, policy.layout.indices(group, [0, 2]))
    assert torch.equal(_run(policy, tokens)[:, act], _run(policy, noisy)[:, act])


def test_flow_of_the_same_frame_reaches_action_and_future(policy: Policy, tokens: Tensor) -> None:
    clean, noisy = _run(policy, tokens), _run(policy, _noised(tokens, policy.layout.indices("FLOW", [1])))
    for group in ("ACT", "FUT_S", "FUT_W"):
        rows = policy.layout.indices(group, [1])
        assert not torch.allclose(clean[:, rows], noisy[:, rows], atol=1e-4)


def test_nothing_comes_from_later_frames(policy: Policy, tokens: Tensor) -> None:
    later = (policy.layout.frames == 2).nonzero()[:, 0]
    rest = (policy.layout.frames < 2).nonzero()[:, 0]
    assert torch.equal(_run(policy, tokens)[:, rest], _run(policy, _noised(tokens, later))[:, rest])


def test_inputs_are_not_touched_by_queries(policy: Policy, tokens: Tensor) -> None:
    inputs = policy.layout.inputs()
    queries = torch.tensor([i for i in range(policy.layout.length) if i not in set(inputs.tolist())])
    assert torch.equal(_run(policy, tokens)[:, inputs], _run(policy, _noised(tokens, queries))[:, inputs])


def test_gradient_is_zero_exactly_where_the_closure_forbids(policy: Policy) -> None:
    """d(output q) / d(input k) in float64 over both layers, for one query row of every group of the last frame."""
    layout, trunk = policy.layout, make_policy(preset("tiny")).trunk.double()
    reach = policy.mask | torch.eye(layout.length, dtype=torch.bool)
    reach = (reach.double() @ reach.double()) > 0
    x = torch.randn(1, layout.length, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    x.requires_grad_()
    out = trunk(x, policy.mask[None, None])[0]
    for group in layout.groups:
        q = int(layout.indices(group.name, [1])[0])
        # A LayerNorm's outputs sum to a constant: a random direction sees what a plain sum would not.
        direction = torch.randn(64, dtype=torch.float64, generator=torch.Generator().manual_seed(q))
        (gradient,) = torch.autograd.grad(out[0, q] @ direction, x, retain_graph=True)
        moved = gradient[0].abs().amax(1)
        assert (moved[~reach[q]] == 0).all(), group.name
        assert (moved[reach[q]] > 0).all(), group.name


def test_a_wrong_mask_is_noticed(policy: Policy, tokens: Tensor) -> None:
    """The perturbation test has teeth: inputs that may look at ACT change, a finite -100 bias does leak."""
    inputs, act = policy.layout.inputs(), policy.layout.indices("ACT")
    wrong = policy.mask.clone()
    wrong[inputs[:, None], act] = True
    clean, noisy = _run(policy, tokens, wrong), _run(policy, _noised(tokens, act), wrong)
    assert not torch.equal(clean[:, inputs], noisy[:, inputs])


def test_padded_frames_and_absent_views_are_hidden() -> None:
    config = preset("tiny")
    layout = token_layout(config)
    frames = torch.tensor([[True, True, False], [True, True, True]])
    views = torch.tensor([[True, True], [True, False]])
    keys = visible_keys(layout, config.views, frames, views)
    names = [group.name for group in layout.tokens]
    for n, name in enumerate(names):
        assert bool(keys[0, n]) == (int(layout.frames[n]) < 2)
        assert bool(keys[1, n]) == (name not in ("W_PATCH", "W_CLS", "FUT_W"))
    assert (attention_mask(layout, config.tokens) & keys[:, None]).any(2).all()


def test_probabilities_reproduce_the_fused_result() -> None:
    """The captured weights times the very V of the forward pass are the very result."""
    torch.manual_seed(0)
    attention = Attention(32, 4)
    x, mask = torch.randn(3, 10, 32), torch.rand(1, 1, 10, 10) > 0.4
    mask[..., 0] = True
    rows = torch.tensor([1, 7])
    result, probabilities = attention(x, mask=mask, rows=rows)
    assert probabilities is not None
    v = attention.key_value(x).chunk(2, -1)[1].unflatten(-1, (4, 8)).transpose(1, 2)
    again = attention.out((probabilities @ v).transpose(1, 2).flatten(2))
    assert torch.allclose(again, result[:, rows], atol=1e-6)
    assert torch.equal(probabilities > 0, mask[:, :, rows].expand_as(probabilities))
    plain, nothing = attention(x, mask=mask)
    assert nothing is None
    assert torch.equal(plain, result)


def test_probabilities_are_float32_from_the_very_half_precision_queries() -> None:
    q, k = (torch.randn(1, 1, 5, 4).bfloat16() for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16):
        probabilities = attention_probabilities(q, k, None)
    assert probabilities.dtype == torch.float32
    expected = (q.double() @ k.double().transpose(-1, -2) / math.sqrt(4)).softmax(-1)
    assert torch.allclose(probabilities.double(), expected, atol=1e-6)


def test_capture_keys_shapes_and_sums() -> None:
    config = preset("tiny")
    policy, observation = make_policy(config), make_observation(config)
    start = torch.rand(2, 2, 7, 3)
    with torch.no_grad():
        out = policy(observation, frames=torch.tensor([0, 2]), flow_start=start, capture=Capture(rows="FUT_S"))
    n = policy.layout.length
    assert out.attention is not None
    assert {name: tuple(item.shape) for name, item in out.attention.items()} == {
        "trunk.0": (2, 3, 4, 4, n),
        "trunk.1": (2, 3, 4, 4, n),
        "resampler.0": (2, 3, 2, 2, 4, 16 + 4),
        "flow.0": (2, 2, 2, 7, 4),
    }
    for item in out.attention.values():
        assert item.dtype == torch.float32
        assert torch.allclose(item.sum(-1), torch.ones(item.shape[:-1]), atol=1e-5)
    for t in range(3):
        allowed = policy.mask[policy.layout.indices("FUT_S", [t])]
        assert torch.equal(out.attention["trunk.1"][0, t, 0] > 0, allowed)


def test_capture_of_chosen_layers() -> None:
    config = preset("tiny")
    policy, observation = make_policy(config), make_observation(config)
    out = policy(observation, frames=torch.tensor([2]), decoders=frozenset({"action"}), capture=Capture(layers=(1,)))
    assert out.attention is not None
    assert "trunk.1" in out.attention
    assert "trunk.0" not in out.attention


def test_full_flow_attention_is_captured_over_tokens_and_points() -> None:
    config = preset("tiny")
    config = replace(config, flow=replace(config.flow, attention="full"))
    policy, observation = make_policy(config), make_observation(config)
    out = policy(observation, frames=torch.tensor([2]), flow_start=torch.rand(2, 1, 7, 3), capture=Capture())
    assert out.attention is not None
    assert out.attention["flow.0"].shape == (2, 1, 2, 7, 4 + 7)


def test_capture_of_several_groups_and_chosen_heads_is_a_part_of_the_whole() -> None:
    config = preset("tiny")
    policy, observation = make_policy(config), make_observation(config)

    def captured(capture: Capture) -> Tensor:
        with torch.no_grad():
            out = policy(
                observation, frames=torch.tensor([2]), decoders=frozenset({"action"}), capture=capture
            ).attention
        assert out is not None
        return out["trunk.1"]

    both, flow = captured(Capture(rows=("ACT", "FLOW"))), captured(Capture(rows="FLOW"))
    assert both.shape[3] == 5
    assert torch.equal(both[..., 1:, :], flow)
    assert torch.equal(captured(Capture(rows="FLOW", heads=(2, 0)))[:, :, 0], flow[:, :, 2])
    assert torch.equal(captured(Capture(rows="FLOW", heads=(2, 0)))[:, :, 1], flow[:, :, 0])


def test_checked_captures_pass_in_every_part_of_the_policy_and_change_nothing() -> None:
    config = preset("tiny")
    policy, observation = make_policy(config), make_observation(config)

    def run() -> Tensor:
        with torch.no_grad():
            out = policy(observation, frames=torch.tensor([2]), flow_start=torch.ones(2, 1, 7, 3), capture=Capture())
        assert out.action is not None
        return out.action

    plain = run()
    check_captures(policy)
    assert torch.equal(run(), plain)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_check_holds_in_every_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    attention = Attention(32, 4).to(dtype).eval()
    check_captures(attention)
    attention(4 * torch.randn(2, 60, 32, dtype=dtype), rows=slice(None), heads=(1, 3))


def test_a_capture_that_is_not_what_was_computed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mask that is lost on the way to the captured rows: the picture would be wrong, the action right."""
    attention, x = Attention(32, 4), torch.randn(1, 10, 32)
    mask = torch.ones(1, 1, 10, 10, dtype=torch.bool).tril()
    monkeypatch.setattr("model.attention.attention_probabilities", lambda q, k, _: attention_probabilities(q, k, None))
    attention(x, mask=mask, rows=slice(None))  # unchecked: nobody notices
    check_captures(attention)
    with pytest.raises(CaptureError, match="differs from the fused result"):
        attention(x, mask=mask, rows=slice(None))

"""However the policy is run, its numbers and its gradients are the same up to rounding."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.attention import Capture, use_attention
from model.batch import Observation, Prediction
from model.config import PolicyConfig, TokenConfig, preset
from model.policy import Policy
from tests.policy_factories import composite_tiny, make_observation, make_policy, row

ROOT = Path(__file__).parents[2]
FRAMES = torch.tensor([0, 2])
OUTPUTS = 2e-6
GRADIENTS = 2e-5
"""Largest difference allowed, relative to the largest entry."""
CONFIGS: dict[str, Callable[[], PolicyConfig]] = {
    "tiny": lambda: preset("tiny"),
    "composite": composite_tiny,
    "depth_query": lambda: replace(preset("tiny"), depth_source="depth_query"),
    "token_causal": lambda: replace(
        preset("tiny"), tokens=TokenConfig(flow=2, future=3, input_causality="token", query_group_attn="none")
    ),
}
Result = tuple[dict[str, Tensor], dict[str, Tensor]]


@pytest.fixture(scope="module", params=list(CONFIGS))
def policy(request: pytest.FixtureRequest) -> Policy:
    return make_policy(CONFIGS[request.param]())


def run(
    policy: Policy,
    observation: Observation,
    *,
    capture: Capture | None = None,
    frames: Tensor = FRAMES,
    first: int = 0,
    count: int | None = None,
) -> Result:
    """Outputs, and the gradients by parameter of a sum over all of them with fixed random weights.

    Args:
        policy: Is left with the gradients.
        observation: Whose row 0 is row `first` of a larger batch.
        capture: Attention to capture.
        frames: Decoded frames.
        first: Which start points belong to row 0.
        count: Judges only this many frames of what is predicted for every frame.
    """
    start = torch.rand(4, len(frames), 20, 3, generator=torch.Generator().manual_seed(1))
    start = start[first : first + len(observation.text)]
    policy.zero_grad()
    out = policy(observation, frames=frames, flow_start=start, capture=capture)
    found = {item.name: getattr(out, item.name) for item in fields(Prediction) if item.name != "attention"}
    found = {name: value[:, :count] for name, value in found.items() if value is not None}
    torch.stack([(value * _weights(value)).sum() for value in found.values()]).sum().backward()
    gradients = {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
    return {name: value.detach() for name, value in found.items()}, gradients


def _weights(value: Tensor) -> Tensor:
    """Alike for every row of a batch, so that gradients of rows add up."""
    return torch.randn(value.shape[1:], generator=torch.Generator().manual_seed(11))


def assert_same(one: Result, other: Result) -> None:
    for first, second, tolerance in zip(one, other, (OUTPUTS, GRADIENTS), strict=True):
        assert first.keys() == second.keys()
        for name, value in first.items():
            scale = value.abs().max().clamp(min=1e-3)
            assert (value - second[name]).abs().max() <= tolerance * scale, name


def test_capture(policy: Policy) -> None:
    observation = make_observation(policy.config)
    assert_same(run(policy, observation), run(policy, observation, capture=Capture(rows="ACT")))


def test_eager_attention(policy: Policy) -> None:
    observation = make_observation(policy.config)
    fused = run(policy, observation)
    use_attention(policy, "eager")
    eager = run(policy, observation)
    use_attention(policy, "sdpa")
    assert_same(fused, eager)


def test_checkpointing(policy: Policy) -> None:
    observation = make_observation(policy.config)
    plain = run(policy, observation)
    policy.trunk.checkpointing = True
    again = run(policy, observation)
    policy.trunk.checkpointing = False
    assert_same(plain, again)


def test_training_mode_without_dropout_is_evaluation_mode(policy: Policy) -> None:
    observation = make_observation(policy.config)
    evaluated = run(policy, observation)
    policy.train()
    trained = run(policy, observation)
    policy.eval()
    assert_same(evaluated, trained)


def test_rows_of_a_batch_add_up(policy: Policy) -> None:
    observation = make_observation(policy.config, batch=3)
    outputs, gradients = run(policy, observation)
    total: dict[str, Tensor] = {}
    for index in range(3):
        alone, single = run(policy, row(observation, index), first=index)
        for name, value in alone.items():
            assert torch.allclose(value, outputs[name][index : index + 1], atol=OUTPUTS * 10), name
        total = {name: total.get(name, torch.zeros(())) + value for name, value in single.items()}
    assert_same(({}, gradients), ({}, total))


@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_padded_window_is_a_shorter_one(name: str) -> None:
    """The same weights in a policy whose window has no third frame."""
    config = CONFIGS[name]()
    long, short = make_policy(config), make_policy(replace(config, window=replace(config.window, n_obs_steps=2)))
    weights = dict(long.state_dict())
    weights["embedding.time"] = weights["embedding.time"][:2]
    short.load_state_dict(weights)
    observation = make_observation(config)
    mask = torch.tensor([[True, True, False]] * 2)
    padded = replace(observation, frame_mask=mask, rgb=observation.rgb * mask[..., None, None, None, None])
    cut = replace(
        observation,
        **{part: getattr(observation, part)[:, :2] for part in ("rgb", "state_arm", "state_gripper", "frame_mask")},
    )
    frames = torch.tensor([0, 1])
    outputs, gradients = run(short, cut, frames=frames)
    found = run(long, padded, frames=frames, count=2)
    assert not found[1]["embedding.time"][2].any()
    found[1]["embedding.time"] = found[1]["embedding.time"][:2]
    assert_same((outputs, gradients), found)


COMPILED = """
import torch
from model.config import preset
from tests.policy_factories import make_policy

trunk = make_policy(preset("tiny")).trunk
tokens = torch.randn(2, 9, 64, generator=torch.Generator().manual_seed(0), requires_grad=True)
mask = torch.ones(9, 9).tril().bool()[None, None]
results = []
for module in (trunk, torch.compile(trunk, dynamic=False)):
    trunk.zero_grad()
    tokens.grad = None
    out = module(tokens, mask, outputs=slice(-2, None))[0]
    (out * torch.linspace(-1, 1, 64)).sum().backward()
    results.append([out, tokens.grad, *(p.grad for p in trunk.parameters())])
worst = max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-3)) for a, b in zip(*results, strict=True))
print("worst", worst)
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler (g++) on a CPU")
def test_compiled_trunk() -> None:
    """Outputs and gradients, with the mask and the last layer's rows; two small layers, the part worth compiling.

    In a process of its own: the shape checks of the test run cannot be traced.
    """
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, cwd=ROOT, timeout=800)
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout.split()[-1]) < GRADIENTS

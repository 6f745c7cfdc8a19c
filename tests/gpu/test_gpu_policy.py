"""On a CUDA device: the same numbers as on the CPU, acting without a wait and in CUDA graphs, finite gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.batch import Frame
from model.config import preset
from model.inference import Engine
from model.losses import loss_terms, total_loss
from model.policy import Policy
from tests.policy_factories import make_observation, make_policy, make_targets

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
CLOSE = 1e-4
"""Float32 without TF32, against a CPU."""


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> Policy:
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return make_policy(preset("tiny"))


def test_predictions_are_those_of_the_cpu(policy: Policy) -> None:
    observation, targets = make_observation(policy.config), make_targets(policy.config)
    with torch.no_grad():
        expected = policy(observation, frames=targets.frames, flow_start=targets.flow_start)
        policy.cuda()
        found = policy(observation.to("cuda"), frames=targets.frames, flow_start=targets.flow_start.cuda())
    for name in ("depth", "future_rgb", "future_depth", "flow_delta", "action"):
        assert torch.allclose(getattr(found, name).cpu(), getattr(expected, name), atol=CLOSE), name


def test_act_waits_for_nothing(policy: Policy) -> None:
    """No step reads anything back from the device."""
    engine, frame = _engine(policy.cuda())
    engine.act(frame)
    torch.cuda.set_sync_debug_mode("error")
    try:
        engine.act(frame)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.slow
def test_compiled_engine_is_the_plain_one(policy: Policy) -> None:
    policy.cuda()
    (plain, frame), (compiled, _) = _engine(policy), _engine(policy, compiled=True)
    for step in range(6):
        turned = replace(frame, rgb=frame.rgb.roll(step, -1))
        assert torch.allclose(compiled.act(turned), plain.act(turned), atol=CLOSE), step


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_training_step_has_finite_gradients(policy: Policy, dtype: torch.dtype) -> None:
    policy.cuda().train()
    observation, targets = make_observation(policy.config).to("cuda"), make_targets(policy.config).to("cuda")
    with torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
        out = policy(observation, frames=targets.frames, flow_start=targets.flow_start, action=targets.action)
    terms = loss_terms(out, targets, observation, policy.config)
    total_loss(terms, policy.config.loss, with_action=True).backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in policy.parameters())


def _engine(policy: Policy, *, compiled: bool = False) -> tuple[Engine, Frame]:
    observation = make_observation(policy.config, batch=1).to("cuda")
    engine = Engine(policy, compiled=compiled)
    engine.reset(observation.text, view_mask=observation.view_mask)
    pose = torch.eye(4, dtype=torch.float64, device="cuda")[None]
    return engine, Frame(rgb=observation.rgb[:, 0], T_base_tool=pose, gripper=observation.state_gripper[:, 0])

"""A few numbers of the tiny policy from seed 0: a change without numerical effect leaves them alone.

If one moves on purpose, every checkpoint made before needs a second look; then write the new numbers here.
"""

from __future__ import annotations

import pytest
import torch

from model.config import preset
from tests.policy_factories import make_observation, make_policy, make_targets

FIRST_LAST_MEAN = {
    "depth": (1.35949, 0.508089, 0.646566),
    "future_rgb": (0.658487, 0.430895, 0.449425),
    "future_depth": (1.279835, 0.379579, 0.626736),
    "flow_delta": (0.011709, -0.008353, -0.001201),
    "flow_visible_logit": (-0.14294, 0.152687, 0.044154),
    "action": (-0.533452, 0.172562, -0.082468),
}
FIRST_ACTION = (-0.547213, 0.0516, -1.390115, 0.841483, -0.951833, 0.765041, 0.578694)


def test_tiny_policy_gives_the_recorded_numbers() -> None:
    config = preset("tiny")
    policy, observation = make_policy(config), make_observation(config, batch=1)
    start = make_targets(config, batch=1, frames=(2,)).flow_start
    with torch.no_grad():
        out = policy(observation, frames=torch.tensor([2]), flow_start=start)
    for name, expected in FIRST_LAST_MEAN.items():
        values = getattr(out, name)
        seen = (values.flatten()[0].item(), values.flatten()[-1].item(), values.mean().item())
        assert seen == pytest.approx(expected, abs=1e-5), name
    assert policy.act(observation)[0, 0].tolist() == pytest.approx(FIRST_ACTION, abs=1e-5)

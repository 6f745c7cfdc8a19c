"""The paper's presets: sizes, masks and choices; overrides; configurations from before a field existed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from model.attention import attention_mask
from model.config import ImageEncoderConfig, TextEncoderConfig, from_json, preset, preset_names, to_json
from model.errors import ConfigError
from model.policy import Policy
from model.tokens import Role, token_layout
from tests.policy_factories import make_observation, make_policy, make_targets, small

OPTIONAL = {
    "window": {"goal_horizon"},
    "image": {"weights", "layers", "heads"},
    "text": {"weights"},
    "depth": {"axis_order"},
    "future": {"axis_order"},
    "flow": {"readout"},
    "action": {"final_norm"},
    "loss": {"flow_form", "progress"},
    "": {"future_depth_trunk", "goal_image", "progress", "progress_decoder"},
}


@pytest.mark.parametrize("name", preset_names())
def test_json_round_trip(name: str) -> None:
    assert from_json(to_json(preset(name))) == preset(name)


def test_a_configuration_from_before_these_fields_means_what_it_meant() -> None:
    data = json.loads(to_json(preset("tiny")))
    for part, names in OPTIONAL.items():
        for name in names:
            del (data[part] if part else data)[name]
    old = from_json(json.dumps(data))
    default = from_json(to_json(preset("tiny")))
    assert replace(old, progress_decoder=default.progress_decoder) == default


def test_foresight_is_the_papers() -> None:
    config = preset("foresight")
    layout = token_layout(config)
    assert (layout.length, layout.frame_length) == (530, 53)
    assert config.foresight == ("depth", "future", "flow")
    assert (config.loss.depth, config.loss.future, config.loss.flow) == (0.05, 0.1, 0.1)
    assert config.norm_pix
    assert (config.image.kind, config.image.width, config.text.kind, config.text.width) == ("vit", 768, "clip", 512)


def test_foresight_2d_has_no_depth_anywhere() -> None:
    config = small("foresight_2d")
    policy = make_policy(config)
    assert not [name for name, _ in policy.named_parameters() if "depth" in name]
    targets = make_targets(config)
    prediction = policy(make_observation(config), frames=targets.frames, flow_start=targets.flow_start)
    assert prediction.depth is None
    assert prediction.future_depth is None
    assert prediction.flow_delta is not None
    assert not prediction.flow_delta[..., 2].any()
    assert prediction.flow_delta[..., :2].any()


def test_gr_mg_has_the_backbones_mask_bit_for_bit() -> None:
    """One lower triangle over all 450 positions; every query column hidden from everyone."""
    config = preset("gr_mg")
    layout = token_layout(config)
    assert (layout.length, layout.prefix_length, layout.frame_length) == (450, 10, 44)
    assert [(group.name, group.count) for group in (*layout.prefix, *layout.groups)] == [
        ("GOAL_PATCH", 9), ("GOAL_CLS", 1), ("LANG", 1), ("STATE", 1), ("S_PATCH", 9), ("S_CLS", 1), ("W_PATCH", 9),
        ("W_CLS", 1), ("ACT", 1), ("FUT_S", 10), ("FUT_W", 10), ("PROG", 1),
    ]  # fmt: skip
    one_frame = torch.tensor([True] * 22 + [False] * 22)
    columns = torch.cat([torch.ones(10, dtype=torch.bool), one_frame.repeat(10)])
    expected = torch.ones(450, 450, dtype=torch.bool).tril() & columns
    assert torch.equal(attention_mask(layout, config.tokens), expected)
    assert {layout.tokens[i].role for i in layout.inputs()} == {Role.GOAL, Role.INPUT}


@pytest.mark.parametrize(
    ("name", "foresight"),
    [
        ("foresight+no_depth", ("future", "flow")),
        ("foresight+no_future", ("depth", "flow")),
        ("compact+no_flow", ("depth", "future")),
        ("compact+only_depth", ("depth",)),
        ("foresight_2d+only_flow", ("flow",)),
        ("tiny+no_depth+no_flow", ("future",)),
    ],
)
def test_overrides(name: str, foresight: tuple[str, ...]) -> None:
    config = preset(name)
    assert (config.name, config.foresight) == (name, foresight)
    assert from_json(to_json(config)) == config


def test_a_composite_future_without_current_depth_has_no_depth() -> None:
    assert not preset("compact+no_depth").future_depth
    assert preset("foresight+no_depth").future_depth


def test_overrides_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown override 'no_act' of preset 'tiny'; there are no_depth"):
        preset("tiny+no_act")
    with pytest.raises(ConfigError, match=r"foresight_2d\+only_depth: nothing is left of its foresight future, flow"):
        preset("foresight_2d+only_depth")


def test_absolute_flow_says_where_a_point_will_be() -> None:
    """The same head output stands for places: the start is taken off, so it does not matter to them."""
    tiny = preset("tiny")
    config = replace(tiny, flow=replace(tiny.flow, readout="absolute"))
    policy, targets = make_policy(config), make_targets(config)
    assert policy.flow is not None
    with torch.no_grad():
        policy.flow.head.weight.zero_()
        policy.flow.head.bias.copy_(torch.tensor([0.25, 0.5, 1.0, 0.0] * 3))
    prediction = policy(make_observation(config), frames=targets.frames, flow_start=targets.flow_start)
    assert prediction.flow_delta is not None
    places = targets.flow_start[..., None, :] + prediction.flow_delta
    expected = torch.tensor([0.25, 0.5, tiny.stats.depth_mean[0] + tiny.stats.depth_std[0]])
    assert torch.allclose(places, expected.expand_as(places), atol=1e-5)


def test_future_depth_from_a_trunk_of_its_own() -> None:
    tiny = preset("tiny")
    config = replace(tiny, future_depth_trunk="own")
    policy, shared = make_policy(config), make_policy(tiny)
    assert sum(p.numel() for p in policy.images.parameters()) > sum(p.numel() for p in shared.images.parameters())
    prediction = policy(make_observation(config), frames=torch.tensor([1]))
    assert prediction.future_depth is not None
    assert prediction.future_rgb is not None
    assert policy.images.future is not None
    own = policy.images.future.depth_decoder
    assert own is not None
    prediction.future_rgb.sum().backward()
    assert all(parameter.grad is None for parameter in own.parameters())


def test_a_goal_is_asked_for_and_no_other_policy_takes_one() -> None:
    config = small("gr_mg")
    policy, observation = make_policy(config), make_observation(config)
    with pytest.raises(ConfigError, match="goal_rgb must be set"):
        policy.act(replace(observation, goal_rgb=None))
    tiny = preset("tiny")
    given = replace(make_observation(tiny), goal_rgb=observation.goal_rgb)
    with pytest.raises(ConfigError, match="goal_rgb must be None"):
        make_policy(tiny).act(given)


def test_goal_and_progress_reach_what_they_should() -> None:
    config = small("gr_mg")
    policy, observation = make_policy(config), make_observation(config)
    assert observation.goal_rgb is not None
    other = replace(observation, goal_rgb=255 - observation.goal_rgb)
    before, after = (policy(item, frames=torch.tensor([2])) for item in (observation, other))
    assert before.progress is not None
    assert after.progress is not None
    assert before.progress.shape == (2, 3)
    assert ((before.progress > 0) & (before.progress < 1)).all()
    assert not torch.allclose(before.progress, after.progress, atol=1e-6)
    assert not torch.allclose(policy.act(observation), policy.act(other), atol=1e-6)


def test_full_size_trunks_have_their_parameters() -> None:
    """21.29 M, for stand-in encoders of the same width."""
    config = replace(
        preset("foresight_2d"),
        image=ImageEncoderConfig(kind="stub", width=768),
        text=TextEncoderConfig(width=512, heads=8, vocabulary=2),
    )
    policy = Policy(config)
    assert sum(parameter.numel() for parameter in policy.trunk.parameters()) == 21_294_336

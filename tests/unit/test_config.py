"""Configurations: presets hold together, JSON is strict, and every error names its field."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from model.config import (
    FlowDecoderConfig,
    LossWeights,
    PatchDecoderConfig,
    PolicyConfig,
    Statistics,
    TokenConfig,
    TrunkConfig,
    WindowConfig,
    from_json,
    preset,
    to_json,
)
from model.errors import ConfigError

PRESETS = ["tiny", "compact"]


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip(name: str) -> None:
    config = preset(name)
    assert from_json(to_json(config)) == config


def test_paper_loss_weights_are_the_default() -> None:
    weights = LossWeights()
    assert (weights.action, weights.depth, weights.future, weights.flow) == (1.0, 0.05, 0.1, 0.1)


def test_compact_follows_the_agreed_window() -> None:
    assert preset("compact").window == WindowConfig(
        n_obs_steps=5, obs_stride=2, future_offset=12, flow_steps=5, flow_stride=4, chunk_size=5
    )
    assert preset("compact").window.horizon == 20


def test_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'huge'.*tiny, compact"):
        preset("huge")


def _edited(path: str, value: Any) -> str:
    data = json.loads(to_json(preset("tiny")))
    *parents, last = path.split(".")
    node = data
    for parent in parents:
        node = node[parent]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return json.dumps(data)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("trunk.depth", 3, "unknown field trunk.depth"),
        ("surprise", 3, "unknown field surprise"),
        ("trunk.width", ..., "missing field trunk.width"),
        ("stats", ..., "missing field stats"),
        ("trunk.width", "64", "trunk.width must be int, got '64'"),
        ("trunk.width", True, "trunk.width must be int, got True"),
        ("trunk.width", 64.0, "trunk.width must be int, got 64.0"),
        ("trunk.dropout", 1.5, "trunk.dropout must be in"),
        ("trunk", [], "trunk must be an object"),
        ("views", ["wrist"], "views must start with static"),
        ("views", ["static", "left"], r"views\[1\] must be one of 'static', 'wrist', got 'left'"),
        ("stats.depth_std", [0.4], "stats.depth_mean and stats.depth_std need one entry a view"),
        ("stats.depth_std", [0.4, 0.0], "stats.depth_std must be > 0"),
        ("stats.depth_mean", 3.0, "stats.depth_mean must be a list"),
        ("image.channels", [8, 8, 8], "image.channels must have 2 entries, got 3"),
        ("window.flow_steps", 0, "window.flow_steps must be > 0, got 0"),
        ("loss.depth", -0.1, "loss.depth must be >= 0"),
        ("norm_pix", 1, "norm_pix must be bool"),
    ],
)
def test_json_errors_name_the_field(path: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_json(_edited(path, value))


def test_json_must_be_json_and_finite() -> None:
    with pytest.raises(ConfigError, match="not JSON"):
        from_json("{")
    with pytest.raises(ConfigError, match=r"trunk\.dropout must be finite"):
        from_json(_edited("trunk.dropout", 0.125).replace("0.125", "NaN"))


def test_an_integer_is_a_fine_float() -> None:
    assert from_json(_edited("loss.depth", 1)).loss.depth == 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 33}, "image_size must be a multiple of image.patch_size = 8, got 33"),
        ({"flow_view": "wrist", "views": ("static",)}, "flow_view must be one of views"),
        ({"stats": Statistics(depth_mean=(1.0,), depth_std=(1.0,))}, "stats.depth_mean needs one entry a view"),
        ({"foresight": ("flow", "flow")}, "foresight names one twice"),
        ({"foresight": ("depth",), "depth_source": "future_query"}, "depth_source = future_query needs"),
        ({"future_readout": "composite"}, "composite needs future.refine > 0"),
        ({"future_readout": "composite", "norm_pix": True}, "norm_pix needs future_readout = absolute"),
        ({"future_readout": "composite", "foresight": ("future",)}, "it needs 'depth' in"),
        ({"depth": PatchDecoderConfig(patch_size=8, refine=4)}, "depth.refine needs the features"),
        (
            {"future": PatchDecoderConfig(patch_size=16, patch_input="current_features")},
            "future.patch_size must equal image.patch_size = 8",
        ),
    ],
)
def test_contradictions_name_the_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(preset("tiny"), **change)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TrunkConfig(width=30, heads=4), "trunk.width must be a multiple of trunk.heads = 4, got 30"),
        (lambda: FlowDecoderConfig(layers=0), "flow.layers must be > 0"),
        (lambda: PatchDecoderConfig(refine=-1), "refine must be >= 0"),
        (lambda: TokenConfig(query_order=("FLOW", "FUT", "ACT", "ACT")), "tokens.query_order must hold"),
    ],
)
def test_parts_check_themselves(build: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build()


def test_configurations_are_frozen() -> None:
    with pytest.raises(AttributeError):
        preset("tiny").name = "other"  # pyright: ignore[reportAttributeAccessIssue]


def test_defaults_are_the_papers_sizes() -> None:
    config = PolicyConfig(name="foresight")
    assert (config.trunk.width, config.trunk.layers, config.trunk.heads) == (384, 12, 12)
    assert (config.resampler.latents, config.tokens.flow, config.window.n_obs_steps) == (9, 10, 10)

"""What a policy is made of: `PolicyConfig`, its parts and the presets. A checkpoint stores all of it as JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .config_decoders import ActionDecoderConfig, FlowDecoderConfig, PatchDecoderConfig, ProgressDecoderConfig
from .config_encoders import ImageEncoderConfig, ResamplerConfig, TextEncoderConfig
from .config_json import dump_config, parse_config
from .config_parts import LossWeights, Statistics, TokenConfig, TrunkConfig, WindowConfig
from .config_policy import Foresight, PolicyConfig, View
from .errors import ConfigError

__all__ = [
    "ActionDecoderConfig",
    "FlowDecoderConfig",
    "Foresight",
    "ImageEncoderConfig",
    "LossWeights",
    "PatchDecoderConfig",
    "PolicyConfig",
    "ProgressDecoderConfig",
    "ResamplerConfig",
    "Statistics",
    "TextEncoderConfig",
    "TokenConfig",
    "TrunkConfig",
    "View",
    "WindowConfig",
    "from_json",
    "preset",
    "preset_names",
    "to_json",
]


def _tiny() -> PolicyConfig:
    """For tests: everything there is, in under a second on a CPU."""
    decoder = PatchDecoderConfig(patch_size=8, width=32, layers=1, heads=2)
    return PolicyConfig(
        name="tiny",
        window=WindowConfig(n_obs_steps=3, future_offset=3, flow_steps=3, flow_stride=1, chunk_size=3),
        image_size=32,
        image=ImageEncoderConfig(kind="stub", width=32, patch_size=8),
        text=TextEncoderConfig(width=32, vocabulary=512, max_tokens=16),
        resampler=ResamplerConfig(latents=4, layers=1, heads=2, head_dim=16, mlp_ratio=2),
        tokens=TokenConfig(flow=4, future=4, depth=4),
        trunk=TrunkConfig(width=64, layers=2, heads=4, dropout=0.0),
        depth=decoder,
        future=decoder,
        flow=FlowDecoderConfig(width=32, layers=1, heads=2, frequencies=8),
        action=ActionDecoderConfig(width=32, layers=1, heads=2, latent=8),
        progress_decoder=ProgressDecoderConfig(width=32, layers=1, heads=2),
        norm_pix=False,
    )


def _compact() -> PolicyConfig:
    """The embedded default: self-contained, trained within hours on two CPU cores, under 15 MiB of weights."""
    return PolicyConfig(
        name="compact",
        window=WindowConfig(n_obs_steps=5, obs_stride=2, future_offset=12, flow_steps=5, flow_stride=4, chunk_size=5),
        image_size=128,
        image=ImageEncoderConfig(width=128, channels=(32, 64), blocks=(0, 1, 2)),
        text=TextEncoderConfig(width=64, layers=1, heads=2),
        resampler=ResamplerConfig(latents=6, layers=1, heads=4, head_dim=32, mlp_ratio=2),
        tokens=TokenConfig(flow=6, future=6, depth=6),
        trunk=TrunkConfig(width=128, layers=4, heads=4, dropout=0.0),
        depth=PatchDecoderConfig(
            width=96, layers=1, heads=3, activation="relu", patch_input="current_features", refine=32
        ),
        future=PatchDecoderConfig(
            width=128, layers=2, heads=4, activation="relu", patch_input="current_features", refine=48
        ),
        future_readout="composite",
        flow=FlowDecoderConfig(width=96, layers=2, heads=3, mlp_ratio=2, activation="relu", point_features=True),
        action=ActionDecoderConfig(width=64, layers=2, heads=4, latent=16),
        norm_pix=False,
        # Ours, not the paper's: a policy to look at, so that foresight outweighs the action in the shared trunk. With
        # GR-MG's 0.01 the gripper stays at chance within a CPU budget: 45 % right after 24k windows.
        loss=LossWeights(action=0.3, depth=0.2, future=0.5, flow=1.0, gripper=0.1),
    )


def _foresight() -> PolicyConfig:
    """The paper's policy at full size; what the paper leaves open has the value its backbone GR-MG gives it, else ours.

    Both encoders are random until `image.weights` and `text.weights` say where theirs are.
    """
    return PolicyConfig(
        name="foresight",
        image=ImageEncoderConfig(kind="vit", width=768),
        text=TextEncoderConfig(kind="clip", width=512, layers=12, heads=8, vocabulary=49408, max_tokens=77),
        action=ActionDecoderConfig(final_norm=False),
    )


def _foresight_2d() -> PolicyConfig:
    """The paper's 2D baseline: future RGB and lateral flow; no depth is read or predicted anywhere."""
    full = _foresight()
    return replace(
        full,
        name="foresight_2d",
        foresight=("future", "flow"),
        future_depth=False,
        flow=replace(full.flow, predict_depth=False),
    )


def _gr_mg() -> PolicyConfig:
    """The paper's backbone (bytedance/GR-MG): its tokens, mask, decoders and losses; no depth, no flow."""
    full = _foresight()
    return replace(
        full,
        name="gr_mg",
        foresight=("future",),
        future_depth=False,
        goal_image=True,
        progress=True,
        tokens=TokenConfig(
            query_order=("DEPTH", "FLOW", "ACT", "FUT", "PROG"),
            time_on_queries=False,
            input_causality="token",
            query_group_attn="none",
        ),
        future=replace(full.future, heads=16, axis_order="column_row"),
    )


_PRESETS: dict[str, Callable[[], PolicyConfig]] = {
    "tiny": _tiny,
    "compact": _compact,
    "foresight": _foresight,
    "foresight_2d": _foresight_2d,
    "gr_mg": _gr_mg,
}
_KINDS: tuple[Foresight, ...] = ("depth", "future", "flow")
_OVERRIDES: dict[str, tuple[Foresight, ...]] = {
    **{f"no_{kind}": tuple(other for other in _KINDS if other != kind) for kind in _KINDS},
    **{f"only_{kind}": (kind,) for kind in _KINDS},
}
"""What each override leaves of the foresight."""


def preset_names() -> tuple[str, ...]:
    """The presets that `preset` knows."""
    return tuple(_PRESETS)


def preset(name: str) -> PolicyConfig:
    """The configuration called `name`, with overrides appended by `+`: `foresight`, `compact+no_flow`.

    Raises:
        ConfigError: No such preset or override (the message lists what there is), or one that leaves no foresight.
    """
    base, *overrides = name.split("+")
    if base not in _PRESETS:
        raise ConfigError(f"unknown preset '{base}'; choose one of {', '.join(_PRESETS)}")
    config = _PRESETS[base]()
    for override in overrides:
        if override not in _OVERRIDES:
            raise ConfigError(f"unknown override '{override}' of preset '{base}'; there are {', '.join(_OVERRIDES)}")
        config = _leave(config, override)
    return config


def _leave(config: PolicyConfig, override: str) -> PolicyConfig:
    left = tuple(kind for kind in config.foresight if kind in _OVERRIDES[override])
    if not left:
        raise ConfigError(f"{config.name}+{override}: nothing is left of its foresight {', '.join(config.foresight)}")
    # A composite future blends the predicted current depth, so without that it has no depth of its own.
    blends = config.future_readout == "composite" and "depth" not in left
    return replace(
        config,
        name=f"{config.name}+{override}",
        foresight=left,
        future_depth=config.future_depth and not blends,
    )


def to_json(config: PolicyConfig) -> str:
    """All fields as indented JSON."""
    return dump_config(config)


def from_json(text: str) -> PolicyConfig:
    """Reads what `to_json` wrote. An unknown, missing or ill-typed field raises ConfigError with its dotted name."""
    return parse_config(PolicyConfig, text)

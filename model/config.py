"""What a policy is made of: `PolicyConfig` and the presets. A checkpoint stores all of it as JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from .config_json import dump_config, parse_config
from .config_parts import (
    ActionDecoderConfig,
    FlowDecoderConfig,
    ImageEncoderConfig,
    LossWeights,
    PatchDecoderConfig,
    ResamplerConfig,
    Statistics,
    TextEncoderConfig,
    TokenConfig,
    TrunkConfig,
    WindowConfig,
    require,
)
from .errors import ConfigError

__all__ = [
    "ActionDecoderConfig",
    "FlowDecoderConfig",
    "Foresight",
    "ImageEncoderConfig",
    "LossWeights",
    "PatchDecoderConfig",
    "PolicyConfig",
    "ResamplerConfig",
    "Statistics",
    "TextEncoderConfig",
    "TokenConfig",
    "TrunkConfig",
    "View",
    "WindowConfig",
    "compact",
    "from_json",
    "preset",
    "tiny",
    "to_json",
]

View = Literal["static", "wrist"]
Foresight = Literal["depth", "future", "flow"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyConfig:
    """A whole policy.

    Attributes:
        name: The preset it started from.
        views: Camera order of every tensor with a view axis; `static` first.
        flow_view: The view whose points move.
        image_size: Pixels a side at the policy's input.
        foresight: Which predictions beside the action exist.
        depth_source: What the current-depth decoder reads.
        future_readout: `absolute`: the decoder paints every pixel. `composite`: it chooses per pixel between the
            current image, the current image moved by a predicted warp, and newly painted colours.
        future_depth: Decodes the future's depth beside its RGB.
        norm_pix: The RGB loss compares patches of zero mean and unit deviation (the paper's backbone).
    """

    name: str
    window: WindowConfig = field(default_factory=WindowConfig)
    views: tuple[View, ...] = ("static", "wrist")
    flow_view: View = "static"
    image_size: int = 224
    stats: Statistics = field(default_factory=Statistics)
    image: ImageEncoderConfig = field(default_factory=ImageEncoderConfig)
    text: TextEncoderConfig = field(default_factory=TextEncoderConfig)
    resampler: ResamplerConfig = field(default_factory=ResamplerConfig)
    tokens: TokenConfig = field(default_factory=TokenConfig)
    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    foresight: tuple[Foresight, ...] = ("depth", "future", "flow")
    depth_source: Literal["image_tokens", "future_query", "depth_query"] = "image_tokens"
    depth: PatchDecoderConfig = field(default_factory=PatchDecoderConfig)
    future: PatchDecoderConfig = field(default_factory=PatchDecoderConfig)
    future_readout: Literal["absolute", "composite"] = "absolute"
    future_depth: bool = True
    flow: FlowDecoderConfig = field(default_factory=FlowDecoderConfig)
    action: ActionDecoderConfig = field(default_factory=ActionDecoderConfig)
    norm_pix: bool = True
    loss: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        require(self.views in (("static",), ("static", "wrist")), f"views must start with static, got {self.views}")
        require(self.flow_view in self.views, f"flow_view must be one of views = {self.views}, got {self.flow_view}")
        require(
            len(self.stats.depth_mean) == len(self.views),
            f"stats.depth_mean needs one entry a view ({len(self.views)}), got {len(self.stats.depth_mean)}",
        )
        require(len(set(self.foresight)) == len(self.foresight), f"foresight names one twice: {self.foresight}")
        for name, patch in (
            ("image", self.image.patch_size),
            ("depth", self.depth.patch_size),
            ("future", self.future.patch_size),
        ):
            require(
                self.image_size % patch == 0,
                f"image_size must be a multiple of {name}.patch_size = {patch}, got {self.image_size}",
            )
        self._check_decoders()

    def _check_decoders(self) -> None:
        require(
            self.depth_source != "future_query" or "depth" not in self.foresight or "future" in self.foresight,
            "depth_source = future_query needs 'future' in foresight",
        )
        composite = self.future_readout == "composite" and "future" in self.foresight
        require(
            not (composite and self.future_depth) or "depth" in self.foresight,
            "future_readout = composite with future_depth blends the predicted current depth: it needs 'depth' in "
            "foresight",
        )
        require(not (composite and self.norm_pix), "norm_pix needs future_readout = absolute")
        require(not composite or self.future.refine > 0, "future_readout = composite needs future.refine > 0")
        for name, decoder in (("depth", self.depth), ("future", self.future)):
            require(
                decoder.refine == 0 or self.image.kind == "compact",
                f"{name}.refine needs the features of image.kind = compact, got {self.image.kind}",
            )
            require(
                decoder.patch_input == "mask_token" or decoder.patch_size == self.image.patch_size,
                f"{name}.patch_size must equal image.patch_size = {self.image.patch_size} with current_features, "
                f"got {decoder.patch_size}",
            )


def tiny() -> PolicyConfig:
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
        norm_pix=False,
    )


def compact() -> PolicyConfig:
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
        # Ours, not the paper's: a policy to look at, so that foresight outweighs the action in the shared trunk.
        loss=LossWeights(action=0.3, depth=0.2, future=0.5, flow=1.0),
    )


_PRESETS: dict[str, Callable[[], PolicyConfig]] = {"tiny": tiny, "compact": compact}


def preset(name: str) -> PolicyConfig:
    """The configuration called `name`; ConfigError lists the names there are."""
    if name not in _PRESETS:
        raise ConfigError(f"unknown preset '{name}'; choose one of {', '.join(_PRESETS)}")
    return _PRESETS[name]()


def to_json(config: PolicyConfig) -> str:
    """All fields as indented JSON."""
    return dump_config(config)


def from_json(text: str) -> PolicyConfig:
    """Reads what `to_json` wrote. An unknown, missing or ill-typed field raises ConfigError with its dotted name."""
    return parse_config(PolicyConfig, text)

"""What a policy is made of: frozen dataclasses, one preset function each. Numbers without a source are our choice.

Every item that the paper (arXiv 2502.10028) leaves open is one field here; a checkpoint stores all of them.
Reading and writing JSON is in `model.config_json`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from .config_json import dump_config, parse_config
from .errors import ConfigError

View = Literal["static", "wrist"]
Foresight = Literal["depth", "future", "flow"]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _positive(section: str, config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        _require(value > 0, f"{section}.{name} must be > 0, got {value}")


def _divides(section: str, config: object, width: str, heads: str) -> None:
    wide, many = getattr(config, width), getattr(config, heads)
    _require(wide % many == 0, f"{section}.{width} must be a multiple of {section}.{heads} = {many}, got {wide}")


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowConfig:
    """Time, counted in control steps of the data set.

    Attributes:
        n_obs_steps: Frames in the window (T).
        obs_stride: Control steps between two frames of the window.
        future_offset: The future frame lies this many control steps ahead (n).
        flow_steps: Horizon of the 3D flow (L) ...
        flow_stride: ... and the control steps between two of them.
        chunk_size: Actions predicted, at the control rate (A).
    """

    n_obs_steps: int = 10
    obs_stride: int = 1
    future_offset: int = 3
    flow_steps: int = 5
    flow_stride: int = 1
    chunk_size: int = 5

    def __post_init__(self) -> None:
        _positive("window", self, *(item.name for item in dataclasses.fields(self)))

    @property
    def horizon(self) -> int:
        """Control steps needed after the newest frame so that all its targets exist."""
        return max(self.future_offset, self.flow_steps * self.flow_stride, self.chunk_size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """Scales of the training data, measured by the trainer and stored with the weights.

    Attributes:
        depth_mean, depth_std: Metres, one entry a view, in the order of `PolicyConfig.views`.
        flow_scale_xy: One unit of lateral flow, as a fraction of the image side.
        flow_scale_depth: One unit of flow along the optical axis, metres.
        action_metres_per_unit, action_radians_per_unit: What an action entry of 1 commands; metrics in mm and degrees.
    """

    depth_mean: tuple[float, ...] = (1.0, 0.3)
    depth_std: tuple[float, ...] = (0.4, 0.3)
    flow_scale_xy: float = 0.05
    flow_scale_depth: float = 0.05
    action_metres_per_unit: float = 0.05
    action_radians_per_unit: float = 0.5

    def __post_init__(self) -> None:
        _positive(
            "stats", self, "flow_scale_xy", "flow_scale_depth", "action_metres_per_unit", "action_radians_per_unit"
        )
        _require(min(self.depth_std) > 0, f"stats.depth_std must be > 0, got {self.depth_std}")
        _require(
            len(self.depth_mean) == len(self.depth_std),
            f"stats.depth_mean and stats.depth_std need one entry a view, got {self.depth_mean} and {self.depth_std}",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LossWeights:
    """Weights of the sum, spec (d). The first four are the paper's; the others weigh terms inside them.

    Attributes:
        action, depth, future, flow: 1, beta, gamma, delta.
        gripper, kl: Beside the arm's smooth L1 inside the action loss (GR-MG).
        future_depth: Beside future RGB.
        flow_visibility: Binary cross-entropy of visibility, beside the flow's smooth L1.
        flow_velocity: Error of successive displacement differences, beside the flow's smooth L1.
        flow_beta: Where the flow's smooth L1 turns from square to linear, in normalised units.
        depth_form: Error of the current and future depth: mean square or mean absolute of (depth - mean) / std.
    """

    action: float = 1.0
    depth: float = 0.05
    future: float = 0.1
    flow: float = 0.1
    gripper: float = 0.01
    kl: float = 1.0
    future_depth: float = 1.0
    flow_visibility: float = 0.05
    flow_velocity: float = 0.0
    flow_beta: float = 0.1
    depth_form: Literal["mse", "l1"] = "mse"

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            _require(isinstance(value, str) or value >= 0, f"loss.{item.name} must be >= 0, got {value}")
        _positive("loss", self, "flow_beta")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageEncoderConfig:
    """From an image to one CLS vector and a raster of patch features.

    Attributes:
        kind: `compact`, a small convolutional net trained with the policy; `stub`, a fixed random projection for tests.
        width: Width of the CLS vector and of the patch features.
        patch_size: Pixels a side of one patch: the stride of the feature raster.
        channels: Widths of the compact net at strides 4 and 8 (its last stage, stride 16, is `width` wide).
        blocks: Residual blocks of the compact net at strides 4, 8 and 16.
    """

    kind: Literal["compact", "stub"] = "compact"
    width: int = 128
    patch_size: int = 16
    channels: tuple[int, int] = (32, 64)
    blocks: tuple[int, int, int] = (0, 1, 2)

    def __post_init__(self) -> None:
        _positive("image", self, "width", "patch_size")
        _require(min(self.channels) > 0, f"image.channels must be > 0, got {self.channels}")
        _require(min(self.blocks) >= 0, f"image.blocks must be >= 0, got {self.blocks}")
        _require(
            self.kind != "compact" or self.patch_size == 16,
            f"image.patch_size must be 16 for the compact encoder, got {self.patch_size}",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TextEncoderConfig:
    """From an instruction to one vector.

    Attributes:
        kind: `compact`, hashed words, attention, pooled; trained with the policy.
        width, layers, heads: Of the compact encoder.
        vocabulary: Rows of the table that words are hashed into; row 0 is padding.
        max_tokens: Longer instructions are cut.
    """

    kind: Literal["compact"] = "compact"
    width: int = 64
    layers: int = 1
    heads: int = 2
    vocabulary: int = 2048
    max_tokens: int = 32

    def __post_init__(self) -> None:
        _positive("text", self, "width", "layers", "heads", "max_tokens")
        _divides("text", self, "width", "heads")
        _require(self.vocabulary >= 2, f"text.vocabulary must be >= 2, got {self.vocabulary}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ResamplerConfig:
    """Perceiver resampler: patch features to a few latents (r), shared by all views.

    Attributes:
        latents: Latents an image (r).
        layers, heads, head_dim, mlp_ratio: Spec (a.1): 3, 4, 128, 4.
    """

    latents: int = 9
    layers: int = 3
    heads: int = 4
    head_dim: int = 128
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        _positive("resampler", self, *(item.name for item in dataclasses.fields(self)))


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenConfig:
    """How many query tokens a frame has, in which order, and who may look at whom (spec b).

    Attributes:
        flow: FLOW queries a frame.
        future: FUTURE queries a frame and view.
        action: ACT queries a frame.
        depth: DEPTH queries a frame and view; used only with `depth_source = "depth_query"`.
        query_order: Order of the query groups inside a frame.
        time_on_queries: Adds the time embedding to the queries as well.
        input_causality: `frame`: inputs of a frame see one another; `token`: lower triangle inside the frame (GR-MG).
        query_group_attn: `group`: the queries of one group see one another; `none`: not even themselves (GR-MG).
        future_sees_flow: FUTURE queries see the FLOW queries of their frame.
        act_sees_future: ACT queries see the FUTURE queries of their frame.
        future_cross_view: FUTURE queries of one view see those of the other.
    """

    flow: int = 10
    future: int = 10
    action: int = 1
    depth: int = 10
    query_order: tuple[Literal["DEPTH", "FLOW", "FUT", "ACT"], ...] = ("DEPTH", "FLOW", "FUT", "ACT")
    time_on_queries: bool = True
    input_causality: Literal["frame", "token"] = "frame"
    query_group_attn: Literal["group", "none"] = "group"
    future_sees_flow: bool = True
    act_sees_future: bool = False
    future_cross_view: bool = False

    def __post_init__(self) -> None:
        _positive("tokens", self, "flow", "future", "action", "depth")
        _require(
            sorted(self.query_order) == ["ACT", "DEPTH", "FLOW", "FUT"],
            f"tokens.query_order must hold DEPTH, FLOW, FUT and ACT once each, got {self.query_order}",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrunkConfig:
    """The causal transformer.

    Attributes:
        width, layers, heads, mlp_ratio: Spec (a.3): 384, 12, 12, 4.
        dropout: Of embeddings, attention and residuals alike.
        checkpointing: Recomputes the layers in the backward pass: less memory, a third more work.
    """

    width: int = 384
    layers: int = 12
    heads: int = 12
    mlp_ratio: int = 4
    dropout: float = 0.1
    checkpointing: bool = False

    def __post_init__(self) -> None:
        _positive("trunk", self, "width", "layers", "heads", "mlp_ratio")
        _divides("trunk", self, "width", "heads")
        _require(0 <= self.dropout < 1, f"trunk.dropout must be in [0, 1), got {self.dropout}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchDecoderConfig:
    """From conditioning tokens to a dense image (spec c.1).

    Attributes:
        patch_size: Pixels a side of one decoded patch.
        width, layers, heads, mlp_ratio: Of its bidirectional transformer blocks.
        activation: Of its MLPs.
        patch_input: `mask_token`, one learned vector (the paper's backbone), or `current_features`, the image encoder's
            features of the current frame, so that a small net need not carry the scene through the queries.
        refine: Channels of a convolution over the encoder's finest features before the pixels; 0 = linear head.
    """

    patch_size: int = 16
    width: int = 384
    layers: int = 2
    heads: int = 6
    mlp_ratio: int = 4
    activation: Literal["gelu", "relu"] = "gelu"
    patch_input: Literal["mask_token", "current_features"] = "mask_token"
    refine: int = 0

    def __post_init__(self) -> None:
        _positive("decoder", self, "patch_size", "width", "layers", "heads", "mlp_ratio")
        _divides("decoder", self, "width", "heads")
        _require(self.refine >= 0, f"decoder.refine must be >= 0, got {self.refine}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowDecoderConfig:
    """From FLOW tokens and start points to 3D displacements (spec c.2).

    Attributes:
        width, layers, heads, mlp_ratio, activation: Of its blocks.
        attention: `cross`: every point looks at the FLOW tokens only, so a point's flow does not depend on which
            others were asked for; `full`: points and FLOW tokens look at one another.
        frequencies: Fourier frequencies a coordinate axis.
        start_depth: Gives the start depth to the decoder; off, so that inference needs RGB only.
        point_features: Adds the image encoder's features at the start point.
        predict_depth: Off: lateral flow only (the 2D baseline).
    """

    width: int = 384
    layers: int = 2
    heads: int = 6
    mlp_ratio: int = 4
    activation: Literal["gelu", "relu"] = "gelu"
    attention: Literal["cross", "full"] = "cross"
    frequencies: int = 32
    start_depth: bool = False
    point_features: bool = False
    predict_depth: bool = True

    def __post_init__(self) -> None:
        _positive("flow", self, "width", "layers", "heads", "mlp_ratio", "frequencies")
        _divides("flow", self, "width", "heads")


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionDecoderConfig:
    """The CVAE over action chunks (spec c.3)."""

    width: int = 128
    layers: int = 4
    heads: int = 8
    mlp_ratio: int = 4
    latent: int = 32

    def __post_init__(self) -> None:
        _positive("action", self, *(item.name for item in dataclasses.fields(self)))
        _divides("action", self, "width", "heads")


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyConfig:
    """A whole policy.

    Attributes:
        name: The preset it started from.
        views: Camera order of every tensor with a view axis; `static` first.
        flow_view: The view whose points move.
        image_size: Pixels a side at the policy's input.
        foresight: Which predictions beside the action exist.
        depth_source: What the current-depth decoder reads (spec J1).
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
        _require(self.views in (("static",), ("static", "wrist")), f"views must start with static, got {self.views}")
        _require(self.flow_view in self.views, f"flow_view must be one of views = {self.views}, got {self.flow_view}")
        _require(
            len(self.stats.depth_mean) == len(self.views),
            f"stats.depth_mean needs one entry a view ({len(self.views)}), got {len(self.stats.depth_mean)}",
        )
        _require(len(set(self.foresight)) == len(self.foresight), f"foresight names one twice: {self.foresight}")
        for name, patch in (
            ("image", self.image.patch_size),
            ("depth", self.depth.patch_size),
            ("future", self.future.patch_size),
        ):
            _require(
                self.image_size % patch == 0,
                f"image_size must be a multiple of {name}.patch_size = {patch}, got {self.image_size}",
            )
        self._check_decoders()

    def _check_decoders(self) -> None:
        _require(
            self.depth_source != "future_query" or "depth" not in self.foresight or "future" in self.foresight,
            "depth_source = future_query needs 'future' in foresight",
        )
        composite = self.future_readout == "composite" and "future" in self.foresight
        _require(
            not (composite and self.future_depth) or "depth" in self.foresight,
            "future_readout = composite with future_depth blends the predicted current depth: it needs 'depth' in "
            "foresight",
        )
        _require(not (composite and self.norm_pix), "norm_pix needs future_readout = absolute")
        for name, decoder in (("depth", self.depth), ("future", self.future)):
            _require(
                decoder.refine == 0 or self.image.kind == "compact",
                f"{name}.refine needs the features of image.kind = compact, got {self.image.kind}",
            )
            _require(
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

"""The parts of a policy's configuration. Each checks its own numbers and says which field is wrong.

Every item that the paper (arXiv 2502.10028) leaves open is one field; numbers without a source are our choice.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from .errors import ConfigError


def require(condition: bool, message: str) -> None:
    """Raises ConfigError with `message` unless `condition` holds."""
    if not condition:
        raise ConfigError(message)


def _positive(section: str, config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        require(value > 0, f"{section}.{name} must be > 0, got {value}")


def _divides(section: str, config: object, width: str, heads: str) -> None:
    wide, many = getattr(config, width), getattr(config, heads)
    require(wide % many == 0, f"{section}.{width} must be a multiple of {section}.{heads} = {many}, got {wide}")


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
        require(min(self.depth_std) > 0, f"stats.depth_std must be > 0, got {self.depth_std}")
        require(
            len(self.depth_mean) == len(self.depth_std),
            f"stats.depth_mean and stats.depth_std need one entry a view, got {self.depth_mean} and {self.depth_std}",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LossWeights:
    """Weights of the sum. The first four are those of the paper (arXiv 2502.10028); the others weigh terms inside them.

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
            require(isinstance(value, str) or value >= 0, f"loss.{item.name} must be >= 0, got {value}")
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
        require(min(self.channels) > 0, f"image.channels must be > 0, got {self.channels}")
        require(min(self.blocks) >= 0, f"image.blocks must be >= 0, got {self.blocks}")
        require(
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
        require(self.vocabulary >= 2, f"text.vocabulary must be >= 2, got {self.vocabulary}")


@dataclass(frozen=True, kw_only=True, slots=True)
class ResamplerConfig:
    """Perceiver resampler: patch features to a few latents (r), shared by all views.

    Attributes:
        latents: Latents an image (r).
        layers, heads, head_dim, mlp_ratio: Of GR-MG's resampler: 3, 4, 128, 4.
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
    """How many query tokens a frame has, in which order, and who may look at whom.

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
        require(
            sorted(self.query_order) == ["ACT", "DEPTH", "FLOW", "FUT"],
            f"tokens.query_order must hold DEPTH, FLOW, FUT and ACT once each, got {self.query_order}",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrunkConfig:
    """The causal transformer.

    Attributes:
        width, layers, heads, mlp_ratio: Of GR-MG's trunk: 384, 12, 12, 4.
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
        require(0 <= self.dropout < 1, f"trunk.dropout must be in [0, 1), got {self.dropout}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchDecoderConfig:
    """From conditioning tokens to a dense image.

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
        require(self.refine >= 0, f"decoder.refine must be >= 0, got {self.refine}")


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowDecoderConfig:
    """From FLOW tokens and start points to 3D displacements.

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
    """The CVAE over action chunks."""

    width: int = 128
    layers: int = 4
    heads: int = 8
    mlp_ratio: int = 4
    latent: int = 32

    def __post_init__(self) -> None:
        _positive("action", self, *(item.name for item in dataclasses.fields(self)))
        _divides("action", self, "width", "heads")

"""The configuration of what turns query outputs into predictions. Numbers without a source are our choice."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from .config_check import added, divides, positive, require


@dataclass(frozen=True, kw_only=True, slots=True)
class PatchDecoderConfig:
    """From conditioning tokens to a dense image.

    Attributes:
        patch_size: Pixels a side of one decoded patch.
        width, layers, heads, mlp_ratio: Of its bidirectional transformer blocks.
        activation: Of its MLPs.
        patch_input: `mask_token`, one learned vector (the paper's backbone), or `current_features`, the image encoder's
            features of the current frame, so that a small net need not carry the scene through the queries.
        axis_order: Which axis the first half of the fixed position embedding counts: `row_column`, or `column_row` as
            in MAE and the paper's backbone.
        output_stride: Pixels a side of one decoded value, interpolated to the size of the image; 1 = every pixel.
        refine: Channels of a convolution over the encoder's finest features before the pixels; 0 = linear head.
    """

    patch_size: int = 16
    width: int = 384
    layers: int = 2
    heads: int = 6
    mlp_ratio: int = 4
    activation: Literal["gelu", "relu"] = "gelu"
    patch_input: Literal["mask_token", "current_features"] = "mask_token"
    axis_order: Literal["row_column", "column_row"] = added("row_column")
    output_stride: int = added(1)
    refine: int = 0

    def __post_init__(self) -> None:
        positive("decoder", self, "patch_size", "width", "layers", "heads", "mlp_ratio", "output_stride")
        divides("decoder", self, "width", "heads")
        require(self.refine >= 0, f"decoder.refine must be >= 0, got {self.refine}")
        require(
            self.patch_size % self.output_stride == 0,
            f"decoder.output_stride must divide decoder.patch_size = {self.patch_size}, got {self.output_stride}",
        )
        require(
            self.output_stride == 1 or self.refine == 0,
            f"decoder.output_stride = {self.output_stride} needs decoder.refine = 0: refining is for every pixel",
        )


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
        coordinates: What a displacement is counted in. `image`: fractions of the image side, and depth in metres;
            `camera`: metres along the axes of the camera, each end point seen by the camera of its own step.
        readout: `displacement`: the head says how far a point goes, nothing at the start of training; `absolute`: it
            says where the point will be, in image sides and normalised depth.
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
    coordinates: Literal["image", "camera"] = added("image")
    readout: Literal["displacement", "absolute"] = added("displacement")

    def __post_init__(self) -> None:
        positive("flow", self, "width", "layers", "heads", "mlp_ratio", "frequencies")
        divides("flow", self, "width", "heads")
        require(
            self.coordinates == "image" or (self.predict_depth and self.readout == "displacement"),
            "flow.coordinates = camera needs flow.predict_depth and flow.readout = displacement: metres need a depth, "
            "and where a point starts in metres is not known from RGB",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ActionDecoderConfig:
    """The CVAE over action chunks.

    Attributes:
        width, layers, heads, mlp_ratio: Of encoder and decoder alike (GR-MG: 128, 4, 8, 4).
        latent: Width of the latent.
        final_norm: A LayerNorm before the decoder's heads; GR-MG has none.
    """

    width: int = 128
    layers: int = 4
    heads: int = 8
    mlp_ratio: int = 4
    latent: int = 32
    final_norm: bool = added(True)

    def __post_init__(self) -> None:
        positive("action", self, "width", "layers", "heads", "mlp_ratio", "latent")
        divides("action", self, "width", "heads")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgressDecoderConfig:
    """From the PROG query to the share of the task that is done; sizes of GR-MG."""

    width: int = 128
    layers: int = 2
    heads: int = 8
    mlp_ratio: int = 4

    def __post_init__(self) -> None:
        positive("progress_decoder", self, *(item.name for item in dataclasses.fields(self)))
        divides("progress_decoder", self, "width", "heads")

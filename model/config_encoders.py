"""The configuration of what turns images and words into tokens. Numbers without a source are our choice."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

from .config_check import added, divides, positive, require


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageEncoderConfig:
    """From an image to one CLS vector and a raster of patch features.

    Attributes:
        kind: `compact`, a small convolutional net trained with the policy; `vit`, a frozen vision transformer from
            `transformers` (MAE, DINOv2, ...); `stub`, a fixed random projection for tests.
        width: Width of the CLS vector and of the patch features.
        patch_size: Pixels a side of one patch: the stride of the feature raster.
        channels: Widths of the compact net at strides 4 and 8 (its last stage, stride 16, is `width` wide).
        blocks: Residual blocks of the compact net at strides 4, 8 and 16.
        weights: Where the frozen transformer comes from: a folder, its name inside $FORESIGHT_ENCODERS, or the id of a
            downloaded hub model. None: random weights, the same every time, for tests, proofs and benchmarks.
        layers, heads: Of the random transformer (ViT-B); one with weights brings its own.
    """

    kind: Literal["compact", "vit", "stub"] = "compact"
    width: int = 128
    patch_size: int = 16
    channels: tuple[int, int] = (32, 64)
    blocks: tuple[int, int, int] = (0, 1, 2)
    weights: str | None = added(None)
    layers: int = added(12)
    heads: int = added(12)

    def __post_init__(self) -> None:
        positive("image", self, "width", "patch_size", "layers", "heads")
        require(
            self.kind == "vit" or self.weights is None,
            f"image.weights needs image.kind = vit, got {self.kind}; the other encoders learn with the policy",
        )
        if self.kind == "vit":
            divides("image", self, "width", "heads")
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
        kind: `compact`, hashed words, attention, pooled; trained with the policy. `clip`, the frozen text tower of a
            CLIP from `transformers`.
        width: Of the vector; for CLIP that of the projection it shares with the image tower.
        layers, heads: Of the compact encoder, or of a random CLIP; one with weights brings its own.
        vocabulary: Rows of the table that words are hashed into, or of a random CLIP's; row 0 is padding.
        max_tokens: Longer instructions are cut.
        weights: As `ImageEncoderConfig.weights`.
    """

    kind: Literal["compact", "clip"] = "compact"
    width: int = 64
    layers: int = 1
    heads: int = 2
    vocabulary: int = 2048
    max_tokens: int = 32
    weights: str | None = added(None)

    def __post_init__(self) -> None:
        positive("text", self, "width", "layers", "heads", "max_tokens")
        divides("text", self, "width", "heads")
        least = 4 if self.kind == "clip" else 2  # padding, a word, and CLIP's marks of start and end
        require(self.vocabulary >= least, f"text.vocabulary must be >= {least}, got {self.vocabulary}")
        require(
            self.kind == "clip" or self.weights is None,
            f"text.weights needs text.kind = clip, got {self.kind}; the other encoder learns with the policy",
        )


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
        positive("resampler", self, *(item.name for item in dataclasses.fields(self)))

"""The patch decoder: conditioning tokens to a dense map. Depth and future image are read out of it.

Dimensions: n images, c conditioning tokens, m patches, d width, o output channels, h w pixels.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ..config import PatchDecoderConfig
from ..encoders.image_features import ImageFeatures
from ..transformer import INIT_STD, Block

FINE_STRIDE = 4  # of the compact image encoder's finest map, which `refine` reads


def sincos_position(
    grid: int, width: int, axis_order: Literal["row_column", "column_row"] = "row_column"
) -> Float[Tensor, "m d"]:
    """Fixed 2D sine-cosine embedding of a square raster in reading order; `width` must be a multiple of 4."""
    frequency = 1 / 10000 ** (torch.arange(width // 4) / (width / 4))
    angle = torch.arange(grid)[:, None] * frequency
    axis = torch.cat([angle.sin(), angle.cos()], -1)
    rows = axis[:, None].expand(grid, grid, -1)
    columns = axis[None].expand(grid, grid, -1)
    return torch.cat([rows, columns] if axis_order == "row_column" else [columns, rows], -1).flatten(0, 1)


class PatchDecoder(nn.Module):
    """Bidirectional blocks over [conditioning tokens; one token a patch], then pixels.

    Args:
        config: Sizes, what a patch token starts from, and whether fine features refine the result.
        conditioning: Width of the conditioning tokens.
        image_size: Pixels a side of the map.
        channels: Channels of the map.
        coarse_channels: Channels of a second map at stride 4, for what is smooth by nature; needs `config.refine`.
        map_channels: Channels of the image encoder's maps, fine to coarse.
    """

    position: Tensor

    def __init__(
        self,
        config: PatchDecoderConfig,
        *,
        conditioning: int,
        image_size: int,
        channels: int,
        map_channels: tuple[int, ...],
        coarse_channels: int = 0,
    ):
        super().__init__()
        self.patch_size, self.grid = config.patch_size, image_size // config.patch_size
        self.conditioning = nn.Linear(conditioning, config.width)
        if config.patch_input == "current_features":
            self.start = _CurrentFeatures(map_channels[-1], config.width)
        else:
            self.start = _MaskToken(config.width)
        self.register_buffer("position", sincos_position(self.grid, config.width, config.axis_order), persistent=False)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_ratio, config.activation) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        if config.refine:
            self.head = _RefinedHead(config, channels, coarse_channels, map_channels)
        else:
            self.head = _LinearHead(config, channels)

    def forward(
        self, tokens: Float[Tensor, "n c d"], features: ImageFeatures
    ) -> tuple[Float[Tensor, "n o h w"], Float[Tensor, "n _o _h _w"] | None]:
        """The map and the coarse map, if any; `features` are those of the current image of the same rows."""
        conditioning = self.conditioning(tokens)
        patches = self.start(features) + self.position
        patches = patches.expand(len(tokens), -1, -1)
        x = torch.cat([conditioning, patches.to(conditioning.dtype)], 1)
        for block in self.blocks:
            x, _ = block(x)
        return self.head(self.norm(x[:, tokens.shape[1] :]), features)


class _MaskToken(nn.Module):
    """Every patch starts from the same learned vector."""

    def __init__(self, width: int):
        super().__init__()
        self.token = nn.Parameter(torch.randn(width) * INIT_STD)

    def forward(self, features: ImageFeatures) -> Float[Tensor, " d"]:
        return self.token


class _CurrentFeatures(nn.Module):
    """Every patch starts from what the image encoder sees there now."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.linear = nn.Linear(channels, width)

    def forward(self, features: ImageFeatures) -> Float[Tensor, "n m d"]:
        return self.linear(features.patches)


class _LinearHead(nn.Module):
    """Every patch painted by one linear layer, in the order (row, column, y, x, channel)."""

    def __init__(self, config: PatchDecoderConfig, channels: int):
        super().__init__()
        self.stride, self.side = config.output_stride, config.patch_size // config.output_stride
        self.linear = nn.Linear(config.width, self.side**2 * channels)

    def forward(self, x: Float[Tensor, "n m d"], features: ImageFeatures) -> tuple[Float[Tensor, "n o h w"], None]:
        painted = unpatchify(self.linear(x), self.side)
        if self.stride > 1:
            painted = functional.interpolate(painted, scale_factor=self.stride, mode="bilinear", align_corners=False)
        return painted, None


class _RefinedHead(nn.Module):
    """Patch tokens spread over a raster of stride 4, joined with the encoder's finest map, convolved to pixels."""

    def __init__(self, config: PatchDecoderConfig, channels: int, coarse_channels: int, map_channels: tuple[int, ...]):
        super().__init__()
        self.factor = config.patch_size // FINE_STRIDE
        self.splits = [channels * FINE_STRIDE**2, coarse_channels]
        self.spread = nn.Linear(config.width, config.refine * self.factor**2)
        self.mix = nn.Conv2d(config.refine + map_channels[0], config.refine, 3, padding=1)
        self.paint = nn.Conv2d(config.refine, sum(self.splits), 1)

    def forward(
        self, x: Float[Tensor, "n m d"], features: ImageFeatures
    ) -> tuple[Float[Tensor, "n o h w"], Float[Tensor, "n _o _h _w"] | None]:
        spread = unpatchify(self.spread(x), self.factor)
        joined = torch.cat([spread, features.maps[0].to(spread.dtype)], 1)
        mixed = functional.relu(self.mix(joined.contiguous(memory_format=torch.channels_last)))
        fine, coarse = self.paint(mixed).split(self.splits, 1)
        return functional.pixel_shuffle(fine, FINE_STRIDE), coarse if coarse.shape[1] else None


def unpatchify(x: Float[Tensor, "n m k"], patch_size: int) -> Float[Tensor, "n o h w"]:
    """A square raster of patches, each (y, x, channel), to one map."""
    grid = math.isqrt(x.shape[1])
    x = x.unflatten(1, (grid, grid)).unflatten(-1, (patch_size, patch_size, -1))
    return x.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


def patchify(x: Float[Tensor, "*n o h w"], patch_size: int) -> Float[Tensor, "*n m k"]:
    """The inverse of `unpatchify`, for any leading dimensions."""
    x = x.unflatten(-2, (-1, patch_size)).unflatten(-1, (-1, patch_size))
    x = x.movedim((-4, -2, -3, -1, -5), (-5, -4, -3, -2, -1))
    return x.flatten(-3).flatten(-3, -2)

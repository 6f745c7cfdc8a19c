"""Image encoders that need no weights from elsewhere: the compact net, trained with the policy, and a stub for tests.

Dimensions: n images (batch x frames x views), m patches in raster order, c channels, h w pixels.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ..config_encoders import ImageEncoderConfig
from .image_features import ImageFeatures


class _Residual(nn.Module):
    """x + conv(relu(conv x)), the second convolution zero at the start so that depth costs no stability."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x + self.second(functional.relu(self.first(x)))


class CompactImageEncoder(nn.Module):
    """A small convolutional net with maps at strides 4, 8 and 16; no batch statistics, so EMA weights just work.

    Args:
        config: Widths and depths.
    """

    def __init__(self, config: ImageEncoderConfig):
        super().__init__()
        fine, middle = config.channels
        widths = (fine, middle, config.width)
        entries = [
            nn.Conv2d(3, fine, 4, stride=4),
            nn.Conv2d(fine, middle, 3, stride=2, padding=1),
            nn.Conv2d(middle, config.width, 3, stride=2, padding=1),
        ]
        self.map_channels = widths
        self.stages = nn.ModuleList(
            nn.Sequential(entry, nn.ReLU(), *(_Residual(width) for _ in range(blocks)))
            for entry, width, blocks in zip(entries, widths, config.blocks, strict=True)
        )
        self.norm = nn.LayerNorm(config.width)
        self.cls = nn.Linear(config.width, config.width)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> ImageFeatures:
        """Features of normalised images (see `prepare_rgb`)."""
        x = images.contiguous(memory_format=torch.channels_last)
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        patches = self.norm(x.flatten(2).transpose(1, 2))
        maps[-1] = patches.transpose(1, 2).unflatten(2, x.shape[2:])
        return ImageFeatures(cls=self.cls(patches.mean(1)), patches=patches, maps=tuple(maps))


class StubImageEncoder(nn.Module):
    """A fixed random projection of raw patches: deterministic, frozen, not saved. For tests, in place of a big ViT."""

    projection: Tensor

    def __init__(self, config: ImageEncoderConfig):
        super().__init__()
        self.patch_size = config.patch_size
        self.map_channels = (config.width,)
        inputs = 3 * config.patch_size**2
        projection = torch.randn(config.width, inputs, generator=torch.Generator().manual_seed(0)) / inputs**0.5
        self.register_buffer("projection", projection, persistent=False)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> ImageFeatures:
        """Features of normalised images (see `prepare_rgb`)."""
        patches = functional.unfold(images, self.patch_size, stride=self.patch_size).transpose(1, 2)
        patches = functional.layer_norm(patches @ self.projection.T, self.projection.shape[:1])
        grid = (images.shape[2] // self.patch_size, images.shape[3] // self.patch_size)
        return ImageFeatures(cls=patches.mean(1), patches=patches, maps=(patches.transpose(1, 2).unflatten(2, grid),))

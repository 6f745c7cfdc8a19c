"""What every image encoder is given and gives.

Dimensions: n images (batch x frames x views), m patches in raster order, c channels, h w pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise_rgb(rgb: Float[Tensor, "*n 3 h w"]) -> Float[Tensor, "*n 3 h w"]:
    """0..1 to zero mean and unit deviation over ImageNet.

    By numbers, not by a tensor of them: that would have to be copied to a GPU every time, which waits for it.
    """
    channels = zip(rgb.unbind(-3), IMAGENET_MEAN, IMAGENET_STD, strict=True)
    return torch.stack([(channel - mean) / std for channel, mean, std in channels], -3)


def denormalise_rgb(rgb: Float[Tensor, "*n 3 h w"]) -> Float[Tensor, "*n 3 h w"]:
    """The inverse of `normalise_rgb`."""
    channels = zip(rgb.unbind(-3), IMAGENET_MEAN, IMAGENET_STD, strict=True)
    return torch.stack([channel * std + mean for channel, mean, std in channels], -3)


def prepare_rgb(rgb: UInt8[Tensor, "*n 3 h w"]) -> Float[Tensor, "*n 3 h w"]:
    """What every image encoder eats: 0..255 to float32, normalised."""
    return normalise_rgb(rgb.float() / 255)


@dataclass(frozen=True, kw_only=True)
class ImageFeatures:
    """What the policy knows of some images.

    Attributes:
        cls: One vector an image.
        patches: Features of the patches in raster order.
        maps: Feature maps from fine to coarse; the last holds the same features as `patches`.
    """

    cls: Float[Tensor, "n c"]
    patches: Float[Tensor, "n m c"]
    maps: tuple[Float[Tensor, "n _c _h _w"], ...]

"""Images of an episode at the policy's size: colours filtered, depth picked, intrinsics scaled.

Dimensions: n image, h w pixels of the policy's input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional

from trainer.episodes.episode import Episode, View
from trainer.episodes.media.resize import nearest


def read_rgb(episode: Episode, view: View, steps: Sequence[int], size: int) -> UInt8[Tensor, "n 3 h w"]:
    """Colours at some steps, resized with an antialiased bilinear filter."""
    images = torch.from_numpy(np.stack([episode.rgb(view, step) for step in steps])).permute(0, 3, 1, 2)
    if images.shape[-2:] == (size, size):
        return images
    return functional.interpolate(images, (size, size), mode="bilinear", antialias=True)


def read_depth(
    episode: Episode, view: View, steps: Sequence[int], size: int
) -> tuple[Float[Tensor, "n h w"], Bool[Tensor, "n h w"]]:
    """Depth in metres (0 where invalid) and its validity, picked from the nearest pixel: edges must not be averaged."""
    depth = nearest(np.stack([episode.depth(view, step) for step in steps]), (size, size))
    valid = np.isfinite(depth)
    depth[~valid] = 0
    return torch.from_numpy(depth), torch.from_numpy(valid)


def scaled_intrinsics(episode: Episode, view: View, size: int) -> Float[np.ndarray, "3 3"]:
    """K in pixels of the policy's image."""
    height, width = episode.image_size(view)
    return np.diag([size / width, size / height, 1.0]) @ episode.intrinsics(view)

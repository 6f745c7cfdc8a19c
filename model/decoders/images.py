"""Current depth and future RGB-D of chosen frames, in metres and in 0..1: all dense decoders behind one call.

Dimensions: b batch, t frame of the window, a chosen frame, v view, bav those three flattened, n token, d width,
c conditioning tokens, m patches, h w pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..config import PolicyConfig
from ..embedding import Embedded
from ..encoders.image_features import denormalise_rgb
from ..tokens import VIEW_LETTER, TokenLayout
from .future import FutureDecoder
from .patch import PatchDecoder, patchify, unpatchify

PATCH_EPS = 1e-6
_DEPTH_SOURCES = {
    "image_tokens": ("{}_PATCH", "{}_CLS"),
    "future_query": ("FUT_{}",),
    "depth_query": ("DEPTH_{}",),
}


@dataclass(frozen=True, kw_only=True)
class DecodedImages:
    """What was asked for: depths in metres, colours in 0..1."""

    depth: Float[Tensor, "b a v h w"] | None = None
    future_rgb: Float[Tensor, "b a v 3 h w"] | None = None
    future_depth: Float[Tensor, "b a v h w"] | None = None


class ImageDecoders(nn.Module):
    """The depth and the future decoder, as far as the configuration has them.

    Args:
        config: Of the policy.
        layout: Its token layout.
        map_channels: Channels of the image encoder's maps.
    """

    depth_mean: Tensor
    depth_std: Tensor

    def __init__(self, config: PolicyConfig, layout: TokenLayout, map_channels: tuple[int, ...]):
        super().__init__()
        self.layout, self.views = layout, config.views
        self.depth_source = _DEPTH_SOURCES[config.depth_source]
        self.own_depth_queries = config.future_depth_queries
        self.norm_pix, self.patch_size = config.norm_pix, config.future.patch_size
        self.depth = self.future = None
        if "depth" in config.foresight:
            self.depth = PatchDecoder(
                config.depth,
                conditioning=config.trunk.width,
                image_size=config.image_size,
                channels=1,
                map_channels=map_channels,
            )
        if "future" in config.foresight:
            self.future = FutureDecoder(config, map_channels)
        self.register_buffer("depth_mean", torch.tensor(config.stats.depth_mean), persistent=False)
        self.register_buffer("depth_std", torch.tensor(config.stats.depth_std), persistent=False)

    def sources(self, decoders: frozenset[str]) -> list[str]:
        """The query groups that these decoders read."""
        patterns: list[str] = []
        if self._needs_depth(decoders):
            patterns += self.depth_source
        if "future" in decoders and self.future is not None:
            patterns += ["FUT_{}", "FUTD_{}"] if self.own_depth_queries else ["FUT_{}"]
        return [pattern.format(VIEW_LETTER[view]) for pattern in patterns for view in self.views]

    def _needs_depth(self, decoders: frozenset[str]) -> bool:
        """A composite future blends the current depth, so it needs that even where nobody asked for it."""
        blended = "future" in decoders and self.future is not None and self.future.blends_depth
        return self.depth is not None and ("depth" in decoders or blended)

    def forward(
        self, hidden: Float[Tensor, "b t n d"], seen: Embedded, frames: list[int], decoders: frozenset[str]
    ) -> DecodedImages:
        """Decodes "depth" and "future", whichever is in `decoders`.

        Args:
            hidden: Trunk outputs by frame.
            seen: The embedded observation they come from.
            frames: Frames to decode (a).
            decoders: What is asked for.
        """
        shape = (len(hidden), len(frames), len(self.views))
        depth = future_rgb = future_depth = None
        features = seen.pick_features(frames)
        if self.depth is not None and self._needs_depth(decoders):
            depth = self.depth(self._conditioning(hidden, frames, self.depth_source), features)[0].float()
        if "future" in decoders and self.future is not None:
            rgb = seen.pick_rgb(frames)
            tokens = self._conditioning(hidden, frames, ("FUT_{}",))
            own = self._conditioning(hidden, frames, ("FUTD_{}",)) if self.own_depth_queries else None
            painted, future_depth = self.future(tokens, features, rgb, depth, own)
            if self.norm_pix:
                painted = restore_patches(painted, rgb, self.patch_size)
            future_rgb = denormalise_rgb(painted).unflatten(0, shape)
        return DecodedImages(
            depth=self._metres(depth, shape) if depth is not None and "depth" in decoders else None,
            future_rgb=future_rgb,
            future_depth=self._metres(future_depth, shape) if future_depth is not None else None,
        )

    def _conditioning(
        self, hidden: Float[Tensor, "b t n d"], frames: list[int], patterns: tuple[str, ...]
    ) -> Float[Tensor, "bav c d"]:
        """Trunk outputs of the groups so named, {} standing for the letter of the view."""
        chosen = hidden[:, frames]
        views = [
            torch.cat([chosen[:, :, self.layout.within_frame(name.format(VIEW_LETTER[view]))] for name in patterns], 2)
            for view in self.views
        ]
        return torch.stack(views, 2).flatten(0, 2)

    def _metres(self, depth: Float[Tensor, "bav 1 h w"], shape: tuple[int, int, int]) -> Float[Tensor, "b a v h w"]:
        return depth[:, 0].unflatten(0, shape) * self.depth_std[:, None, None] + self.depth_mean[:, None, None]


def patch_statistics(
    rgb: Float[Tensor, "*n 3 h w"], patch_size: int
) -> tuple[Float[Tensor, "*n m 1"], Float[Tensor, "*n m 1"]]:
    """Mean and unbiased deviation of every patch over all its pixels and channels."""
    patches = patchify(rgb, patch_size)
    return patches.mean(-1, keepdim=True), (patches.var(-1, keepdim=True) + PATCH_EPS).sqrt()


def restore_patches(
    painted: Float[Tensor, "n 3 h w"], current: Float[Tensor, "n 3 h w"], patch_size: int
) -> Float[Tensor, "n 3 h w"]:
    """Gives patches of zero mean and unit deviation the statistics of the current image, so that they can be shown."""
    mean, std = patch_statistics(current, patch_size)
    return unpatchify(patchify(painted, patch_size) * std + mean, patch_size)

"""The future image and its depth, read out of a patch decoder: painted, or composed from the current image.

Dimensions: n images, c conditioning tokens, d width, h w pixels.

Images are ImageNet-normalised here and depth is (metres - mean) / std; `model.policy` converts.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ..config import PolicyConfig
from ..encoders.image_features import ImageFeatures
from .patch import PatchDecoder

KEEP_LOGIT = 3.0  # composite: the current image is kept almost everywhere until training says otherwise


class FutureDecoder(nn.Module):
    """One trunk for RGB and depth of all views (or, as configured, one for each of the two).

    With `future_readout = "composite"` every pixel is a convex sum of three sources: the current image, the current
    image warped by a predicted smooth backward flow, and newly painted colours. Depth uses the same weights over the
    predicted current depth, its warp plus a painted change, and painted depth.
    """

    def __init__(self, config: PolicyConfig, map_channels: tuple[int, ...]):
        super().__init__()
        self.composite = config.future_readout == "composite"
        self.with_depth = config.future_depth
        self.blends_depth = self.composite and config.future_depth
        own_trunk = config.future_depth and config.future_depth_trunk != "shared"
        self.warp_scale = config.stats.flow_scale_xy
        self.splits = [3, 3] if self.composite else [3]
        if config.future_depth and not own_trunk:
            self.splits += [2] if self.composite else [1]
        self.decoder = PatchDecoder(
            config.future,
            conditioning=config.trunk.width,
            image_size=config.image_size,
            channels=sum(self.splits),
            coarse_channels=2 if self.composite else 0,
            map_channels=map_channels,
        )
        self.depth_decoder = None
        if own_trunk:
            self.depth_decoder = PatchDecoder(
                config.future,
                conditioning=config.trunk.width,
                image_size=config.image_size,
                channels=1,
                map_channels=map_channels,
            )

    def forward(
        self,
        tokens: Float[Tensor, "n c d"],
        features: ImageFeatures,
        rgb: Float[Tensor, "n 3 h w"],
        depth: Float[Tensor, "n 1 h w"] | None,
        depth_tokens: Float[Tensor, "n c d"] | None = None,
    ) -> tuple[Float[Tensor, "n 3 h w"], Float[Tensor, "n 1 h w"] | None]:
        """Future image and depth.

        Args:
            tokens: FUTURE outputs of the trunk.
            depth_tokens: Those of the depth's own queries, where it has any.
            features: Of the current images.
            rgb: Current images, normalised.
            depth: Predicted current depth, normalised; used by the composite readout only.
        """
        painted, motion = self.decoder(tokens, features)
        parts = painted.float().split(self.splits, 1)
        if self.depth_decoder is not None:
            return parts[0], self.depth_decoder(tokens if depth_tokens is None else depth_tokens, features)[0].float()
        if motion is None:
            return parts[0], parts[1] if self.with_depth else None
        bias = painted.new_tensor([KEEP_LOGIT, 0.0, 0.0])[:, None, None]
        keep, move, paint = (parts[0].float() + bias).softmax(1).split(1, 1)
        # The current depth has a loss of its own; the future's must not bend it.
        current = rgb if depth is None else torch.cat([rgb, depth.detach()], 1)
        moved = warp(current, self.warp_scale * motion.float())
        future_rgb = keep * rgb + move * moved[:, :3] + paint * parts[1]
        if not self.with_depth:
            return future_rgb, None
        change, new = parts[2].split(1, 1)
        return future_rgb, keep * current[:, 3:] + move * (moved[:, 3:] + change) + paint * new


def warp(image: Float[Tensor, "n c h w"], motion: Float[Tensor, "n 2 _h _w"]) -> Float[Tensor, "n c h w"]:
    """Looks up `image` at x + motion(x): motion (x, y) in image sides, on a coarser raster, smoothly interpolated."""
    smooth = functional.interpolate(motion, size=image.shape[2:], mode="bilinear", align_corners=False)
    theta = torch.eye(2, 3, device=image.device).expand(len(image), -1, -1)
    still = functional.affine_grid(theta, list(image.shape), align_corners=False)
    grid = still + 2 * smooth.permute(0, 2, 3, 1)  # grid_sample counts an image side as 2
    return functional.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)

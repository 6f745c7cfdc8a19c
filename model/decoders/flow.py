"""The flow decoder: FLOW tokens and start points to 3D displacements and visibility.

Dimensions: n frames (batch x supervised), f FLOW tokens, p points, l flow steps, d width, h heads.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ..attention import Attention
from ..config import FlowDecoderConfig, PolicyConfig
from ..encoders.image_features import ImageFeatures
from ..transformer import Block, Mlp


def fourier_features(xy: Float[Tensor, "*n 2"], frequencies: int) -> Float[Tensor, "*n k"]:
    """Sines and cosines of pi 2^(j/4) x for each axis, j < `frequencies`; with 32 the shortest wave is 1/108 of it."""
    scale = torch.pi * 2 ** (torch.arange(frequencies, device=xy.device) / 4)
    angle = (xy.float()[..., None] * scale).flatten(-2)
    return torch.cat([angle.sin(), angle.cos()], -1)


class _CrossBlock(nn.Module):
    """Points look at the FLOW tokens, each for itself; then an MLP."""

    def __init__(self, config: FlowDecoderConfig):
        super().__init__()
        self.point_norm = nn.LayerNorm(config.width)
        self.token_norm = nn.LayerNorm(config.width)
        self.attention = Attention(config.width, config.heads)
        self.mlp_norm = nn.LayerNorm(config.width)
        self.mlp = Mlp(config.width, config.mlp_ratio, config.activation)

    def forward(
        self, points: Float[Tensor, "n p d"], tokens: Float[Tensor, "n f d"], *, capture: bool
    ) -> tuple[Float[Tensor, "n p d"], Float[Tensor, "n h p f"] | None]:
        mixed, probabilities = self.attention(
            self.point_norm(points), self.token_norm(tokens), rows=slice(None) if capture else None
        )
        points = points + mixed
        return points + self.mlp(self.mlp_norm(points)), probabilities


class FlowDecoder(nn.Module):
    """Displacement of every start point, in units of the flow scales; zero at the start of training.

    With `flow.readout = "absolute"` it gives the place after each step instead: image sides and normalised depth.

    Args:
        config: The policy's; `config.flow` has the sizes.
        map_channels: Channels of the image encoder's maps.
    """

    def __init__(self, config: PolicyConfig, map_channels: tuple[int, ...]):
        super().__init__()
        sizes = config.flow
        self.cross = sizes.attention == "cross"
        self.steps = config.window.flow_steps
        self.dimensions = 3 if sizes.predict_depth else 2
        self.frequencies = sizes.frequencies
        self.tokens = nn.Linear(config.trunk.width, sizes.width)
        self.point = nn.Linear(4 * sizes.frequencies, sizes.width)
        self.depth = nn.Linear(1, sizes.width) if sizes.start_depth else None
        self.local = nn.Linear(sum(map_channels), sizes.width) if sizes.point_features else None

        def block() -> Block:
            return Block(sizes.width, sizes.heads, sizes.mlp_ratio, sizes.activation)

        self.mix = block() if self.cross else None
        self.blocks = nn.ModuleList(_CrossBlock(sizes) if self.cross else block() for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(sizes.width)
        self.head = nn.Linear(sizes.width, self.steps * (self.dimensions + 1))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self,
        tokens: Float[Tensor, "n f d"],
        start: Float[Tensor, "n p 3"],
        features: ImageFeatures,
        *,
        capture: bool = False,
    ) -> tuple[Float[Tensor, "n p l 3"], Float[Tensor, "n p l"], list[Float[Tensor, "n h p k"]]]:
        """Displacements, visibility logits, and by layer the points' attention if `capture`.

        Args:
            tokens: FLOW outputs of the trunk.
            start: x, y in [0, 1] of the image, and normalised depth (read only with `start_depth`).
            features: Of the current image of the flow view.
            capture: Also return attention: columns are FLOW tokens, then (attention "full" only) the points.
        """
        flow, points = self.tokens(tokens), self._points(start, features)
        captured: list[Tensor] = []
        if self.mix is not None:
            flow, _ = self.mix(flow)
            for block in self.blocks:
                points, probabilities = block(points, flow, capture=capture)
                captured += [] if probabilities is None else [probabilities]
        else:
            count = flow.shape[1]
            x = torch.cat([flow, points], 1)
            for block in self.blocks:
                x, probabilities = block(x, rows=slice(count, None) if capture else None)
                captured += [] if probabilities is None else [probabilities]
            points = x[:, count:]
        out = self.head(self.norm(points)).float().unflatten(-1, (self.steps, self.dimensions + 1))
        delta, visible = out[..., :-1], out[..., -1]
        return functional.pad(delta, (0, 3 - self.dimensions)), visible, captured

    def _points(self, start: Float[Tensor, "n p 3"], features: ImageFeatures) -> Float[Tensor, "n p d"]:
        """One token a point: where it is, and if configured its depth and what the image looks like there."""
        xy = start[..., :2]
        points = self.point(fourier_features(xy, self.frequencies))
        if self.depth is not None:
            points = points + self.depth(start[..., 2:])
        if self.local is not None:
            grid = (2 * xy - 1)[:, None].to(features.maps[0].dtype)
            sampled = [
                functional.grid_sample(level, grid, padding_mode="border", align_corners=False)[:, :, 0]
                for level in features.maps
            ]
            points = points + self.local(torch.cat(sampled, 1).transpose(1, 2))
        return points

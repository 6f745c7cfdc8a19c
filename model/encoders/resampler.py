"""Perceiver resampler: many patch features to a few latents, one module for all views.

Dimensions: n images, m patches, r latents, c channels.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..attention import Attention
from ..config import ResamplerConfig
from ..transformer import INIT_STD


class _Layer(nn.Module):
    """Latents attend to patches and latents, then a GELU MLP; pre-LN on both sides, no biases."""

    def __init__(self, width: int, config: ResamplerConfig):
        super().__init__()
        self.patch_norm = nn.LayerNorm(width)
        self.latent_norm = nn.LayerNorm(width)
        self.attention = Attention(width, config.heads, head_dim=config.head_dim, bias=False)
        inner = config.mlp_ratio * width
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, inner, bias=False), nn.GELU(), nn.Linear(inner, width, bias=False)
        )

    def forward(
        self, latents: Float[Tensor, "n r c"], patches: Float[Tensor, "n m c"], *, capture: bool
    ) -> tuple[Float[Tensor, "n r c"], Float[Tensor, "n h r k"] | None]:
        queries = self.latent_norm(latents)
        context = torch.cat([self.patch_norm(patches), queries], 1)
        mixed, probabilities = self.attention(queries, context, rows=slice(None) if capture else None)
        latents = latents + mixed
        return latents + self.mlp(latents), probabilities


class Resampler(nn.Module):
    """Learned latents that look at the patches of one image.

    Args:
        width: Of patches and latents.
        config: Number of latents and sizes.
    """

    def __init__(self, width: int, config: ResamplerConfig):
        super().__init__()
        self.latents = nn.Parameter(torch.randn(config.latents, width) * INIT_STD)
        self.media = nn.Parameter(torch.randn(width) * INIT_STD)
        self.layers = nn.ModuleList(_Layer(width, config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)

    def forward(
        self, patches: Float[Tensor, "n m c"], *, capture: bool = False
    ) -> tuple[Float[Tensor, "n r c"], list[Float[Tensor, "n h r k"]]]:
        """Latents, and by layer their attention over patches and latents (k = m + r) if `capture`."""
        patches = patches + self.media
        latents = self.latents.expand(len(patches), -1, -1)
        captured: list[Tensor] = []
        for layer in self.layers:
            latents, probabilities = layer(latents, patches, capture=capture)
            if probabilities is not None:
                captured.append(probabilities)
        return self.norm(latents), captured

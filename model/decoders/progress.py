"""The progress decoder of the paper's backbone: how much of the task is done.

Dimensions: n frames (batch x time), d width.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..config import PolicyConfig
from ..transformer import INIT_STD, Block


class ProgressDecoder(nn.Module):
    """PROG output and a learned token through bidirectional blocks; the token becomes one number in 0..1."""

    def __init__(self, config: PolicyConfig):
        super().__init__()
        sizes = config.progress_decoder
        self.condition = nn.Linear(config.trunk.width, sizes.width)
        self.query = nn.Parameter(torch.randn(sizes.width) * INIT_STD)
        self.blocks = nn.ModuleList(
            Block(sizes.width, sizes.heads, sizes.mlp_ratio, "gelu") for _ in range(sizes.layers)
        )
        self.head = nn.Linear(sizes.width, 1)

    def forward(self, condition: Float[Tensor, "n 1 d"]) -> Float[Tensor, " n"]:
        """Share of the task that is done."""
        condition = self.condition(condition)
        query = self.query.to(condition.dtype).expand(len(condition), 1, -1)
        x = torch.cat([condition, query], 1)
        for block in self.blocks:
            x, _ = block(x)
        return self.head(x[:, -1]).float().sigmoid()[:, 0]

"""The action decoder: a conditional VAE over chunks of actions.

Dimensions: n frames (batch x time), k action step in the chunk, z latent, d width.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..config import ActionDecoderConfig, PolicyConfig
from ..transformer import INIT_STD, Block


class ActionEncoder(nn.Module):
    """The posterior over the latent, from the true chunk; in training only, always in float32."""

    def __init__(self, config: ActionDecoderConfig, chunk_size: int):
        super().__init__()
        self.arm = nn.Linear(6, config.width)
        self.gripper = nn.Embedding(2, config.width)
        self.fuse = nn.Linear(2 * config.width, config.width)
        self.cls = nn.Parameter(torch.randn(config.width) * INIT_STD)
        self.position = nn.Parameter(torch.randn(chunk_size + 1, config.width) * INIT_STD)
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_ratio, "gelu") for _ in range(config.layers)
        )
        self.head = nn.Linear(config.width, 2 * config.latent)

    def forward(self, action: Float[Tensor, "n k 7"]) -> tuple[Float[Tensor, "n z"], Float[Tensor, "n z"]]:
        """Mean and log-variance."""
        with torch.autocast(action.device.type, enabled=False):
            gripper = self.gripper((action[..., 6] > 0.5).long())
            steps = self.fuse(torch.cat([self.arm(action[..., :6].float()), gripper], -1))
            x = torch.cat([self.cls.expand(len(action), 1, -1), steps], 1) + self.position
            for block in self.blocks:
                x, _ = block(x)
            mean, logvar = self.head(x[:, 0]).chunk(2, -1)
        return mean, logvar


class ActionDecoder(nn.Module):
    """ACT output and a latent to a chunk: six arm values and a gripper logit (> 0 means open) a step."""

    def __init__(self, config: PolicyConfig):
        super().__init__()
        sizes, chunk_size = config.action, config.window.chunk_size
        self.latent_size, self.chunk_size = sizes.latent, chunk_size
        self.encoder = ActionEncoder(sizes, chunk_size)
        self.latent = nn.Linear(sizes.latent, sizes.width)
        self.condition = nn.Linear(config.trunk.width, sizes.width)
        self.queries = nn.Parameter(torch.randn(chunk_size, sizes.width) * INIT_STD)
        self.blocks = nn.ModuleList(
            Block(sizes.width, sizes.heads, sizes.mlp_ratio, "gelu") for _ in range(sizes.layers)
        )
        self.norm = nn.LayerNorm(sizes.width) if sizes.final_norm else nn.Identity()
        self.arm = nn.Linear(sizes.width, 6)
        self.gripper = nn.Linear(sizes.width, 1)

    def forward(
        self, condition: Float[Tensor, "n q d"], latent: Float[Tensor, "n z"] | None = None
    ) -> Float[Tensor, "n k 7"]:
        """The chunk; without a latent the prior's mean, zero, is used (inference).

        Args:
            condition: ACT outputs of the trunk, q queries a frame.
            latent: A sample of the posterior.
        """
        if latent is None:
            latent = condition.new_zeros(len(condition), self.latent_size)
        tokens = [
            self.latent(latent)[:, None],
            self.condition(condition),
            self.queries.expand(len(condition), -1, -1),
        ]
        x = torch.cat([token.to(tokens[1].dtype) for token in tokens], 1)
        for block in self.blocks:
            x, _ = block(x)
        x = self.norm(x[:, -self.chunk_size :])
        return torch.cat([self.arm(x), self.gripper(x)], -1).float()


def sample_latent(mean: Float[Tensor, "*n z"], logvar: Float[Tensor, "*n z"]) -> Float[Tensor, "*n z"]:
    """A draw from the posterior that lets the gradient through."""
    return mean + (0.5 * logvar).exp() * torch.randn_like(mean)

"""Proprioception to one STATE token a frame.

Dimensions: b batch, t frame, d width.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional


class StateEncoder(nn.Module):
    """Arm pose and gripper through a linear layer each, fused by a third."""

    def __init__(self, width: int):
        super().__init__()
        self.arm = nn.Linear(6, width)
        self.gripper = nn.Linear(2, width)
        self.fuse = nn.Linear(2 * width, width)

    def forward(self, arm: Float[Tensor, "b t 6"], gripper: Int64[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        """Tool pose relative to the window's first frame (metres, Euler xyz) and gripper (0 shut, 1 open)."""
        one_hot = functional.one_hot(gripper, 2).to(arm.dtype)
        return self.fuse(torch.cat([self.arm(arm), self.gripper(one_hot)], -1))

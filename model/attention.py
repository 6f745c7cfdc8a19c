"""Who may look at whom, and attention whose chosen rows can be looked at.

Dimensions: b batch, n tokens, q query rows, k key columns, r captured rows, d width, c channels of one head.

The mask is boolean, True = may attend; it reaches the fused kernel as it is (a finite constant would leak).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from .config import TokenConfig
from .tokens import Role, TokenLayout


def attention_mask(layout: TokenLayout, rules: TokenConfig) -> Bool[Tensor, "n n"]:
    """The mask of a full window, row = attending token, column = attended token.

    Padding is not in it: see `visible_keys`.
    """
    roles = [group.role for group in layout.tokens]
    names = [group.name for group in layout.tokens]
    group = torch.tensor([names.index(name) for name in names])
    frame, position = layout.frames, torch.arange(layout.length)

    def column(role: Role) -> Bool[Tensor, " n"]:
        return torch.tensor([item is role for item in roles])

    same_frame = frame[:, None] == frame[None, :]
    earlier_frame = frame[None, :] < frame[:, None]
    not_after = position[None, :] <= position[:, None]
    same_group = group[:, None] == group[None, :]
    is_goal, is_input = column(Role.GOAL), column(Role.INPUT)
    is_flow, is_future, is_action = column(Role.FLOW), column(Role.FUTURE), column(Role.ACTION)

    free_order = torch.tensor(rules.input_causality == "frame")
    to_goal = is_goal & (~is_goal[:, None] | free_order | not_after)
    to_input = is_input & (earlier_frame | (same_frame & (~is_input[:, None] | free_order | not_after)))
    allowed = to_goal | (to_input & ~is_goal[:, None])
    sees_flow = is_action | (is_future & rules.future_sees_flow)
    allowed |= same_frame & is_flow & sees_flow[:, None]
    if rules.query_group_attn == "group":
        is_query = ~(is_goal | is_input)
        own = same_group | (is_future[:, None] & is_future & rules.future_cross_view)
        allowed |= same_frame & is_query & own
    if rules.act_sees_future:
        allowed |= same_frame & is_future & is_action[:, None]
    return allowed


def visible_keys(
    layout: TokenLayout, views: tuple[str, ...], frame_mask: Bool[Tensor, "b t"], view_mask: Bool[Tensor, "b v"]
) -> Bool[Tensor, "b n"]:
    """False for the tokens of padded frames and of absent cameras: nobody may attend to them.

    LANG and STATE of frame 0 are always visible, so no row is ever wholly masked.
    """
    real = functional.pad(frame_mask, (1, 0), value=True)[:, (layout.frames + 1).to(frame_mask.device)]
    view = torch.tensor([views.index(group.view) if group.view else len(views) for group in layout.tokens])
    return real & functional.pad(view_mask, (0, 1), value=True)[:, view.to(view_mask.device)]


@dataclass(frozen=True, kw_only=True)
class Capture:
    """Asks a forward pass for attention probabilities; they come back in `Prediction.attention`, all float32.

    Keys and shapes (m counts layers from 0; every row sums to 1):
        `trunk.m`: (b, t, heads, r, n). Rows: the r tokens of group `rows` in each frame; columns: the whole
            sequence in the order of `Policy.layout`.
        `resampler.m`: (b, t, v, heads, latents, patches + latents). Columns: image patches in raster order, then the
            latents themselves.
        `flow.m`: (b, a, heads, p, FLOW tokens), with `flow.attention = "full"` (b, a, heads, p, FLOW tokens + p).

    Attributes:
        rows: Name of a token group of the layout.
        layers: Trunk layers to capture, None = all.
    """

    rows: str = "ACT"
    layers: tuple[int, ...] | None = None

    def wants(self, layer: int) -> bool:
        """Whether a trunk layer is asked for."""
        return self.layers is None or layer in self.layers


def attention_probabilities(
    q: Float[Tensor, "b h q c"], k: Float[Tensor, "b h k c"], mask: Bool[Tensor, "#b #h q k"] | None
) -> Float[Tensor, "b h q k"]:
    """softmax(q k^T / sqrt(c)) in float32 over the allowed keys, from the very q and k of the forward pass."""
    with torch.autocast(q.device.type, enabled=False):
        scores = q.float() @ k.float().transpose(-1, -2) / math.sqrt(q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        return scores.softmax(-1)


class Attention(nn.Module):
    """Multi-head attention on PyTorch's fused kernel; rows asked for are recomputed beside it.

    Args:
        width: Of the attending tokens and of the result.
        heads: Number of heads.
        head_dim: Channels of one head, width / heads if None.
        bias: Of the four projections.
        dropout: On the probabilities, in training.
    """

    def __init__(self, width: int, heads: int, *, head_dim: int | None = None, bias: bool = True, dropout: float = 0.0):
        super().__init__()
        inner = heads * (head_dim or width // heads)
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(width, inner, bias=bias)
        self.key_value = nn.Linear(width, 2 * inner, bias=bias)
        self.out = nn.Linear(inner, width, bias=bias)

    def _split(self, x: Float[Tensor, "b n i"]) -> Float[Tensor, "b h n c"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(
        self,
        x: Float[Tensor, "b q d"],
        context: Float[Tensor, "b k d"] | None = None,
        *,
        mask: Bool[Tensor, "#b 1 q k"] | None = None,
        rows: Int64[Tensor, " r"] | slice | None = None,
    ) -> tuple[Float[Tensor, "b q d"], Float[Tensor, "b h r k"] | None]:
        """Attends from `x` to `context` (to itself if None).

        Returns:
            The result, and the probabilities of `rows` (None if no rows were asked for).
        """
        q = self._split(self.query(x))
        k, v = map(self._split, self.key_value(x if context is None else context).chunk(2, -1))
        dropout = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        result = self.out(mixed.transpose(1, 2).flatten(2))
        if rows is None:
            return result, None
        return result, attention_probabilities(q[:, :, rows], k, None if mask is None else mask[:, :, rows])

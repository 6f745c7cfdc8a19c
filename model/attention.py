"""Who may look at whom, and attention whose chosen rows can be looked at.

Dimensions: b batch, n tokens, q query rows, k key columns, r captured rows, d width, c channels of one head.

The mask is boolean, True = may attend; it reaches the fused kernel as it is (a finite constant would leak).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from .config import TokenConfig
from .errors import CaptureError
from .tokens import Role, TokenLayout

CAPTURE_TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""How far captured probabilities times V may lie from the fused result, as a share of the largest value of V, by the
dtype of the forward pass: rounding of a few hundred float32 terms, or of one half-precision result."""


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
    return real_tokens(presence_columns(layout, views).to(frame_mask.device), frame_mask, view_mask)


def presence_columns(layout: TokenLayout, views: tuple[str, ...]) -> Int64[Tensor, "2 n"]:
    """For every token the entries of [True, frame_mask] and of [view_mask, True] that say whether it is real."""
    view = torch.tensor([views.index(group.view) if group.view else len(views) for group in layout.tokens])
    return torch.stack([layout.frames + 1, view])


def real_tokens(
    columns: Int64[Tensor, "2 n"], frame_mask: Bool[Tensor, "b t"], view_mask: Bool[Tensor, "b v"]
) -> Bool[Tensor, "b n"]:
    """`visible_keys` from the layout's `presence_columns`, which a policy keeps on its device."""
    frame, view = columns
    return (
        functional.pad(frame_mask, (1, 0), value=True)[:, frame]
        & functional.pad(view_mask, (0, 1), value=True)[:, view]
    )


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
        rows: A token group of the layout, or several: their rows then follow each other in this order.
        layers: Trunk layers to capture, None = all.
        heads: Trunk heads to capture, in this order, None = all.
    """

    rows: str | tuple[str, ...] = "ACT"
    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None

    def wants(self, layer: int) -> bool:
        """Whether a trunk layer is asked for."""
        return self.layers is None or layer in self.layers

    def positions(self, layout: TokenLayout) -> Int64[Tensor, "t r"]:
        """Sequence positions of the asked rows, by frame. An unknown group raises KeyError."""
        names = (self.rows,) if isinstance(self.rows, str) else self.rows
        return torch.cat([layout.indices(name).unflatten(0, (layout.n_frames, -1)) for name in names], 1)


def attention_probabilities(
    q: Float[Tensor, "b h q c"], k: Float[Tensor, "b h k c"], mask: Bool[Tensor, "#b #h q k"] | None
) -> Float[Tensor, "b h q k"]:
    """softmax(q k^T / sqrt(c)) over the allowed keys, from the very q and k of the forward pass; at least float32."""
    with torch.autocast(q.device.type, enabled=False):
        if q.dtype != torch.float64:
            q, k = q.float(), k.float()
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        return scores.softmax(-1)


def use_attention(module: nn.Module, implementation: Literal["sdpa", "eager"]) -> None:
    """Sets how all attention inside `module` is computed: PyTorch's fused kernel (the default), or written out.

    The result is the same up to rounding. It is a way to run, not a property of the weights: no checkpoint stores it.
    """
    for part in module.modules():
        if isinstance(part, Attention):
            part.implementation = implementation


def check_captures(module: nn.Module, on: bool = True) -> None:
    """From now on every capture inside `module` is compared with the fused result; a mismatch raises CaptureError.

    Costs one small product for each captured layer. Not checked while dropout is active: the kernel's draw is its own.
    """
    for part in module.modules():
        if isinstance(part, Attention):
            part.check = on


def capture_deviation(
    probabilities: Float[Tensor, "b h r k"], v: Float[Tensor, "b h k c"], fused: Float[Tensor, "b h r c"]
) -> float:
    """Largest |probabilities @ V - fused result|, as a share of the largest |V|."""
    with torch.no_grad(), torch.autocast(v.device.type, enabled=False):
        again = probabilities @ v.to(probabilities.dtype)
        return float((again - fused).abs().amax() / v.abs().amax().clamp_min(1e-12))


class Attention(nn.Module):
    """Multi-head attention on PyTorch's fused kernel; rows asked for are recomputed beside it.

    Attributes:
        check: Captured probabilities must reproduce the fused result, see `check_captures`.

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
        self.check = False
        self.implementation: Literal["sdpa", "eager"] = "sdpa"
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
        heads: tuple[int, ...] | None = None,
    ) -> tuple[Float[Tensor, "b q d"], Float[Tensor, "b h r k"] | None]:
        """Attends from `x` to `context` (to itself if None).

        Returns:
            The result, and the probabilities of `rows` and `heads` (None if no rows were asked for).

        Raises:
            CaptureError: `check` is on and the probabilities do not reproduce the result.
        """
        q = self._split(self.query(x))
        k, v = map(self._split, self.key_value(x if context is None else context).chunk(2, -1))
        dropout = self.dropout if self.training else 0.0
        if self.implementation == "eager":
            weights = functional.dropout(attention_probabilities(q, k, mask), dropout)
            mixed = weights.to(v.dtype) @ v
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        result = self.out(mixed.transpose(1, 2).flatten(2))
        if rows is None:
            return result, None
        chosen = slice(None) if heads is None else list(heads)
        q, k, v, mixed = q[:, chosen][:, :, rows], k[:, chosen], v[:, chosen], mixed[:, chosen][:, :, rows]
        probabilities = attention_probabilities(q, k, None if mask is None else mask[:, :, rows])
        if self.check and not dropout:
            _require_parity(capture_deviation(probabilities, v, mixed), v.dtype)
        return result, probabilities


def _require_parity(deviation: float, dtype: torch.dtype) -> None:
    limit = CAPTURE_TOLERANCE[dtype]
    if not deviation <= limit:  # NaN is a mismatch too
        raise CaptureError(
            f"captured attention times V differs from the fused result by {deviation:.2g} of the largest value "
            f"(allowed: {limit:g} in {dtype}): the attention shown would not be the attention used"
        )

"""What a mask lets through when layers follow one another: boolean closure, hops, and the path of an influence.

Dimensions: n token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


def with_self(mask: Bool[Tensor, "n n"]) -> Bool[Tensor, "n n"]:
    """What one layer connects: the mask, and every token with itself through the residual stream."""
    return mask | torch.eye(len(mask), dtype=torch.bool)


def reach(masks: Sequence[Bool[Tensor, "n n"]]) -> Bool[Tensor, "n n"]:
    """What all layers together connect: the boolean product of (mask | I), first layer first."""
    return hops(masks) >= 0


def hops(masks: Sequence[Bool[Tensor, "n n"]]) -> Int64[Tensor, "n n"]:
    """After how many layers column can first have influenced row; 0 on the diagonal, -1 if never."""
    reached = torch.eye(len(masks[0]), dtype=torch.bool)
    first = torch.where(reached, 0, -1)
    for layer, mask in enumerate(masks, 1):
        reached = with_self(mask).float() @ reached.float() > 0
        first = torch.where(reached & (first < 0), layer, first)
    return first


def shortest_path(masks: Sequence[Bool[Tensor, "n n"]], row: int, column: int) -> list[tuple[int, int, int]]:
    """The earliest way from `column` to `row` as hops (layer from 1, from position, to position).

    Empty if there is none, or if they are the same token.
    """
    came: dict[int, tuple[int, int]] = {}
    reached = torch.zeros(len(masks[0]), dtype=torch.bool)
    reached[column] = True
    for layer, mask in enumerate(masks, 1):
        known = reached.nonzero()[:, 0]
        hits = mask[:, known]
        fresh = (hits.any(1) & ~reached).nonzero()[:, 0]
        sources = known[hits[fresh].int().argmax(1)]
        came |= {int(to): (layer, int(source)) for to, source in zip(fresh, sources, strict=True)}
        reached[fresh] = True
        if bool(reached[row]):
            break
    steps: list[tuple[int, int, int]] = []
    while row in came:
        layer, source = came[row]
        steps.append((layer, source, row))
        row = source
    return steps[::-1]

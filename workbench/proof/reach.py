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


class Paths:
    """The earliest ways of an influence through layers; the closure is computed once for all of them."""

    def __init__(self, masks: Sequence[Bool[Tensor, "n n"]]):
        self._masks, self._first = masks, hops(masks)

    def shortest(self, row: int, column: int) -> list[tuple[int, int, int]]:
        """From `column` to `row` as hops (layer from 1, from position, to position).

        Empty if there is none, or if they are the same token.
        """
        steps: list[tuple[int, int, int]] = []
        first = self._first[:, column]
        while (layer := int(first[row])) > 0:
            reached = (first >= 0) & (first < layer)
            source = int((self._masks[layer - 1][row] & reached).int().argmax())
            steps.append((layer, source, row))
            row = source
        return steps[::-1]

"""What was measured, pair of tokens by pair of tokens, whatever the method.

Dimensions: q rows, k columns: all tokens, or the rows that were read.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Evidence:
    """Influence of column (token in) on row (token out).

    Attributes:
        measured: The pair was measured.
        active: It had an influence, of the pair alone or of the column together with others of its group.
        alone: It was measured without any other column.
        magnitude: The largest.
    """

    measured: Bool[Tensor, "q k"]
    active: Bool[Tensor, "q k"]
    alone: Bool[Tensor, "q k"]
    magnitude: Float[Tensor, "q k"]

    @classmethod
    def of(cls, length: int) -> Evidence:
        """Nothing yet."""
        no = torch.zeros(length, length, dtype=torch.bool)
        return cls(no.clone(), no.clone(), no.clone(), torch.zeros(length, length))

    def add(self, rows: Tensor, columns: Tensor, magnitude: Tensor | float, *, alone: bool) -> None:
        """Notes the influence of columns on rows.

        Args:
            rows: Positions (r).
            columns: Positions (c).
            magnitude: Broadcast to (r, c); 0 is no influence, NaN leaves the pair unmeasured.
            alone: Each column was measured without the others.
        """
        at = (rows[:, None], columns[None, :])
        value = torch.as_tensor(magnitude, dtype=torch.float64).expand(len(rows), len(columns))
        known, moved = ~value.isnan(), value > 0
        # Rounded to float32 a tiny influence must not become none, nor a huge one infinite.
        limits = torch.finfo(torch.float32)
        shown = torch.where(moved, value.clamp(limits.tiny, limits.max), 0.0).float()
        self.measured[at] |= known
        self.active[at] |= moved
        self.alone[at] |= known & alone
        self.magnitude[at] = torch.maximum(self.magnitude[at], shown)

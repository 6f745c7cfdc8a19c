"""Every token pair's cell, and what is true of all cells at once: counting by cell instead of cutting out each.

Dimensions: q rows that were read, k columns (all tokens), c cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from .evidence import Evidence
from .report import Extent, Relation
from .sequence import RELATION_SIGN, TokenTable

_RELATIONS = {sign: relation for relation, sign in RELATION_SIGN.items()}


@dataclass(frozen=True, kw_only=True)
class Partition:
    """The rows that were read, by cells.

    Attributes:
        rows: Their positions.
        cells: Attending group, attended group, relation of every cell that has pairs, in the order of the layout.
        number: Index into `cells` of every pair.
        itself: Where a token meets itself.
    """

    rows: Int64[Tensor, " q"]
    cells: tuple[tuple[int, int, Relation], ...]
    number: Int64[Tensor, "q k"]
    itself: Bool[Tensor, "q k"]

    @classmethod
    def of(cls, table: TokenTable, read: Bool[Tensor, " n"]) -> Partition:
        """All cells that have pairs among the rows that were read."""
        rows, groups = read.nonzero()[:, 0], len(table.groups)
        code = (table.group[rows][:, None] * groups + table.group) * 3 + table.relation[rows] + 1
        present, number = torch.unique(code, return_inverse=True)
        cells = [(code // 3 // groups, code // 3 % groups, _RELATIONS[code % 3 - 1]) for code in present.tolist()]
        return cls(rows=rows, cells=tuple(cells), number=number, itself=rows[:, None] == torch.arange(len(table.group)))

    def cut(self, whole: Tensor) -> Tensor:
        """The rows that were read of a matrix of all tokens."""
        return whole[self.rows]

    def evidence(self, whole: Evidence) -> Evidence:
        """The rows that were read of what was measured."""
        return Evidence(*(self.cut(item) for item in (whole.measured, whole.active, whole.alone, whole.magnitude)))

    def count(self, pairs: Bool[Tensor, "q k"]) -> Int64[Tensor, " c"]:
        """How many of the pairs lie in every cell."""
        return torch.bincount(self.number[pairs], minlength=len(self.cells))

    def extents(self, pairs: Bool[Tensor, "q k"]) -> list[Extent]:
        """None, some or all pairs of every cell."""
        counted = zip(self.count(pairs).tolist(), self._sizes, strict=True)
        return [extent_of(count, size) for count, size in counted]

    def largest(self, values: Float[Tensor, "q k"], among: Bool[Tensor, "q k"]) -> Float[Tensor, " c"]:
        """Of the values (>= 0) in every cell, 0 where there are none."""
        return values.new_zeros(len(self.cells)).scatter_reduce(0, self.number[among], values[among], "amax")

    def smallest(self, values: Int64[Tensor, "q k"], among: Bool[Tensor, "q k"]) -> list[int | None]:
        """Of the values in every cell, None where there are none."""
        none = torch.iinfo(torch.int64).max
        found = values.new_full((len(self.cells),), none).scatter_reduce(0, self.number[among], values[among], "amin")
        return [None if value == none else value for value in found.tolist()]

    def best(self, score: Float[Tensor, "q k"], among: Bool[Tensor, "q k"]) -> list[tuple[int, int] | None]:
        """Row and column position of the first pair with the largest score in every cell; None where there is none."""
        top = self.largest(score, among)
        hits = (among & (score == top[self.number])).flatten().nonzero()[:, 0]
        none, columns = self.number.numel(), self.number.shape[1]
        first = hits.new_full((len(self.cells),), none).scatter_reduce(0, self.number.flatten()[hits], hits, "amin")
        rows = self.rows.tolist()
        return [None if flat == none else (rows[flat // columns], flat % columns) for flat in first.tolist()]

    @cached_property
    def _sizes(self) -> list[int]:
        return torch.bincount(self.number.flatten(), minlength=len(self.cells)).tolist()


def extent_of(count: int, size: int) -> Extent:
    """None, some or all of so many pairs."""
    if count == 0:
        return Extent.NONE
    return Extent.ALL if count == size else Extent.SOME

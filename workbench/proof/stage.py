"""One comparison of what was measured with what may be: end to end, or in one layer, for all cells at once.

Dimensions: q rows that were read, k columns (all tokens), c cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from .evidence import Evidence
from .findings import Findings
from .partition import Partition, extent_of
from .reach import hops
from .report import Influence, Verdict, worst

_Influences = Sequence[Influence | None]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One comparison.

    Attributes:
        layer: Counted from 1, None end to end.
        gradient, perturbation: What each method measured, by cell.
        verdicts: By cell.
        soft: By cell: a leak only because a finite constant stands where -inf must.
        leaks: Pairs with an influence that they must not have.
        dead: Pairs without one that they should have, or that were not measured.
        active: Pairs with an influence.
        evidence: What was measured.
    """

    layer: int | None
    gradient: _Influences
    perturbation: _Influences
    verdicts: Sequence[Verdict]
    soft: Sequence[bool]
    leaks: Bool[Tensor, "q k"]
    dead: Bool[Tensor, "q k"]
    active: Bool[Tensor, "q k"]
    evidence: tuple[Evidence, ...]


def end_to_end(cells: Partition, found: Findings) -> Stage:
    """Trunk outputs against assembled tokens."""
    measured = _Measured.of(cells, found.gradient, found.perturbation)
    expected = cells.cut(found.expected)
    through = cells.cut(hops(found.arrived) >= 0) if found.arrived else None
    unknown = ~measured.known
    if found.sampled:
        unknown &= (cells.count(measured.known) == 0)[cells.number]
    leaks, dead, unsure = measured.against(expected, through, unknown, exact=found.exact)
    return _stage(cells, measured, expected, leaks=leaks, dead=dead, unsure=unsure)


def one_layer(cells: Partition, found: Findings, index: int) -> Stage:
    """One layer alone; a mask that was read speaks for itself, and a finite constant is a leak whatever it does."""
    gradients, perturbations = found.layer_gradients, found.layer_perturbations
    measured = _Measured.of(
        cells, gradients[index] if gradients else None, perturbations[index] if perturbations else None
    )
    declared = cells.cut(found.declared)
    arrived = cells.cut(found.arrived[index]) if found.arrived else None
    none = torch.zeros_like(declared)
    leaks, dead, unsure = none, none, none
    if gradients or perturbations:
        leaks, dead, unsure = measured.against(declared | cells.itself, arrived, ~measured.known, exact=found.exact)
    if arrived is not None:
        # Also where rows were measured together or a weight underflows.
        leaks, dead = leaks | (arrived & ~declared), dead | (declared & ~arrived)
    soft = cells.cut(found.soft[index]) if found.soft else none
    return _stage(
        cells, measured, declared | cells.itself, leaks=leaks, dead=dead, unsure=unsure, soft=soft, layer=index + 1
    )


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """Two methods side by side; pairs that a method did not measure are False everywhere."""

    gradient: Evidence | None
    perturbation: Evidence | None
    known: Bool[Tensor, "q k"]
    active: Bool[Tensor, "q k"]
    live: Bool[Tensor, "q k"]

    @classmethod
    def of(cls, cells: Partition, gradient: Evidence | None, perturbation: Evidence | None) -> _Measured:
        """The rows that were read."""
        slope, change = (None if item is None else cells.evidence(item) for item in (gradient, perturbation))
        none = torch.zeros_like(cells.itself)
        seen, moved = (none, none) if slope is None else (slope.measured, slope.active)
        shaken, changed, alone = (
            (none, none, none) if change is None else (change.measured, change.active, change.alone)
        )
        # A group that changes a row as a whole does not show that each of its tokens does: the gradient tells.
        # A gradient over the rows of several groups does not show that each of them has it: the replacement tells.
        clear = none if slope is None else slope.alone | changed | ~shaken
        live = (moved & clear) | (changed & (alone | ~seen))
        return cls(gradient=slope, perturbation=change, known=seen | shaken, active=moved | changed, live=live)

    def against(
        self,
        expected: Bool[Tensor, "q k"],
        arrived: Bool[Tensor, "q k"] | None,
        unknown: Bool[Tensor, "q k"],
        *,
        exact: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs that leak, are dead, are undecided. `arrived` is what masks let through, if they could be read."""
        leaks, dead = self.active & ~expected, expected & self.known & ~self.live
        if not exact:
            return leaks, torch.zeros_like(dead), unknown | dead
        if arrived is not None:
            return leaks, dead & ~arrived, unknown | (dead & arrived)
        return leaks, dead, unknown


def _stage(
    cells: Partition,
    measured: _Measured,
    expected: Tensor,
    *,
    leaks: Tensor,
    dead: Tensor,
    unsure: Tensor,
    soft: Tensor | None = None,
    layer: int | None = None,
) -> Stage:
    counted = (leaks, dead, unsure) if soft is None else (leaks | soft, dead, unsure)
    which = ((cells.count(pairs) > 0).tolist() for pairs in counted)
    names = (Verdict.LEAK, Verdict.DEAD, Verdict.UNDECIDED)
    verdicts = [
        worst([name for name, has in zip(names, cell, strict=True) if has]) for cell in zip(*which, strict=True)
    ]
    only_soft = [False] * len(verdicts)
    if soft is not None:
        only_soft = ((cells.count(soft) > 0) & (cells.count(leaks) == 0)).tolist()
    return Stage(
        layer=layer,
        gradient=_influences(cells, measured.gradient, expected),
        perturbation=_influences(cells, measured.perturbation, expected),
        verdicts=verdicts,
        soft=only_soft,
        leaks=counted[0],
        dead=dead | unsure,
        active=measured.active,
        evidence=tuple(item for item in (measured.gradient, measured.perturbation) if item is not None),
    )


def _influences(cells: Partition, found: Evidence | None, expected: Tensor) -> _Influences:
    """What one method measured in every cell; None where it measured nothing."""
    if found is None:
        return [None] * len(cells.cells)
    measured, active = found.measured, found.active & found.measured
    counts: list[Int64[Tensor, " c"]] = [
        cells.count(pairs) for pairs in (measured, active, active & ~expected, measured & expected & ~active)
    ]
    columns = torch.stack(counts, 1).tolist()
    largest = cells.largest(found.magnitude, measured).tolist()
    return [
        Influence(
            extent=extent_of(moved, number),
            measured=number,
            active=moved,
            leaking=leaking,
            dead=dead,
            magnitude=magnitude,
        )
        if number
        else None
        for (number, moved, leaking, dead), magnitude in zip(columns, largest, strict=True)
    ]

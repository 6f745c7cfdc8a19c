"""From evidence to verdicts: every cell, end to end and layer by layer."""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from .findings import Findings, Reproduction
from .partition import Partition
from .reach import Paths
from .report import Cell, LayerResult, Verdict, worst
from .sequence import TokenTable
from .stage import Stage, end_to_end, one_layer


def judge(table: TokenTable, found: Findings, again: Reproduction) -> tuple[Cell, ...]:
    """All cells that have token pairs among the rows that were read."""
    judgement = _Judgement(table, found, again)
    return tuple(judgement.cell(index) for index in range(len(judgement.cells.cells)))


class _Judgement:
    """What holds for all cells together, looked up cell by cell."""

    def __init__(self, table: TokenTable, found: Findings, again: Reproduction):
        self._table, self._found, self._again = table, found, again
        self.cells = Partition.of(table, found.rows)
        self._whole = end_to_end(self.cells, found)
        self._layers = [one_layer(self.cells, found, index) for index in range(found.layer_count)]
        self._declared = self.cells.extents(self.cells.cut(found.declared))
        self._expected = self.cells.extents(self.cells.cut(found.expected))
        self._paths = Paths(found.ways)
        self._examples: dict[tuple[int | None, Verdict], list[tuple[int, int] | None]] = {}

    def cell(self, index: int) -> Cell:
        """One cell; blamed is the first stage that shows its verdict."""
        stages = [self._whole, *self._layers]
        verdict = worst([stage.verdicts[index] for stage in stages])
        blamed = next(stage for stage in stages if stage.verdicts[index] is verdict)
        example = self._example(blamed, verdict)[index]
        attender, attended, relation = self.cells.cells[index]
        used = self._whole.gradient[index] or self._whole.perturbation[index]
        label = " <- ".join(self._table.label(position) for position in example) if example else ""
        return Cell(
            attender=self._table.groups[attender].name,
            attended=self._table.groups[attended].name,
            relation=relation,
            declared=self._declared[index],
            reach=self._expected[index],
            gradient=self._whole.gradient[index],
            perturbation=self._whole.perturbation[index],
            layers=tuple(_result(stage, index) for stage in self._layers),
            verdict=verdict,
            magnitude=used.magnitude if used else 0.0,
            first_layer=self._first_layer(index, verdict, blamed.layer),
            path=self._path(example) if example and verdict is not Verdict.DEAD else (),
            example=label,
            detail=self._detail(blamed, verdict, index),
            reproducer=self._again.line(*example, blamed.layer, label) if example and verdict is not Verdict.OK else "",
        )

    def _example(self, stage: Stage, verdict: Verdict) -> list[tuple[int, int] | None]:
        """By cell the pair with the largest influence of those that show the verdict, itself only if unavoidable."""
        key = (stage.layer, verdict)
        if key not in self._examples:
            shown = _shown(stage, verdict)
            score = shown.float()
            for evidence in stage.evidence:
                score = score + evidence.magnitude.clamp_max(1e30)
            self._examples[key] = self.cells.best(score.masked_fill(self.cells.itself, 0.5), shown)
        return self._examples[key]

    def _first_layer(self, index: int, verdict: Verdict, where: int | None) -> int | None:
        """After how many layers the influence was first seen."""
        if verdict is Verdict.DEAD:
            return where
        if verdict is Verdict.LEAK and where is None:
            where = next((stage.layer for stage in self._layers if stage.verdicts[index] is verdict), None)
        leaking = self._whole.verdicts[index] is Verdict.LEAK
        first = (self._first_leaks if leaking else self._first_active)[index]
        return where if first is None else min(first, where or len(self._found.layer_gradients) or first)

    @cached_property
    def _first_active(self) -> list[int | None]:
        return self._first(self._whole.active)

    @cached_property
    def _first_leaks(self) -> list[int | None]:
        return self._first(self._whole.leaks)

    def _first(self, shown: Tensor) -> list[int | None]:
        """By cell, after how many layers the first of these pairs was seen to change."""
        if self._found.first is None:
            return [None] * len(self.cells.cells)
        first = self.cells.cut(self._found.first)
        return self.cells.smallest(first, shown & (first > 0))

    def _path(self, example: tuple[int, int]) -> tuple[str, ...]:
        """The shortest way from token to token."""
        label = self._table.label
        steps = self._paths.shortest(*example)
        return tuple(f"{label(a)} -> {label(b)} (layer {layer})" for layer, a, b in steps)

    def _detail(self, stage: Stage, verdict: Verdict, index: int) -> str:
        """One sentence."""
        place = "end to end" if stage.layer is None else f"in layer {stage.layer}"
        if verdict is Verdict.OK:
            return "as declared, end to end and in every layer" if self._layers else "as declared, end to end"
        pairs = int((_shown(stage, verdict) & (self.cells.number == index)).sum())
        if verdict is Verdict.LEAK:
            if stage.soft[index]:
                return f"{place} a finite constant stands where -inf must: {pairs} token pairs"
            return f"{place} {pairs} token pairs have an influence that the mask forbids"
        if verdict is Verdict.DEAD:
            return f"{place} {pairs} token pairs are allowed, yet have no influence"
        return f"{place} {pairs} token pairs were not measured, or too small to tell from nothing"


def _shown(stage: Stage, verdict: Verdict) -> Tensor:
    """The pairs that show a verdict."""
    return {Verdict.LEAK: stage.leaks, Verdict.OK: stage.active}.get(verdict, stage.dead)


def _result(stage: Stage, index: int) -> LayerResult:
    return LayerResult(
        layer=stage.layer or 0,
        gradient=stage.gradient[index],
        perturbation=stage.perturbation[index],
        verdict=stage.verdicts[index],
    )

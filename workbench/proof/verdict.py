"""From evidence to verdicts: every cell, end to end and layer by layer.

Dimensions: q rows, k columns: all tokens, or those of two groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from .evidence import Evidence
from .reach import hops, shortest_path
from .report import Cell, Influence, LayerResult, Relation, Verdict
from .sequence import RELATION_SIGN, TokenTable, extent

_WORST = (Verdict.LEAK, Verdict.DEAD, Verdict.UNDECIDED, Verdict.OK)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything measured in one mode.

    Attributes:
        declared: The mask of one layer.
        expected: What end to end may have an influence.
        rows: Whose outputs were read.
        gradient, perturbation: End to end; None if not measured.
        layer_gradients, layer_perturbations: Each layer alone; empty if not measured.
        first: After how many layers column first changed row, 0 where it did not.
        arrived: By layer, the mask that reached attention; empty if it could not be read.
        soft: By layer, pairs kept apart by a finite constant only.
        itself: In a part of the matrices, where a token meets itself.
        exact: Zero means no influence, and underflow is excluded as far as float64 goes. False under autocast and with
            dropout, where an allowed pair without influence is UNDECIDED.
        sampled: Some pairs of a cell stand for all that it allows.
    """

    declared: Bool[Tensor, "q k"]
    expected: Bool[Tensor, "q k"]
    rows: Bool[Tensor, " _n"]
    gradient: Evidence | None = None
    perturbation: Evidence | None = None
    layer_gradients: tuple[Evidence, ...] = ()
    layer_perturbations: tuple[Evidence, ...] = ()
    first: Int64[Tensor, "q k"] | None = None
    arrived: tuple[Bool[Tensor, "q k"], ...] = ()
    soft: tuple[Bool[Tensor, "q k"], ...] = ()
    itself: Bool[Tensor, "q k"] | None = None
    exact: bool = True
    sampled: bool = False


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """How a line of Python runs the subject again.

    Attributes:
        expression: Makes the subject.
        function: Of `workbench.proof.reproduce`.
        mode: It ran in.
        seed: Of the tokens.
    """

    expression: str
    mode: str
    seed: int
    function: str = "pair_influence"

    def line(self, row: int, column: int, layer: int | None, what: str) -> str:
        """The line for one pair."""
        where = "" if layer is None else f", layer={layer}"
        return (
            "from workbench.proof.reproduce import *; "
            f'print({self.function}({self.expression}, "{self.mode}", {row}, {column}{where}, seed={self.seed}))'
            f"  # {what}"
        )


@dataclass
class _Stage:
    """One comparison of one cell: end to end (layer None) or one layer."""

    layer: int | None
    gradient: Influence | None
    perturbation: Influence | None
    verdict: Verdict
    leaks: Tensor
    dead: Tensor
    active: Tensor
    soft: bool = field(default=False)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """LEAK before DEAD before UNDECIDED before OK."""
    return min(verdicts, key=_WORST.index, default=Verdict.OK)


def judge(table: TokenTable, found: Findings, again: Reproduction) -> tuple[Cell, ...]:
    """All cells that have token pairs among the rows that were read."""
    ways = _ways(found)
    through = hops(found.arrived) >= 0 if found.arrived else None
    cells: list[Cell] = []
    for q, row in enumerate(table.groups):
        for k, column in enumerate(table.groups):
            block = _Block(rows=((table.group == q) & found.rows).nonzero()[:, 0], columns=table.positions(k))
            part = _cut(found, block)
            arrived = None if through is None else block.of(through)
            for relation, sign in RELATION_SIGN.items():
                pairs = block.of(table.relation) == sign
                if bool(pairs.any()):
                    name = (row.name, column.name, relation)
                    cells.append(_cell(table, part, again, name, pairs, block=block, through=arrived, ways=ways))
    return tuple(cells)


@dataclass(frozen=True, kw_only=True)
class _Block:
    """Rows and columns of two groups."""

    rows: Tensor
    columns: Tensor

    def of(self, whole: Tensor) -> Tensor:
        """Their part of a matrix."""
        return whole[self.rows[:, None], self.columns]

    def evidence(self, whole: Evidence) -> Evidence:
        """Their part of what was measured."""
        return Evidence(*(self.of(item) for item in (whole.measured, whole.active, whole.alone, whole.magnitude)))


def _cut(found: Findings, block: _Block) -> Findings:
    return replace(
        found,
        declared=block.of(found.declared),
        expected=block.of(found.expected),
        itself=block.of(torch.eye(len(found.declared), dtype=torch.bool)),
        gradient=block.evidence(found.gradient) if found.gradient else None,
        perturbation=block.evidence(found.perturbation) if found.perturbation else None,
        layer_gradients=tuple(map(block.evidence, found.layer_gradients)),
        layer_perturbations=tuple(map(block.evidence, found.layer_perturbations)),
        first=block.of(found.first) if found.first is not None else None,
        arrived=tuple(map(block.of, found.arrived)),
        soft=tuple(map(block.of, found.soft)),
    )


def _ways(found: Findings) -> list[Tensor]:
    """By layer, everything that was declared, seen to arrive or measured to act: along which influence can flow."""
    count = max(_layer_count(found), len(found.arrived), 1)
    ways: list[Tensor] = []
    for index in range(count):
        mask = found.arrived[index] if found.arrived else found.declared
        for evidence in (found.layer_gradients, found.layer_perturbations):
            if evidence:
                mask = mask | (evidence[index].active & evidence[index].alone)
        ways.append(mask)
    return ways


def influence(found: Evidence, pairs: Tensor, expected: Tensor) -> Influence | None:
    """What one method measured on some pairs; None if it measured none of them."""
    measured = found.measured & pairs
    if not bool(measured.any()):
        return None
    active = found.active & measured
    return Influence(
        extent=extent(active[measured]),
        measured=int(measured.sum()),
        active=int(active.sum()),
        leaking=int((active & ~expected).sum()),
        dead=int((measured & expected & ~active).sum()),
        magnitude=float(found.magnitude[measured].max()),
    )


def _compare(
    pairs: Tensor,
    expected: Tensor,
    gradient: Evidence | None,
    perturbation: Evidence | None,
    *,
    arrived: Tensor | None,
    exact: bool,
    layer: int | None,
    sampled: bool = False,
) -> _Stage:
    """One stage of one cell. `arrived` is what the masks that were read let through, if they could be read."""
    none = torch.zeros_like(pairs)
    seen = gradient.measured if gradient else none
    moved = gradient.active if gradient else none
    shaken = perturbation.measured if perturbation else none
    changed = perturbation.active if perturbation else none
    alone = perturbation.alone if perturbation else none
    active = pairs & (moved | changed)
    leaks = active & ~expected
    # A group that changes a row as a whole does not show that each of its tokens does: the gradient tells.
    # A gradient over the rows of several groups does not show that each of them has it: the replacement tells.
    clear = gradient.alone | changed | ~shaken if gradient else none
    live = (moved & clear) | (changed & (alone | ~seen))
    dead = pairs & expected & (seen | shaken) & ~live
    unsure = pairs & ~(seen | shaken)
    if sampled and bool((pairs & (seen | shaken)).any()):
        unsure = none
    if not exact:
        unsure, dead = unsure | dead, none
    elif arrived is not None:
        unsure, dead = unsure | (dead & arrived), dead & ~arrived
    verdicts = [(leaks, Verdict.LEAK), (dead, Verdict.DEAD), (unsure, Verdict.UNDECIDED)]
    return _Stage(
        layer=layer,
        gradient=influence(gradient, pairs, expected) if gradient else None,
        perturbation=influence(perturbation, pairs, expected) if perturbation else None,
        verdict=worst([verdict for which, verdict in verdicts if bool(which.any())]),
        leaks=leaks,
        dead=dead | unsure,
        active=active,
    )


def _cell(
    table: TokenTable,
    found: Findings,
    again: Reproduction,
    name: tuple[str, str, Relation],
    pairs: Tensor,
    *,
    block: _Block,
    through: Tensor | None,
    ways: Sequence[Tensor],
) -> Cell:
    """One cell; `found` and `pairs` are those of `block`, `through` what the masks that were read let through there."""
    whole = _compare(
        pairs,
        found.expected,
        found.gradient,
        found.perturbation,
        arrived=through,
        exact=found.exact,
        layer=None,
        sampled=found.sampled,
    )
    layers = [_layer(found, pairs, index) for index in range(_layer_count(found))]
    stages = [whole, *layers]
    verdict = worst([stage.verdict for stage in stages])
    blamed = next((stage for stage in stages if stage.verdict is verdict), whole)
    example = _example(found, blamed, verdict, block)
    label = " <- ".join(table.label(position) for position in example) if example else ""
    where = blamed.layer
    if verdict is Verdict.LEAK and where is None:
        where = next((stage.layer for stage in layers if stage.verdict is Verdict.LEAK), None)
    used = whole.gradient or whole.perturbation
    return Cell(
        attender=name[0],
        attended=name[1],
        relation=name[2],
        declared=extent(found.declared[pairs]),
        reach=extent(found.expected[pairs]),
        gradient=whole.gradient,
        perturbation=whole.perturbation,
        layers=tuple(
            LayerResult(
                layer=stage.layer or 0,
                gradient=stage.gradient,
                perturbation=stage.perturbation,
                verdict=stage.verdict,
            )
            for stage in layers
        ),
        verdict=verdict,
        magnitude=used.magnitude if used else 0.0,
        first_layer=_first_layer(found, whole, where, verdict),
        path=_path(table, ways, example) if example and verdict is not Verdict.DEAD else (),
        example=label,
        detail=_detail(blamed, verdict, layers),
        reproducer=again.line(*example, blamed.layer, label) if example and verdict is not Verdict.OK else "",
    )


def _layer_count(found: Findings) -> int:
    return max(len(found.layer_gradients), len(found.layer_perturbations), len(found.soft), len(found.arrived))


def _layer(found: Findings, pairs: Tensor, index: int) -> _Stage:
    """One layer of one cell; a finite constant is a leak whatever its influence."""
    gradients, perturbations = found.layer_gradients, found.layer_perturbations
    if not gradients and not perturbations:
        none = torch.zeros_like(pairs)
        stage = _Stage(index + 1, None, None, Verdict.OK, leaks=none, dead=none, active=none)
    else:
        stage = _compare(
            pairs,
            found.declared if found.itself is None else found.declared | found.itself,
            gradients[index] if gradients else None,
            perturbations[index] if perturbations else None,
            arrived=found.arrived[index] if found.arrived else None,
            exact=found.exact,
            layer=index + 1,
        )
    if found.arrived:
        # A mask speaks for itself, also where rows were measured together or a weight underflows.
        arrived = found.arrived[index]
        stage.leaks = stage.leaks | (arrived & ~found.declared & pairs)
        stage.dead = stage.dead | (found.declared & ~arrived & pairs)
        shown = [(stage.leaks, Verdict.LEAK), (found.declared & ~arrived & pairs, Verdict.DEAD)]
        stage.verdict = worst([stage.verdict, *(verdict for which, verdict in shown if bool(which.any()))])
    soft = found.soft[index] & pairs if found.soft else None
    if soft is not None and bool(soft.any()):
        stage.soft = stage.verdict is not Verdict.LEAK
        stage.verdict, stage.leaks = Verdict.LEAK, stage.leaks | soft
    return stage


def _example(found: Findings, stage: _Stage, verdict: Verdict, block: _Block) -> tuple[int, int] | None:
    """The pair with the largest influence of those that show the verdict, not a token on itself if avoidable."""
    shown = {Verdict.LEAK: stage.leaks, Verdict.OK: stage.active}.get(verdict, stage.dead)
    if not bool(shown.any()):
        return None
    methods: list[Evidence | None] = [found.gradient, found.perturbation]
    if stage.layer is not None:
        by_layer = (found.layer_gradients, found.layer_perturbations)
        methods = [items[stage.layer - 1] if items else None for items in by_layer]
    score = shown.float()
    for method in methods:
        score = score if method is None else score + method.magnitude.clamp_max(1e30)
    score = torch.where(shown, score if found.itself is None else score.where(~found.itself, 0.5), 0.0)
    row, column = divmod(int(score.argmax()), score.shape[1])
    return int(block.rows[row]), int(block.columns[column])


def _first_layer(found: Findings, whole: _Stage, where: int | None, verdict: Verdict) -> int | None:
    """After how many layers the influence was first seen."""
    if verdict is Verdict.DEAD:
        return where
    shown = whole.leaks if verdict is Verdict.LEAK and bool(whole.leaks.any()) else whole.active
    if found.first is not None:
        layers = found.first[shown & (found.first > 0)]
        if len(layers):
            return min(int(layers.min()), where or len(found.layer_gradients) or int(layers.min()))
    return where


def _path(table: TokenTable, ways: Sequence[Tensor], example: tuple[int, int]) -> tuple[str, ...]:
    """The shortest way from token to token."""
    steps = shortest_path(ways, *example)
    return tuple(f"{table.label(a)} -> {table.label(b)} (layer {layer})" for layer, a, b in steps)


def _detail(stage: _Stage, verdict: Verdict, layers: Sequence[_Stage]) -> str:
    """One sentence."""
    place = "end to end" if stage.layer is None else f"in layer {stage.layer}"
    if verdict is Verdict.OK:
        return "as declared, end to end and in every layer" if layers else "as declared, end to end"
    if verdict is Verdict.LEAK:
        if stage.soft:
            return f"{place} a finite constant stands where -inf must: {int(stage.leaks.sum())} token pairs"
        return f"{place} {int(stage.leaks.sum())} token pairs have an influence that the mask forbids"
    if verdict is Verdict.DEAD:
        return f"{place} {int(stage.dead.sum())} token pairs are allowed, yet have no influence"
    return f"{place} {int(stage.dead.sum())} token pairs were not measured, or too small to tell from nothing"

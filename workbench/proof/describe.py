"""What a proof says in words and signs, for the terminal, the HTML page and the tab alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from .report import Cell, Extent, Influence, ProofReport, Relation, Verdict

Kind = Literal["leak", "dead", "undecided", "direct", "partly", "via", "blocked"]
LETTERS: dict[Kind, str] = {
    "leak": "L",
    "dead": "D",
    "undecided": "U",
    "direct": "d",
    "partly": "p",
    "via": "v",
    "blocked": "·",
}
"""Beside the colour, so that the matrix can be read without it. Findings are capitals."""
WORDS: dict[Kind, str] = {
    "leak": "leak: more than declared",
    "dead": "dead: allowed, yet without influence",
    "undecided": "undecided: not shown either way",
    "direct": "direct: every token may look",
    "partly": "partly: some tokens may look",
    "via": "via others: only through other tokens",
    "blocked": "blocked",
}
RELATION_WORDS: dict[Relation, str] = {
    Relation.EARLIER: "earlier frames",
    Relation.SAME: "same frame",
    Relation.LATER: "later frames",
}
RELATION_SIGNS: dict[Relation, str] = {Relation.EARLIER: "<", Relation.SAME: "=", Relation.LATER: ">"}
_SERIOUS = (Verdict.LEAK, Verdict.DEAD, Verdict.UNDECIDED, Verdict.OK)


def kind_of(cell: Cell) -> Kind:
    """What the matrix shows for a cell: its finding, or else how the attended token gets there."""
    findings: dict[Verdict, Kind] = {
        Verdict.LEAK: "leak",
        Verdict.DEAD: "dead",
        Verdict.UNDECIDED: "undecided",
    }
    if cell.verdict in findings:
        return findings[cell.verdict]
    if cell.declared is Extent.ALL:
        return "direct"
    if cell.declared is Extent.SOME:
        return "partly"
    return "blocked" if cell.reach is Extent.NONE else "via"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that does not hold.

    Attributes:
        title: The cell, audit or mode.
        lines: What was measured, where it first appears, by which path.
        reproducer: One line of Python that shows it again; empty where there is none.
    """

    verdict: Verdict
    title: str
    lines: tuple[str, ...]
    reproducer: str


def findings(report: ProofReport) -> list[Finding]:
    """Everything that does not hold, leaks first."""
    found = [_cell_finding(cell, "") for cell in (*report.cells, *report.decoders)]
    for mode in report.modes:
        found += [_cell_finding(cell, f" (mode {mode.mode})") for cell in mode.findings]
        if not mode.findings:
            lines = (mode.detail, *_difference_line(mode.difference, mode.tolerance))
            found.append(Finding(verdict=mode.verdict, title=f"mode {mode.mode}", lines=lines, reproducer=""))
    found += [
        Finding(verdict=audit.verdict, title=audit.name, lines=(audit.detail, *audit.places), reproducer="")
        for audit in report.audits
    ]
    bad = [finding for finding in found if finding.verdict is not Verdict.OK]
    return sorted(bad, key=lambda finding: _SERIOUS.index(finding.verdict))


def summary(report: ProofReport) -> str:
    """One line: how many cells, audits and modes, and how they came out."""
    counts = report.counts
    cells = ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict if counts[verdict])
    audits = sum(audit.verdict is not Verdict.OK for audit in report.audits)
    modes = sum(mode.verdict is not Verdict.OK for mode in report.modes)
    return (
        f"{sum(counts.values())} cells: {cells or 'none'}; {len(report.audits)} audits, {audits} failed; "
        f"{len(report.modes)} modes, {modes} failed; {report.seconds:.1f} s"
    )


def measured_lines(cell: Cell) -> tuple[str, ...]:
    """What is declared and what was measured, one fact a line."""
    first = "" if cell.first_layer is None else f", first after layer {cell.first_layer}"
    lines = [
        f"declared: {cell.declared.value} of the pairs in one layer; {cell.reach.value} after all layers",
        f"influence {number(cell.magnitude)}{first}",
    ]
    for name, influence in (("gradient", cell.gradient), ("perturbation", cell.perturbation)):
        if influence is not None:
            lines.append(f"{name}: {influence_words(influence)}")
    bad = [f"layer {item.layer}: {item.verdict.value}" for item in cell.layers if item.verdict is not Verdict.OK]
    if cell.layers:
        lines.append("one layer alone: " + (", ".join(bad) if bad else f"as declared in all {len(cell.layers)}"))
    return tuple(lines)


def influence_words(influence: Influence) -> str:
    """How many of the measured pairs were active, leaking or dead, and the largest influence."""
    parts = [f"{influence.active} of {influence.measured} measured pairs active"]
    parts += [f"{influence.leaking} leaking"] if influence.leaking else []
    parts += [f"{influence.dead} dead"] if influence.dead else []
    return ", ".join(parts) + f", at most {number(influence.magnitude)}"


def number(value: float) -> str:
    """Two significant digits over many orders of magnitude; zero is exactly zero."""
    return "0" if value == 0 else "not a number" if math.isnan(value) else f"{value:.1e}"


def grid(
    cells: Sequence[Cell],
) -> tuple[list[str], list[tuple[str, list[Relation]]], dict[tuple[str, str, Relation], Cell]]:
    """Rows (attenders), columns (attended groups with their time relations, earlier first), and the cells by place."""
    rows = list(dict.fromkeys(cell.attender for cell in cells))
    columns = [
        (name, [r for r in Relation if any((cell.attended, cell.relation) == (name, r) for cell in cells)])
        for name in dict.fromkeys(cell.attended for cell in cells)
    ]
    return rows, columns, {(cell.attender, cell.attended, cell.relation): cell for cell in cells}


def _cell_finding(cell: Cell, where: str) -> Finding:
    lines = [cell.detail, *measured_lines(cell)]
    lines += ["path: " + ", ".join(cell.path)] if cell.path else []
    lines += [f"example: {cell.example}"] if cell.example else []
    return Finding(
        verdict=cell.verdict, title=cell.name + where, lines=tuple(filter(None, lines)), reproducer=cell.reproducer
    )


def _difference_line(difference: float | None, tolerance: float | None) -> tuple[str, ...]:
    if difference is None:
        return ()
    allowed = "" if tolerance is None else f", at most {number(tolerance)} is allowed"
    return (f"differs from the reference by {number(difference)}{allowed}",)

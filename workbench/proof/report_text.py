"""A proof for the terminal: findings first, then the matrix, the audits and the modes."""

from __future__ import annotations

from collections.abc import Sequence

from .describe import LETTERS, RELATION_SIGNS, WORDS, findings, grid, kind_of, summary
from .report import Cell, ProofReport

_MAX_FINDINGS = 40


def report_text(report: ProofReport) -> str:
    """The whole table, 120 columns where the groups allow it."""
    verdict = "HOLDS" if report.holds else "DOES NOT HOLD"
    lines = [f"{verdict}: {report.subject} against {report.spec}", summary(report), ""]
    lines += _finding_lines(report)
    lines += ["Row looks at column; " + ", ".join(f"{LETTERS[kind]} {WORDS[kind].split(':')[0]}" for kind in LETTERS)]
    lines += ["Column signs: < earlier frames, = same frame, > later frames", *_matrix(report.cells), ""]
    if report.decoders:
        lines += ["Decoders, what each reads", *_matrix(report.decoders), ""]
    lines += ["Audits", *(f"  {audit.verdict.value:<9} {audit.name}: {audit.detail}" for audit in report.audits), ""]
    lines += ["Modes", *(f"  {mode.verdict.value:<9} {mode.mode:<12} {mode.detail}" for mode in report.modes)]
    return "\n".join(lines) + "\n"


def _finding_lines(report: ProofReport) -> list[str]:
    found = findings(report)
    lines: list[str] = []
    for finding in found[:_MAX_FINDINGS]:
        lines.append(f"{finding.verdict.value:<9} {finding.title}")
        lines += [f"          {line}" for line in finding.lines]
        lines += [f"          reproduce: {finding.reproducer}"] if finding.reproducer else []
        lines.append("")
    if len(found) > _MAX_FINDINGS:
        lines += [f"... and {len(found) - _MAX_FINDINGS} more; --json FILE has all of them", ""]
    return lines


def _matrix(cells: Sequence[Cell]) -> list[str]:
    """One letter a cell, one sign a time relation; names of columns stand upright where they fit, else cut."""
    rows, columns, places = grid(cells)
    wide = max(map(len, rows), default=0)
    head = " ".join(f"{name:<{_width(relations)}.{_width(relations)}}" for name, relations in columns)
    signs = " ".join(f"{' '.join(RELATION_SIGNS[r] for r in rs):<{_width(rs)}}" for _, rs in columns)
    lines = [f"  {'':<{wide}}  {head}", f"  {'':<{wide}}  {signs}"]
    for row in rows:
        parts: list[str] = []
        for name, relations in columns:
            found = [places.get((row, name, relation)) for relation in relations]
            letters = " ".join(" " if cell is None else LETTERS[kind_of(cell)] for cell in found)
            parts.append(f"{letters:<{_width(relations)}}")
        lines.append(f"  {row:<{wide}}  {' '.join(parts)}".rstrip())
    return lines


def _width(relations: Sequence[object]) -> int:
    return max(2 * len(relations) - 1, 7)

"""A proof as markup, the same for the offline report and for the page's tab. No scripts, styled by proof.css.

A cell of the matrix is a link to its details; the style sheet shows the details that the address names.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .describe import (
    LETTERS,
    RELATION_SIGNS,
    RELATION_WORDS,
    WORDS,
    Finding,
    findings,
    grid,
    kind_of,
    measured_lines,
    number,
    summary,
)
from .report import Cell, ProofReport, Verdict


def proof_markup(report: ProofReport) -> str:
    """Everything of a proof but its provenance: verdict, findings, matrices, details, table twin, audits, modes."""
    cells = (*report.cells, *report.decoders)
    parts = [_verdict(report), _findings(report), _legend(), matrix(report.cells, "Attending group", first=0)]
    if report.decoders:
        parts += ["<h3>What each decoder reads</h3>", matrix(report.decoders, "Decoder", first=len(report.cells))]
    parts += [
        '<p class="pf-quiet">Choose a cell to see what was measured there.</p>',
        f'<div class="pf-details">{"".join(_detail(cell, i) for i, cell in enumerate(cells))}</div>',
        _table_twin(cells),
        "<h3>Structural audits</h3>",
        _table(
            ("verdict", "audit", "finding", "where"),
            [(_mark(a.verdict), escape(a.name), escape(a.detail), escape("; ".join(a.places))) for a in report.audits],
        ),
        "<h3>Ways of running it</h3>",
        _table(
            ("verdict", "mode", "largest difference", "allowed", "what was measured", "seconds"),
            [
                (
                    _mark(m.verdict),
                    escape(m.mode),
                    _optional(m.difference),
                    _optional(m.tolerance),
                    escape(m.detail),
                    f"{m.seconds:.1f}",
                )
                for m in report.modes
            ],
        ),
    ]
    return "\n".join(parts)


def matrix(cells: Sequence[Cell], corner: str, *, first: int) -> str:
    """Attending groups x attended groups x time relation, a letter and a colour a cell.

    Args:
        cells: Of one matrix.
        corner: What the rows are.
        first: Number of the first cell; a cell links to the details of its number.
    """
    rows, columns, places = grid(cells)
    numbers = {(cell.attender, cell.attended, cell.relation): first + i for i, cell in enumerate(cells)}
    top = "".join(f'<th scope="colgroup" colspan="{len(rs)}">{escape(name)}</th>' for name, rs in columns)
    signs = "".join(
        f'<th scope="col" class="{_start(i)}" title="{RELATION_WORDS[r]}">{escape(RELATION_SIGNS[r])}</th>'
        for _, rs in columns
        for i, r in enumerate(rs)
    )
    lines: list[str] = []
    for row in rows:
        line = [f'<th scope="row">{escape(row)}</th>']
        for name, relations in columns:
            for i, relation in enumerate(relations):
                cell = places.get((row, name, relation))
                inside = "" if cell is None else _cell_link(cell, numbers[row, name, relation])
                line.append(f'<td class="{_start(i)}">{inside}</td>')
        lines.append(f"<tr>{''.join(line)}</tr>")
    return (
        f'<div class="pf-scroll"><table class="pf-matrix"><thead><tr><th rowspan="2">{escape(corner)}</th>{top}</tr>'
        f"<tr>{signs}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _start(column: int) -> str:
    """A gap before the first column of a group."""
    return "pf-start" if column == 0 else ""


def _cell_link(cell: Cell, index: int) -> str:
    kind = kind_of(cell)
    words = f"{cell.name}: {WORDS[kind]}; influence {number(cell.magnitude)}"
    return (
        f'<a class="pf-cell pf-{kind}" href="#pf-{index}" title="{escape(words)}" aria-label="{escape(words)}">'
        f"{LETTERS[kind]}</a>"
    )


def _verdict(report: ProofReport) -> str:
    word, kind = ("holds", "good") if report.holds else ("does not hold", "bad")
    return (
        f'<p class="pf-verdict pf-{kind}"><strong>The mask {word}.</strong> {escape(report.subject)} against '
        f'{escape(report.spec)}</p><p class="pf-quiet">{escape(summary(report))}</p>'
    )


def _findings(report: ProofReport) -> str:
    found = findings(report)
    if not found:
        return ""
    return f'<h3>Findings</h3><ol class="pf-findings">{"".join(map(_finding, found))}</ol>'


def _finding(finding: Finding) -> str:
    return (
        f"<li><strong>{_mark(finding.verdict)} {escape(finding.title)}</strong>{_lines(finding.lines)}"
        f"{_reproducer(finding.reproducer)}</li>"
    )


def _detail(cell: Cell, index: int) -> str:
    kind = kind_of(cell)
    path = f"<p>Path: {escape(' → '.join(cell.path))}</p>" if cell.path else ""
    example = f"<p>Example: <code>{escape(cell.example)}</code></p>" if cell.example else ""
    detail = f"<p>{escape(cell.detail)}</p>" if cell.detail else ""
    return (
        f'<section class="pf-detail" id="pf-{index}" tabindex="-1"><h4>{_mark(cell.verdict)} {escape(cell.name)} '
        f'<span class="pf-quiet">{escape(WORDS[kind])}</span></h4>{detail}{_lines(measured_lines(cell))}{path}{example}'
        f"{_reproducer(cell.reproducer)}</section>"
    )


def _legend() -> str:
    keys = "".join(
        f'<span><b class="pf-cell pf-{kind}">{letter}</b> {escape(WORDS[kind])}</span>'
        for kind, letter in LETTERS.items()
    )
    signs = ", ".join(f"{escape(RELATION_SIGNS[r])} {words}" for r, words in RELATION_WORDS.items())
    return (
        "<h3>Who may look at whom, and who has influence</h3>"
        f'<p class="pf-legend">{keys}</p><p class="pf-quiet">A row looks at a column. Columns: {signs}.</p>'
    )


def _table_twin(cells: Sequence[Cell]) -> str:
    """Every cell as a line, findings first."""
    head = ("verdict", "cell", "declared", "after all layers", "influence", "first after layer")
    ordered = sorted(cells, key=lambda cell: cell.verdict is Verdict.OK)
    body = [
        (
            _mark(cell.verdict),
            escape(cell.name),
            cell.declared.value,
            cell.reach.value,
            number(cell.magnitude),
            "-" if cell.first_layer is None else str(cell.first_layer),
        )
        for cell in ordered
    ]
    return f"<details><summary>The matrix as a table, {len(body)} cells</summary>{_table(head, body)}</details>"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    top = "".join(f'<th scope="col">{escape(text)}</th>' for text in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in line)}</tr>" for line in body)
    table = f'<table class="pf-table"><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>'
    return f'<div class="pf-scroll">{table}</div>'


def _mark(verdict: Verdict) -> str:
    return f'<span class="pf-mark pf-mark-{verdict.value.lower()}">{verdict.value}</span>'


def _lines(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def _reproducer(line: str) -> str:
    return f'<p class="pf-quiet">To see it again:</p><pre>{escape(line)}</pre>' if line else ""


def _optional(value: float | None) -> str:
    return "-" if value is None else number(value)

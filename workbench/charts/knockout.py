"""Knock-outs as figures and rows: the ranked change beside the random one, attention beside the effect.

Figures are plain dictionaries, as in `timeline`: a change with its interval, random ones grey, the uniform share ticks.
"""

from __future__ import annotations

from typing import Any

from trainer.metrics.interval import Interval

from ..proof.knockout_report import (
    MEASURES,
    NEEDS_ANOTHER,
    REPLACEMENTS,
    STATUS_WORDS,
    UNITS,
    VERDICT_WORDS,
    Knockout,
    KnockoutReport,
    Measure,
    ranked,
)
from .colours import ACCENT, TRUTH
from .timeline import SERIES_COLOURS, Figure

_ATTENTION = SERIES_COLOURS[1]


def knockout_figures(report: KnockoutReport) -> dict[str, dict[str, Figure]]:
    """One figure for each measure and replacement: targets ranked by their change, the strongest on top."""
    return {
        measure: {name: _figure(ranked(report, measure, name), measure) for name in REPLACEMENTS}
        for measure in MEASURES
    }


def knockout_rows(report: KnockoutReport) -> dict[str, list[list[str]]]:
    """The table twin by replacement: target, tokens, each measure and its random twin, attention, uniform, verdict."""
    return {name: [_row(row) for row in ranked(report, MEASURES[0], name)] for name in REPLACEMENTS}


def training_rows(report: KnockoutReport) -> list[list[str]]:
    """What acts in training only: each supervision and what can be said about it."""
    compared = report.comparison
    if compared is None:
        return [[name, NEEDS_ANOTHER] for name in report.training_only]
    rows = [["compared with", f"{compared.against.name} {compared.against.sha256[:12]}"]]
    rows += [[f"action differs by, {UNITS[item.measure]}", interval_words(item.value)] for item in compared.change]
    for one, two in zip(compared.error, compared.error_against, strict=True):
        words = f"{interval_words(one.value)}; the other {interval_words(two.value)}"
        rows.append([f"from the recorded action, {UNITS[one.measure]}", words])
    return [*rows, ["configuration differences", "; ".join(compared.differences) or "none"]]


def interval_words(value: Interval) -> str:
    """Mean and 95 % interval."""
    return f"{_number(value.mean)} ({_number(value.low)} to {_number(value.high)})"


def _figure(rows: list[Knockout], measure: Measure) -> Figure:
    shown = [(row, effect, row.attention) for row in rows if (effect := row.effect(measure)) and row.attention]
    names = [row.target for row, _, _ in shown]
    change = _bars(names, [effect.change for _, effect, _ in shown], "knocked out", ACCENT)
    random = _bars(names, [effect.random for _, effect, _ in shown], "as many random tokens", TRUTH)
    attention = _bars(names, [_percent(mass) for _, _, mass in shown], "attention", _ATTENTION)
    uniform = {
        "type": "scatter",
        "mode": "markers",
        "x": [100 * row.uniform for row, _, _ in shown],
        "y": names,
        "name": "uniform share",
        "marker": {"symbol": "line-ns-open", "size": 22, "color": TRUTH, "line": {"width": 2, "color": TRUTH}},
        "hovertemplate": "uniform share %{x:.1f} %<extra></extra>",
    }
    second = {"xaxis": "x2"}
    layout: dict[str, Any] = {
        "barmode": "group",
        "bargap": 0.3,
        "xaxis": {
            "domain": [0, 0.6],
            "title": {"text": f"change of the action, {UNITS[measure]}"},
            "rangemode": "tozero",
        },
        "xaxis2": {"domain": [0.66, 1], "title": {"text": "attention of the action, %"}, "rangemode": "tozero"},
        "yaxis": {"type": "category", "autorange": "reversed", "automargin": True},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
    }
    return {"data": [change, random, attention | second, uniform | second], "layout": layout}


def _bars(names: list[str], values: list[Interval], label: str, colour: str) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "y": names,
        "x": [value.mean for value in values],
        "name": label,
        "marker": {"color": colour},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [value.high - value.mean for value in values],
            "arrayminus": [value.mean - value.low for value in values],
            "thickness": 1.2,
            "width": 3,
        },
        "hovertemplate": f"%{{y}}<br>{label} %{{x:.3g}}<extra></extra>",
    }


def _row(row: Knockout) -> list[str]:
    if not row.effects or row.attention is None:
        return [
            row.target,
            str(row.tokens),
            *[""] * 2 * len(MEASURES),
            "",
            "",
            f"{row.status}: {STATUS_WORDS[row.status]}",
        ]
    cells = [text for e in row.effects for text in (interval_words(e.change), _number(e.random.mean))]
    shares = [f"{100 * row.attention.mean:.1f} %", f"{100 * row.uniform:.1f} %"]
    return [row.target, str(row.tokens), *cells, *shares, VERDICT_WORDS[row.effects[0].verdict]]


def _percent(value: Interval) -> Interval:
    return Interval(mean=100 * value.mean, low=100 * value.low, high=100 * value.high, n=value.n)


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) >= 0.1 else f"{value:.3f}".rstrip("0").rstrip(".")

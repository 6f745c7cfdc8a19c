"""Plotly figures as plain dictionaries: nothing here imports plotly, so the page starts without it.

Predicted = solid, baseline = dotted. Every figure has a table twin in `tables`. Colours of text, grid and background
are left to the page, which knows light from dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from trainer.metrics.catalog import BASELINE, skill

from ..foresight import Foresight
from .labels import HEADLINES, label_of, unit_of

Figure = dict[str, Any]
"""`{"data": [...], "layout": {...}}`, ready for Plotly.react."""

SERIES_COLOURS = ("#2f6feb", "#d97706", "#0f9d76", "#b4449c", "#7a8290")
"""Told apart by colour-blind readers; one for each headline figure."""
_GAP = 0.06


def error_timeline(
    foresights: Sequence[Foresight],
    *,
    names: Sequence[str] | None = None,
    length: int,
    cursor: int | None = None,
    quantity: Literal["value", "skill"] = "value",
) -> Figure:
    """Errors (solid) and their baselines (dotted) over control steps.

    Args:
        foresights: Steps predicted so far, in any order.
        names: Metrics to draw; None draws the headline ones that this episode has.
        length: Control steps in the episode: the fixed x range.
        cursor: The current step, drawn as a vertical line (shape 0, so that the page can move it alone).
        quantity: "value" stacks one small chart for each metric, in its unit; "skill" draws them all in one.
    """
    ordered = sorted(foresights, key=lambda item: item.step)
    chosen = [name for name in (names or HEADLINES) if any(name in item.metrics for item in ordered)]
    traces = _skill_traces(ordered, chosen) if quantity == "skill" else _value_traces(ordered, chosen)
    layout = figure_layout(length, cursor)
    if quantity == "skill":
        zero = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": "y", "y0": 0, "y1": 0}
        layout["shapes"].append(zero | {"line": {"dash": "dot", "width": 1, "color": "#8c959f"}})
        layout["yaxis"] = {"title": {"text": "skill"}, "range": [-1.05, 1.05]}
    else:
        layout |= _stacked_axes(chosen)
    return {"data": traces, "layout": layout}


def figure_layout(length: int, cursor: int | None) -> dict[str, Any]:
    """The layout every timeline shares: a fixed x range, the cursor as shape 0, the page's own colours."""
    at = 0 if cursor is None else cursor
    line = {"type": "line", "xref": "x", "x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1}
    return {
        "xaxis": {"title": {"text": "t [control steps]"}, "range": [-0.5, max(length, 1) - 0.5], "fixedrange": True},
        "shapes": [line | {"line": {"width": 1.5, "color": SERIES_COLOURS[0]}, "visible": cursor is not None}],
        "margin": {"l": 64, "r": 12, "t": 24, "b": 40},
        "hovermode": "x unified",
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    }


def _value_traces(ordered: Sequence[Foresight], names: Sequence[str]) -> list[dict[str, Any]]:
    traces: list[dict[str, Any]] = []
    steps = [item.step for item in ordered]
    for i, name in enumerate(names):
        axis = "y" if i == 0 else f"y{i + 1}"
        for suffix, dash, width in (("", "solid", 2), (BASELINE, "dot", 1.5)):
            values = [_number(item.metrics.get(name + suffix, math.nan)) for item in ordered]
            trace = line(steps, values, label_of(name) if not suffix else "baseline", SERIES_COLOURS[i % 5])
            trace["line"] |= {"dash": dash, "width": width}
            traces.append(trace | {"yaxis": axis, "showlegend": False})
    return traces


def _skill_traces(ordered: Sequence[Foresight], names: Sequence[str]) -> list[dict[str, Any]]:
    traces: list[dict[str, Any]] = []
    for i, name in enumerate(names):
        pairs = [(item.metrics.get(name, math.nan), item.metrics.get(name + BASELINE, math.nan)) for item in ordered]
        values = [_number(skill(name, value, baseline)) for value, baseline in pairs]
        traces.append(line([item.step for item in ordered], values, label_of(name), SERIES_COLOURS[i % 5]))
    return traces


def line(steps: list[int], values: list[float | None], label: str, colour: str) -> dict[str, Any]:
    """One solid line over steps; None is a gap."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": steps,
        "y": values,
        "name": label,
        "connectgaps": False,
        "line": {"color": colour, "width": 2},
    }


def _stacked_axes(names: Sequence[str]) -> dict[str, Any]:
    """One y axis a metric, from the top down, titled above its own chart so that nothing is cut off."""
    count = max(len(names), 1)
    height = (1.0 - _GAP * (count - 1)) / count
    axes: dict[str, Any] = {"annotations": []}
    for i, name in enumerate(names):
        top = 1.0 - i * (height + _GAP)
        axes["yaxis" if i == 0 else f"yaxis{i + 1}"] = {
            "domain": [max(top - height, 0.0), top],
            "title": {"text": unit_of(name)},
            "rangemode": "tozero",
            "nticks": 4,
        }
        text = f"{label_of(name)} (dotted: baseline)"
        place = {"xref": "paper", "x": 0.005, "xanchor": "left", "yref": "paper", "y": top, "yanchor": "top"}
        axes["annotations"].append(place | {"text": text, "showarrow": False, "font": {"size": 11}})
    return axes


def _number(value: float) -> float | None:
    """JSON knows no NaN; plotly draws a gap for null."""
    return None if math.isnan(value) or math.isinf(value) else value

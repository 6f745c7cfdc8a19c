"""Every numeric feature of an episode over time, by the name its source gives it: plain figures and their table twins.

Nothing here imports plotly. One figure a feature, one line an entry of it; the columns of one table (`state/x`,
`state/y`) are the lines of one figure, named after the table.

Dimensions: t control step, d drawn step, n entry.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from trainer.episodes.episode import Episode

from ..clocks import is_clock
from .timeline import Figure, figure_layout, line

# Okabe and Ito's colours, which colour-blind readers tell apart, without the two that vanish on white or on black.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
DASHES = ("solid", "dash", "dot", "dashdot")
MOST_POINTS = 600
"""Steps drawn of a line; of longer episodes every k-th, which the page says."""
MOST_TOGETHER = 16
"""Columns of one table that share a figure: two arms of seven joints and a gripper."""


@dataclass(frozen=True, kw_only=True)
class _Plot:
    """What one figure shows: values (t, n) and what the n lines are called."""

    name: str
    values: Float[np.ndarray, "t n"]
    entries: Sequence[str]


def drawn_steps(length: int) -> Integer[np.ndarray, " d"]:
    """The control steps of an episode that are drawn."""
    return np.arange(0, length, max(1, math.ceil(length / MOST_POINTS)))


def feature_figures(episode: Episode) -> list[dict[str, Any]]:
    """One entry a figure: `name`, `figure`, and the table twin as `columns` and `rows`, values rounded to 4 digits.

    Raises:
        EpisodeError: The numbers cannot be read.
    """
    steps = drawn_steps(episode.info.length)
    found: list[dict[str, Any]] = []
    for plot in _plots(episode):
        shown = steps[steps < len(plot.values)]
        values = plot.values[shown]
        found.append(
            {
                "name": plot.name,
                "figure": _figure(shown, values, plot.entries, episode.info.length),
                "columns": ["step", *plot.entries],
                "rows": [[int(step), *_rounded(row)] for step, row in zip(shown, values, strict=True)],
            }
        )
    return found


def _plots(episode: Episode) -> list[_Plot]:
    """A plot a feature, in their order; the columns of a table together, in the place of the first."""
    features = {
        name: np.asarray(values, np.float64).reshape(len(values), -1) for name, values in episode.features.items()
    }
    tables = _tables(features)
    plots: list[_Plot] = []
    done: set[str] = set()
    for name, values in features.items():
        table = name.rpartition("/")[0]
        together = tables.get(table, [])
        if name not in together:
            plots.append(_Plot(name=name, values=values, entries=_entries(episode, name, values.shape[1])))
        elif table not in done:
            done.add(table)
            entries = [column.rpartition("/")[2] for column in together]
            joined = np.concatenate([features[column] for column in together], axis=1)
            plots.append(_Plot(name=table, values=joined, entries=entries))
    return plots


def _tables(features: Mapping[str, Float[np.ndarray, "t n"]]) -> dict[str, list[str]]:
    """TABLE -> its features TABLE/COLUMN of one number a step, without clocks; a table of too many is left out."""
    tables: dict[str, list[str]] = {}
    for name, values in features.items():
        table = name.rpartition("/")[0]
        if table and values.shape[1] == 1 and not is_clock(name):  # beside a clock nothing is seen of metres
            tables.setdefault(table, []).append(name)
    return {
        table: columns
        for table, columns in tables.items()
        if 1 < len(columns) <= MOST_TOGETHER and len({len(features[column]) for column in columns}) == 1
    }


def _figure(
    steps: Integer[np.ndarray, " d"], values: Float[np.ndarray, "d n"], entries: Sequence[str], length: int
) -> Figure:
    traces = [
        line(steps.tolist(), _rounded(column), escape(label, quote=False), COLOURS[index % len(COLOURS)])
        for index, (column, label) in enumerate(zip(values.T, entries, strict=True))
    ]
    for index, trace in enumerate(traces):
        trace["line"] |= {"dash": DASHES[index // len(COLOURS) % len(DASHES)], "width": 1.5}
        trace["showlegend"] = len(traces) > 1
    layout = figure_layout(length, None)
    layout["xaxis"] = layout["xaxis"] | {"title": {"text": ""}}
    layout["yaxis"] = {"nticks": 4}
    return {"data": traces, "layout": layout}


def _entries(episode: Episode, name: str, width: int) -> list[str]:
    """What the entries of a feature are called: as its source or its format says, else by number."""
    known = episode.feature_names.get(name, ())
    if len(known) == width:
        return list(known)
    return [f"[{index}]" for index in range(width)] if width > 1 else [name]


def _rounded(values: Float[np.ndarray, " n"]) -> list[float | None]:
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in values.tolist()]

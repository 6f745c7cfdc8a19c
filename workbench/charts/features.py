"""Every numeric feature of an episode over time, by the name its source gives it: plain figures and their table twins.

Nothing here imports plotly. One figure a feature, one line an entry of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from trainer.episodes.episode import Episode

from .timeline import Figure, figure_layout, line

# Okabe and Ito's colours, which colour-blind readers tell apart, without the two that vanish on white or on black.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
DASHES = ("solid", "dash", "dot", "dashdot")
MOST_POINTS = 600
"""Steps drawn of a line; of longer episodes every k-th, which the page says."""


def drawn_steps(length: int) -> Integer[np.ndarray, " d"]:
    """The control steps of an episode that are drawn."""
    return np.arange(0, length, max(1, math.ceil(length / MOST_POINTS)))


def feature_figures(episode: Episode) -> list[dict[str, Any]]:
    """One entry a feature: `name`, `figure`, and the table twin as `columns` and `rows`, values rounded to 4 digits.

    Raises:
        EpisodeError: The numbers cannot be read.
    """
    steps = drawn_steps(episode.info.length)
    found: list[dict[str, Any]] = []
    for name, values in episode.features.items():
        table = np.asarray(values, np.float64).reshape(len(values), -1)
        shown = steps[steps < len(table)]
        entries = _entries(episode, name, table.shape[1])
        found.append(
            {
                "name": name,
                "figure": _figure(shown, table[shown], entries, episode.info.length),
                "columns": ["step", *entries],
                "rows": [[int(step), *_rounded(row)] for step, row in zip(shown, table[shown], strict=True)],
            }
        )
    return found


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

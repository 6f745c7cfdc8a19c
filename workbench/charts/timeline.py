"""Plotly figures as plain dictionaries: nothing here imports plotly, so the page starts without it.

Predicted = solid accent, truth = faded, baseline = dotted. Every figure has a table twin in `tables`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ..foresight import Foresight

Figure = dict[str, Any]
"""`{"data": [...], "layout": {...}}`, ready for Plotly.react; theme colours are left to the page."""


def error_timeline(
    foresights: Sequence[Foresight],
    *,
    names: Sequence[str] | None = None,
    length: int,
    cursor: int | None = None,
    quantity: Literal["value", "skill"] = "value",
) -> Figure:
    """Errors (solid) and their baselines (dotted) over control steps; missing steps are gaps, not lines.

    Args:
        foresights: Steps predicted so far, in any order.
        names: Metrics to draw; None draws the headline ones.
        length: Control steps in the episode: the fixed x range.
        cursor: The current step, drawn as a vertical line (shape 0, so that the page can move it alone).
        quantity: The value, or the skill against the baseline.
    """
    raise NotImplementedError


def attention_timeline(foresights: Sequence[Foresight], *, length: int, cursor: int | None = None) -> Figure:
    """Action -> flow mass over time, one row per layer and head, as lift over the uniform share (1 = uniform)."""
    raise NotImplementedError

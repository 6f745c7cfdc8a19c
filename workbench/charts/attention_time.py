"""Attention of the action over time: a heat map by layer and head, one line a layer, and their table twin.

What is drawn is the mass of one token group as a multiple of its even share, or the entropy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from model.errors import ConfigError

from ..foresight import Foresight
from .timeline import SERIES_COLOURS, Figure, figure_layout, line

ENTROPY = "entropy"
FLOW = "FLOW"
_DECIMALS = 9
"""A softmax leaves 1e-12 where nothing is meant."""


class Drawn(NamedTuple):
    """One quantity at one time by layer and head (m n), and what it would be if attention were even."""

    values: Float[np.ndarray, "m n"]
    even: float


def drawn_names(foresights: Sequence[Foresight]) -> list[str]:
    """What can be drawn: the token groups, FLOW first where the policy has it, then entropy."""
    groups = list(dict.fromkeys(name for item in foresights for name in item.attention.groups))
    return [*sorted(groups, key=lambda name: name != FLOW), ENTROPY]


def drawn_at(foresight: Foresight, name: str) -> Drawn:
    """A quantity at one time; NaN where the group cannot be seen then.

    Raises:
        ConfigError: No such group.
    """
    attention = foresight.attention
    if name == ENTROPY:
        return Drawn(attention.entropy, 1.0)
    if name not in attention.groups:
        if name not in attention.maps.names:
            raise ConfigError(f"there is no token group '{name}'; choose one of {', '.join(attention.groups)}")
        return Drawn(np.full(attention.entropy.shape, np.nan), np.nan)
    at = attention.groups.index(name)
    return Drawn(attention.to_group[..., at], float(attention.group_uniform[at]))


def attention_timeline(
    foresights: Sequence[Foresight], *, length: int, cursor: int | None = None, name: str = FLOW
) -> Figure:
    """One row for each layer and head over control steps, as lift over the even share; entropy as it is.

    A lift of 1 means: as much as if attention were spread evenly over everything the action may see. The colour range
    is fixed.
    """
    ordered = sorted(foresights, key=lambda item: item.step)
    shown = [drawn_at(item, name) for item in ordered]
    layers, heads = shown[0].values.shape if shown else (0, 0)
    cells = [(layer, head) for layer in range(layers) for head in range(heads)]
    trace = {
        "type": "heatmap",
        "x": [item.step for item in ordered],
        "y": [f"layer {layer + 1} head {head + 1}" for layer, head in cells],
        "z": [[_number(item.values[cell] / item.even if item.even else np.nan) for item in shown] for cell in cells],
        **(_ENTROPY_SCALE if name == ENTROPY else _LIFT_SCALE),
    }
    layout = figure_layout(length, cursor)
    layout["yaxis"] = {"type": "category", "autorange": "reversed"}
    return {"data": [trace], "layout": layout}


def attention_share_timeline(
    foresights: Sequence[Foresight], *, length: int, cursor: int | None = None, name: str = FLOW
) -> Figure:
    """The same as a share of all attention: mean over heads, one line a layer; dotted: if attention were even."""
    ordered = sorted(foresights, key=lambda item: item.step)
    shown = [drawn_at(item, name) for item in ordered]
    steps, unit = [item.step for item in ordered], 1 if name == ENTROPY else 100
    traces = [
        line(
            steps,
            [_number(unit * item.values[layer].mean()) for item in shown],
            f"layer {layer + 1}",
            SERIES_COLOURS[layer % len(SERIES_COLOURS)],
        )
        for layer in range(len(shown[0].values) if shown else 0)
    ]
    if shown:
        even = line(steps, [_number(unit * item.even) for item in shown], "even", "#8c959f")
        even["line"] |= {"dash": "dot"}
        traces.append(even)
    layout = figure_layout(length, cursor)
    layout["yaxis"] = {"title": {"text": "entropy" if name == ENTROPY else "% of attention"}, "rangemode": "tozero"}
    return {"data": traces, "layout": layout}


def attention_rows(foresights: Sequence[Foresight], name: str = FLOW) -> list[dict[str, float]]:
    """Twin of both: one row for each step, layer and head (counted from 1); lift is NaN for entropy."""
    rows: list[dict[str, float]] = []
    for foresight in sorted(foresights, key=lambda item: item.step):
        values, even = drawn_at(foresight, name)
        for (layer, head), value in np.ndenumerate(values):
            rows.append(
                {
                    "step": float(foresight.step),
                    "layer": layer + 1.0,
                    "head": head + 1.0,
                    name if name == ENTROPY else f"share on {name}": round(float(value), _DECIMALS),
                    "even": round(even, _DECIMALS),
                    "lift": np.nan if name == ENTROPY or not even else round(float(value) / even, _DECIMALS),
                }
            )
    return rows


_LIFT_SCALE = {
    "zmin": 0,
    "zmid": 1,
    "zmax": 4,
    "colorscale": [[0.0, "#2166ac"], [0.25, "#f7f7f7"], [1.0, "#b2182b"]],
    "colorbar": {
        "title": {"text": "times the<br>even share"},
        "tickvals": [0, 1, 2, 3, 4],
        "ticktext": ["0", "1", "2", "3", "≥ 4"],
        "thickness": 12,
    },
    "hovertemplate": "t %{x}<br>%{y}<br>%{z:.2f} times even<extra></extra>",
}
_ENTROPY_SCALE = {
    "zmin": 0,
    "zmax": 1,
    "colorscale": "Cividis",
    "colorbar": {"title": {"text": "entropy<br>(1 = even)"}, "tickvals": [0, 0.5, 1], "thickness": 12},
    "hovertemplate": "t %{x}<br>%{y}<br>%{z:.2f}<extra></extra>",
}


def _number(value: float) -> float | None:
    """JSON knows no NaN; plotly draws a gap for null."""
    return round(float(value), _DECIMALS) if np.isfinite(value) else None

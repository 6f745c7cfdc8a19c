"""Figures of the report: vector graphics from matplotlib, without pyplot, readable on a light and on a dark page."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.metrics.catalog import BASELINE

from ..charts.labels import label_of, unit_of
from ..charts.timeline import SERIES_COLOURS
from ..foresight import Foresight

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK = "#123456"
"""Stands for the page's text colour: replaced by `currentColor` in the SVG."""
_INKED = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color")
_WIDTH_IN, _ROW_IN = 9.0, 1.4
_MAX_LIFT = 4.0


def timeline_svg(foresights: Sequence[Foresight], names: Sequence[str], length: int) -> str:
    """One small chart for each metric over control steps: model solid, baseline dotted, gaps where it has no value."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        steps = [foresight.step for foresight in foresights]
        for i, (name, axis) in enumerate(zip(names, axes, strict=True)):
            colour = SERIES_COLOURS[i % len(SERIES_COLOURS)]
            for key, style, label in ((name, "-", "predicted"), (name + BASELINE, ":", "baseline")):
                values = [foresight.metrics.get(key, math.nan) for foresight in foresights]
                axis.plot(steps, values, linestyle=style, color=colour, label=label, marker="." * (len(steps) < 2))
            axis.set_ylabel(unit_of(name))
            axis.set_title(label_of(name), loc="left", fontsize=9)
            axis.set_ylim(bottom=0)
            axis.legend(loc="lower right", bbox_to_anchor=(1.0, 0.97), fontsize=7, frameon=False, ncols=2)
            axis.grid(alpha=0.25, linewidth=0.5)
        axes[-1].set_xlabel("t [control steps]")
        axes[-1].set_xlim(-0.5, max(length, 1) - 0.5)

    return _svg(_ROW_IN * len(names) + 0.4, draw) if names and foresights else ""


def attention_svg(foresights: Sequence[Foresight], length: int) -> str:
    """Action -> flow attention over time, a row for each layer and head, in multiples of the uniform share."""
    if not foresights or not foresights[0].attention.has_flow:
        return ""
    layers, heads = foresights[0].attention.to_flow.shape

    def draw(figure: Figure) -> None:
        from matplotlib.colors import TwoSlopeNorm

        lift = np.stack([f.attention.lift.ravel() for f in foresights], axis=1)
        steps = [foresight.step for foresight in foresights]
        edges = [*steps, 2 * steps[-1] - steps[-2] if len(steps) > 1 else steps[-1] + 1]
        axis = figure.subplots()
        norm = TwoSlopeNorm(1.0, 0.0, _MAX_LIFT)
        mesh = axis.pcolormesh(edges, np.arange(len(lift) + 1), lift, cmap="RdBu_r", norm=norm, rasterized=True)
        names = [f"layer {layer + 1} head {head + 1}" for layer in range(layers) for head in range(heads)]
        axis.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=6)
        axis.invert_yaxis()
        axis.set_xlim(0, max(length, 1))
        axis.set_xlabel("t [control steps]")
        figure.colorbar(mesh, ax=axis, label="times the uniform share", ticks=[0, 1, 2, 3, 4], pad=0.01)

    return _svg(0.17 * layers * heads + 1.0, draw)


def _svg(height_in: float, draw: Callable[[Figure], None]) -> str:
    """Draws on a transparent ground in the text colour of the page around it."""
    import matplotlib
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    settings: Any = dict.fromkeys(_INKED, _INK) | {"svg.fonttype": "none", "svg.hashsalt": "foresight", "font.size": 8}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(_WIDTH_IN, height_in), layout="constrained")
        draw(figure)
        for axis in figure.axes:
            axis.patch.set_alpha(0.0)
        figure.patch.set_alpha(0.0)
        figure.savefig(buffer, format="svg", metadata={"Date": None}, dpi=150)
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")

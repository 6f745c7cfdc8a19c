"""Small figures as arrays: the canvas that every picture of evidence is drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110
TEXT, TITLE = 10, 11
"""Points; a card of the page shows pictures at two thirds of their size."""
WRONG, RIGHT, QUIET = "#c2410c", "#0f766e", "#6b7280"
"""As stored, as it should be, and everything else; told apart without colour vision too."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """An image and what it shows, one sentence."""

    image: UInt8[np.ndarray, "h w 3"]
    caption: str


def panels(columns: int, *, width: float = 8.0, height: float = 3.4) -> tuple[Figure, Sequence[Any]]:
    """A white figure with that many axes beside each other."""
    from matplotlib.figure import Figure  # takes half a second

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)  # titles of images end at the very edge
    axes = [figure.add_subplot(1, columns, i + 1) for i in range(columns)]
    for ax in axes:
        ax.tick_params(labelsize=TEXT)
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def plain(ax: Any, title: str) -> None:
    """An image's axes: no ticks, a title."""
    ax.set_xticks([])
    ax.set_yticks([])
    for side in ax.spines.values():
        side.set_visible(False)
    ax.set_title(title, fontsize=TITLE)


def legend(ax: Any) -> None:
    """A legend that hides nothing it can avoid."""
    ax.legend(fontsize=TEXT, framealpha=0.85, loc="best")


def drawn(figure: Figure, caption: str) -> Picture:
    """The figure's pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return Picture(image=np.array(canvas.buffer_rgba())[..., :3].copy(), caption=caption)

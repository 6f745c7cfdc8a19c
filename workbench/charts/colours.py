"""Colour maps as lookup tables, and the bars that say what a colour means. matplotlib's maps, without pyplot.

One rule for the whole workbench: a range belongs to the clip and comes from the truth (or is stated), never from the
prediction; depth is drawn on a perceptually uniform map that is safe for colour-blind readers, errors on a diverging
map with zero in the middle; what has no value is grey.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from html import escape
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

MapName = Literal["viridis", "cividis", "magma", "plasma", "RdBu_r"]

DEPTH_MAP: MapName = "viridis"
ERROR_MAP: MapName = "RdBu_r"
ATTENTION_MAP: MapName = "magma"
NO_VALUE = (128, 128, 128)
ACCENT = "#2f6feb"
"""Predicted things in charts; truth is a faded grey, baselines are dotted."""
TRUTH = "#8c959f"


@cache
def lookup_table(name: MapName) -> UInt8[np.ndarray, "256 3"]:
    """The 256 colours of a matplotlib map."""
    import matplotlib  # half a second that the first paint of the page does not need

    colours = matplotlib.colormaps[name](np.arange(256))[:, :3]
    return np.round(255 * colours).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class ColourScale:
    """A fixed range and its map.

    Attributes:
        low: Value of the first colour, in `unit`.
        high: Value of the last colour.
        label: What is drawn, for the bar.
        log: Equal ratios get equal distances on the map, not equal differences; `low` is then above 0.
    """

    low: float
    high: float
    unit: str
    label: str
    map_name: MapName = DEPTH_MAP
    log: bool = False

    def paint(self, values: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
        """Colours of values; beyond the range the end colours, NaN grey."""
        finite = np.isfinite(values)
        within = np.clip(np.where(finite, values, self.low), self.low, self.high)
        if self.log:
            position = np.log(within / self.low) / max(np.log(self.high / self.low), 1e-12)
        else:
            position = (within - self.low) / max(self.high - self.low, 1e-12)
        image = lookup_table(self.map_name)[np.round(255 * position).astype(np.intp)]
        image[~finite] = NO_VALUE
        return image

    def ticks(self) -> list[tuple[float, str]]:
        """Position 0..1 along the bar and text of the two ends and the middle."""
        if self.log:
            texts = [f"{value:.2g}" for value in (self.low, np.sqrt(self.low * self.high), self.high)]
        else:
            texts = _short_numbers((self.low, (self.low + self.high) / 2, self.high))
        return list(zip((0.0, 0.5, 1.0), texts, strict=True))

    def css_gradient(self) -> str:
        """The map as a CSS background, left = low."""
        table = lookup_table(self.map_name)[np.linspace(0, 255, 17).astype(int)]
        stops = ", ".join("#{:02x}{:02x}{:02x}".format(*colour) for colour in table)
        return f"linear-gradient(to right, {stops})"

    def bar_html(self, *, gaps: bool = True) -> str:
        """A colour bar that needs no script and no image; styled by the classes in it and readable without any CSS.

        Args:
            gaps: Says that grey means no value; not for what is drawn over a grey image.
        """
        note = (", log scale" if self.log else "") + (", grey = no value" if gaps else "")
        ticks = "".join(
            f'<span style="position:absolute;left:{100 * at:.0f}%;transform:translateX(-{100 * at:.0f}%)">{text}</span>'
            for at, text in self.ticks()
        )
        return (
            f'<div class="colour-bar" role="img" aria-label="{escape(self.label)}, {self.ticks()[0][1]} to '
            f'{self.ticks()[-1][1]} {escape(self.unit)}">'
            f'<div style="font-size:11px;opacity:.8">{escape(self.label)} [{escape(self.unit)}]{note}</div>'
            f'<div style="height:10px;border-radius:2px;background:{self.css_gradient()}"></div>'
            f'<div style="position:relative;height:15px;font-size:11px;font-variant-numeric:tabular-nums">{ticks}</div>'
            "</div>"
        )


ATTENTION_SCALE = ColourScale(low=0.0, high=4.0, unit="times even", label="attention", map_name=ATTENTION_MAP)
"""Of flow points: 1 is what every point would get if attention were spread evenly over them."""


def symmetric(limit: float, *, unit: str, label: str) -> ColourScale:
    """A diverging scale from -limit to +limit: zero is the middle colour."""
    return ColourScale(low=-limit, high=limit, unit=unit, label=label, map_name=ERROR_MAP)


def _short_numbers(values: tuple[float, ...]) -> list[str]:
    """Numbers with just enough digits for their span."""
    span = max(values) - min(values)
    digits = 0 if span >= 20 else 1 if span >= 2 else 2 if span >= 0.2 else 3
    return [f"{value:.{digits}f}".replace("-0.0", "0.0") if value == 0 else f"{value:.{digits}f}" for value in values]

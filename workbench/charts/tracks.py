"""The 3D flow drawn flat on the image: predicted tracks solid over the true ones faded."""

from __future__ import annotations

import numpy as np

from ..foresight import REMARKS, Foresight
from .panels import Panel
from .track_style import faded, shown_tracks, track_colours

_SHIFT = 4
"""Fractional bits of the coordinates that the line drawing takes: tracks are not rounded to pixels."""


def tracks_panel(foresight: Foresight, *, enlarge: int = 3) -> Panel:
    """The current static image, enlarged, with the tracks of the points that move in truth or in the prediction."""
    import cv2  # a fifth of a second that the first paint of the page does not need

    flow, seen = foresight.flow, foresight.views["static"]
    rgb = np.ascontiguousarray(np.kron(seen.rgb, np.ones((enlarge, enlarge, 1), np.uint8)))
    image = (0.6 * rgb + 0.4 * 255).astype(np.uint8)  # paler, so that the tracks stand out
    shown = np.flatnonzero(flow.moving) if seen.K is None else shown_tracks(flow, seen.K)
    colours = track_colours(flow)

    def draw(points: np.ndarray, colour: np.ndarray, width: int) -> None:
        fixed = np.round(points * enlarge * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(image, [fixed[:, None]], False, colour.tolist(), width, cv2.LINE_AA, _SHIFT)

    if flow.uvz_true is not None and flow.known is not None:
        pale = faded(colours)
        for point in shown:
            draw(flow.uvz_true[point][flow.known[point], :2], pale[point], 2)
    for point in shown:
        draw(flow.uvz[point, :, :2], colours[point], 1)
    truth = "true faded" if flow.uvz_true is not None else "no true tracks here"
    note = f"predicted solid, {truth}; {len(shown)} of {len(flow.moving)} tracks have a line"
    limits = [REMARKS[name] for name in ("no_flow", "flat_flow") if name in foresight.remarks]
    if limits:
        note = limits[0] if not len(flow.uvz) else f"{note}; {limits[0]}"
    return Panel(key="static.tracks", title="3D flow over the image", image=image, note=note)

"""The 3D flow drawn flat on the image: predicted tracks solid over the true ones faded."""

from __future__ import annotations

import numpy as np

from trainer.episodes.episode import Episode, View

from ..foresight import REMARKS, Foresight
from ..pseudo import PSEUDO_TRACKS, image_tracks
from .panels import Panel
from .track_style import faded, shown_tracks, track_colours

_TRACKER_COLOUR = (20, 110, 190)
_SHIFT = 4
"""Fractional bits of the coordinates that the line drawing takes: tracks are not rounded to pixels."""


def labelled_panel(episode: Episode, step: int, view: View, *, width: int = 384) -> Panel | None:
    """The recorded image with a tracker's lines over it, each from now to where it was lost; None without any.

    Args:
        episode: The episode.
        step: Control step with an image.
        view: Whose image.
        width: Pixels of the picture.
    """
    import cv2

    height = round(width * episode.image_size(view)[0] / episode.image_size(view)[1])
    found = image_tracks(episode, view, step, (height, width))
    if found is None:
        return None
    image = cv2.resize(episode.rgb(view, step), (width, height), interpolation=cv2.INTER_LINEAR)
    image = (0.6 * image + 0.4 * 255).astype(np.uint8)
    for line in found["lines"]:
        lost = np.flatnonzero(np.isnan(line[:, 0]))
        seen = line[: lost[0]] if len(lost) else line
        fixed = np.round(seen * (1 << _SHIFT)).astype(np.int32)
        cv2.polylines(image, [fixed[:, None]], False, _TRACKER_COLOUR, 1, cv2.LINE_AA, _SHIFT)
        u, v = fixed[0].tolist()
        cv2.circle(image, (u, v), 2 << _SHIFT, _TRACKER_COLOUR, -1, cv2.LINE_AA, _SHIFT)
    note = f"{len(found['lines'])} of {found['of']} points move until t {found['until']}; a tracker's word, not exact"
    return Panel(key=f"{view}.tracker", title=f"{view}: 2D tracks by a tracker (pseudo)", image=image, note=note)


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
    kind = "a tracker's (pseudo) faded" if PSEUDO_TRACKS in foresight.remarks else "true faded"
    truth = kind if flow.uvz_true is not None else "no true tracks here"
    note = f"predicted solid, {truth}; {len(shown)} of {len(flow.moving)} tracks have a line"
    named = ("no_flow", "wrist_flow", "flat_flow", "also_wrist_flow")
    limits = [REMARKS[name] for name in named if name in foresight.remarks]
    if limits:
        note = limits[0] if not len(flow.uvz) else f"{note}; {limits[0]}"
    return Panel(key="static.tracks", title="3D flow over the image", image=image, note=note)

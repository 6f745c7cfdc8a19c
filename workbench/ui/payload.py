"""From values to what a browser can draw: one PNG sheet of all panels of a view, and rows of formatted numbers.

A sheet instead of a dozen images: everything on the page changes in one go, or not at all.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from trainer.episodes.episode import Episode, EpisodeInfo, View

from ..charts.panels import ClipScales, Panel, future_panels, now_panels
from ..charts.tables import NumberRow, PointRow, number_rows, point_rows
from ..foresight import REMARKS, Foresight
from ..pseudo import PSEUDO, PSEUDO_DEPTH, PSEUDO_TRACKS, image_tracks
from ..scene.picking import line_count

Json = dict[str, Any]
_BADGED = (
    "no_flow",
    "flat_flow",
    "wrist_flow",
    "also_wrist_flow",
    "patch_colours",
    "given_goal",
    PSEUDO_DEPTH,
    PSEUDO_TRACKS,
)
"""Remarks that no empty panel makes."""
_DRAWN_TRACKS = 160
"""More lines than this hide the image; the page says how many of how many it draws."""


def frame_payload(foresight: Foresight, view: View, scales: ClipScales, *, origin: str) -> Json:
    """Everything the Foresight tab shows at one time of one view."""
    now = now_panels(foresight, view, scales)
    flat = [panel.note for panel in now if panel.key == f"{view}.depth" and panel.image is not None and panel.note]
    return {
        "t": foresight.step,
        "future_t": foresight.future_step,
        "origin": origin,
        **sheet([*now, *future_panels(foresight, view, scales)]),
        "numbers": [number_cells(row) for row in number_rows(foresight)],
        "points": [point_cells(row, foresight) for row in point_rows(foresight)],
        "remarks": [*(REMARKS[name] for name in foresight.remarks if name in _BADGED), *flat],
        "no_points": next((REMARKS[name] for name in ("no_flow", "wrist_flow") if name in foresight.remarks), ""),
        "tracks": tracks(foresight),
    }


def recorded_payload(episode: Episode, step: int, view: View, scales: ClipScales) -> Json:
    """What is known without a policy: the recorded image, its depth and a tracker's lines. Needs no torch."""
    panels = [Panel(key=f"{view}.rgb", title="RGB", image=episode.rgb(view, step))]
    if episode.has("depth", view):
        scale = scales.depth[view]
        depth = scale.paint(episode.depth(view, step))
        panels.append(
            Panel(key=f"{view}.depth_true", title=f"depth {episode.info.depth_origin}", image=depth, scale=scale)
        )
    return {"t": step, "future_t": None, "origin": "recorded", **sheet(panels), "numbers": [], "points": []}


def sheet(panels: Sequence[Panel]) -> Json:
    """One PNG of all images side by side, and which panel is where (`at` = index from the left, absent = no image)."""
    images = [panel.image for panel in panels if panel.image is not None]
    places = iter(range(len(images)))
    listed = [
        {
            "key": panel.key,
            "title": panel.title,
            "note": panel.note,
            "at": None if panel.image is None else next(places),
        }
        for panel in panels
    ]
    if not images:
        return {"panels": listed, "sheet": None, "size": None}
    return {"panels": listed, "sheet": png_url(np.concatenate(images, axis=1)), "size": images[0].shape[:2]}


def png_url(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """The image as a data URL; fast rather than small, it crosses the loopback."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def number_cells(row: NumberRow) -> Json:
    """A metric as the cells of its table row, units written out."""
    return {
        "name": row.name,
        "label": row.label,
        "value": quantity(row.value, row.unit),
        "baseline": quantity(row.baseline, row.unit),
        "baseline_name": row.baseline_name,
        "skill": quantity(None if row.skill is None else 100 * row.skill, "%"),
        "better": row.skill is not None and row.skill > 0,
    }


def point_cells(row: PointRow, foresight: Foresight) -> Json:
    """A tracked point as the cells of its table row, with where to ring it in the image."""
    u, v = foresight.flow.uvz[row.point, 0, :2]
    return {
        "point": row.point,
        "px": quantity(row.px, ""),
        "lateral": quantity(row.lateral_mm, ""),
        "along": quantity(row.along_mm, "", sign=True),
        "moved": quantity(row.moved_mm, ""),
        "uv": [round(float(u), 1), round(float(v), 1)],
    }


def tracks(foresight: Foresight) -> Json:
    """Image tracks of moving points (of all points where the truth is unknown), 0.1 px steps.

    Where there are too many, the same points go first at every time, so that few lines come and go.
    """
    flow = foresight.flow
    chosen = np.flatnonzero(flow.moving)
    pool = chosen if chosen.size or flow.uvz_true is not None else np.arange(len(flow.uvz))
    rank = np.random.default_rng(0).permutation(len(flow.uvz))
    shown = np.sort(pool[np.argsort(rank[pool])[:_DRAWN_TRACKS]])
    true = None
    if flow.uvz_true is not None and flow.known is not None:
        true = np.where(flow.known[shown, :, None], flow.uvz_true[shown, :, :2], np.nan)
    return {
        "predicted": plain(np.round(flow.uvz[shown, :, :2].astype(float), 1)),
        "true": None if true is None else plain(np.round(true.astype(float), 1)),
        "of": len(flow.uvz),
        "moving": len(chosen),
        "in_3d": line_count(foresight),
        "start_depth": PSEUDO if flow.start_depth == "true" and PSEUDO_DEPTH in foresight.remarks else flow.start_depth,
        "pseudo": PSEUDO_TRACKS in foresight.remarks,
    }


def labelled_payload(episode: Episode, step: int, view: View, size: Sequence[int] | None) -> Json | None:
    """A tracker's lines over a picture of `size` (height, width), 0.1 px steps; None without any."""
    found = None if size is None else image_tracks(episode, view, step, (size[0], size[1]))
    return None if found is None else {**found, "lines": plain(np.round(found["lines"].astype(float), 1))}


def badges(info: EpisodeInfo) -> list[str]:
    """What the viewer must know about the recording to read the panels honestly."""
    depth = [f"{info.depth_origin} depth", info.depth_scale] if info.depth_origin and info.depth_scale else ["no depth"]
    return [*depth, "exact flow" if info.has_exact_flow else "no flow truth"]


def quantity(value: float | None, unit: str, *, sign: bool = False) -> str | None:
    """Three significant digits and the unit; None for what does not exist."""
    if value is None or not math.isfinite(value):
        return None
    digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:{'+' if sign else ''}.{min(digits, 5)}f}"
    return f"{text} {unit}".rstrip()


def plain(value: object) -> Any:
    """The same as JSON can hold it: arrays become lists, numpy numbers Python's, NaN and infinities null."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            with_gaps = value.astype(object)
            with_gaps[~np.isfinite(value)] = None
            return with_gaps.tolist()
        return value.tolist()
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

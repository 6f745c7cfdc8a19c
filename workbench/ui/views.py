"""The answers that cover a clip or a choice: opening a link, the timeline, attention, a click in the 3D viewer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from model.errors import ConfigError, WorkbenchError

from ..catalog import CheckpointRow
from ..charts.labels import HEADLINES, label_of
from ..charts.panels import attention_overlay
from ..charts.tables import attention_rows, point_rows, series_rows
from ..charts.timeline import attention_share_timeline, attention_timeline, error_timeline
from ..foresight import Foresight
from ..scene.picking import picked_point
from ..session import Session, open_session, parse_link
from .desk import Desk
from .payload import Json, badges, plain, point_cells, quantity, sheet

SKILL = "skill"
ATTENTION = "attention"
_PEAK_SHARE = 8.0
"""An overlay pixel gets the full colour at this many times the even share of its image."""


def opening_payload(desk: Desk, query: Mapping[str, str], *, refresh: bool) -> Json:
    """The lists, and the clip of the link; null with the `problem` in one line when that clip cannot be read.

    Raises:
        ConfigError: The link is malformed or names something that is not here.
    """
    if refresh:
        desk.catalog.refresh()
    session = open_session(desk.catalog, parse_link(query))
    try:
        clip, problem = _clip(desk, session), ""
    except WorkbenchError as error:  # the lists still let the visitor choose another clip
        clip, problem = None, str(error)
    return {
        "checkpoints": [{"id": row.id, "name": checkpoint_title(row)} for row in desk.catalog.checkpoints()],
        "episodes": [row.cells() for row in desk.catalog.episodes()],
        "problems": [problem.message for problem in desk.catalog.problems()],
        "metrics": [{"name": name, "label": label_of(name)} for name in HEADLINES],
        "clip": clip,
        "problem": problem,
    }


def timeline_payload(desk: Desk, checkpoint_id: str, episode_id: str, drawn: str) -> Json:
    """A figure over the times predicted so far and its table twin. `drawn` is a metric, "skill" or "attention".

    Raises:
        ConfigError: No such figure.
    """
    if drawn not in (SKILL, ATTENTION, *HEADLINES):
        raise ConfigError(f"there is no timeline of that name; choose {SKILL}, {ATTENTION} or a metric of the list")
    cached = desk.cached(checkpoint_id, episode_id)
    length = desk.catalog.episode(episode_id).info.length
    if drawn == ATTENTION:
        figure, rows = attention_timeline(cached, length=length), attention_rows(cached)
    elif drawn == SKILL:
        figure, rows = error_timeline(cached, length=length, quantity=SKILL), series_rows(cached, HEADLINES)
    else:
        figure, rows = error_timeline(cached, names=[drawn], length=length), series_rows(cached, [drawn])
    steps = [foresight.step for foresight in cached]
    shares = attention_share_timeline(cached, length=length) if drawn == ATTENTION else None
    return {"figure": plain(figure), "shares": plain(shares), "rows": [_cells(row) for row in rows], "steps": steps}


def attention_payload(foresight: Foresight) -> Json:
    """Weights by layer, head and token group, and the two overlays with the path each of them shows."""
    attention = foresight.attention
    # The flow map is normalised by its definition: what it shares out is the attention on the FLOW tokens.
    through = [("flow", "static", attention.through_flow, float(attention.to_flow.mean()))]
    through += [
        ("resampler", view, weight, float(weight.sum())) for view, weight in attention.through_resampler.items()
    ]
    return {
        "t": foresight.step,
        "overlays": [
            _overlay(path, view, foresight.views[view].rgb, weight, mass)
            for path, view, weight, mass in through
            if view in foresight.views
        ],
        "to_flow": plain(attention.to_flow),
        "uniform": attention.uniform,
        "groups": list(attention.groups),
        "to_group": plain(attention.to_group.mean(axis=1)),
    }


def _overlay(
    path: str, view: str, rgb: UInt8[np.ndarray, "h w 3"], weight: Float[np.ndarray, "h w"], mass: float
) -> Json:
    """One attention map over its image, scaled so that it adds up to `mass`, the share of attention it stands for."""
    shared_out = weight * (mass / max(float(weight.sum()), 1e-12))
    panel = attention_overlay(rgb, shared_out, _PEAK_SHARE * mass / weight.size)
    bar = panel.scale.bar_html() if panel.scale else ""
    return {"path": path, "view": view, "mass": quantity(100 * mass, "%"), "bar": bar, **sheet([panel])}


def pick_payload(foresight: Foresight, entity: str, instance: int) -> Json:
    """The table row of a track that was clicked in 3D; null for anything else."""
    point = picked_point(foresight, entity, instance)
    rows = [] if point is None else [row for row in point_rows(foresight, limit=None) if row.point == point]
    return {"t": foresight.step, "row": point_cells(rows[0], foresight) if rows else None}


def checkpoint_title(row: CheckpointRow) -> str:
    """The folder's name, with the run's in front where the folder alone says little ("final", "step-000500")."""
    parent = row.path.absolute().parent
    run = parent.parent if parent.name == "checkpoints" else parent
    return f"{run.name} {row.name}" if parent.name == "checkpoints" or row.name == "final" else row.name


def weights_kind(row: CheckpointRow) -> str:
    """Which weights the checkpoint holds, as its metadata says ("EMA"); empty when it does not say."""
    try:
        kind = json.loads((row.path / "metadata.json").read_text(encoding="utf-8")).get("weights", "")
    except (OSError, ValueError, AttributeError):  # loading the policy says what is wrong with it
        return ""
    return str(kind)


def _clip(desk: Desk, session: Session) -> Json | None:
    row, checkpoint = session.episode, session.checkpoint
    if row is None:
        return None
    scales = desk.scales(row.id, checkpoint.id if checkpoint else None)
    return {
        "checkpoint": None if checkpoint is None else {"id": checkpoint.id, "weights": weights_kind(checkpoint)},
        "episode": {"id": row.id, "title": row.title},
        "t": session.step,
        "steps": list(row.frame_steps),
        "length": row.info.length,
        "hz": row.info.control_hz,
        "instruction": row.info.instruction,
        "outcome": row.info.outcome or "outcome unknown",
        "views": list(row.info.views),
        "badges": badges(row.info),
        "bars": {
            view: {"depth": scales.depth[view].bar_html(), "error": scales.error[view].bar_html()}
            for view in row.info.views
        },
        "range_from": scales.origin,
    }


def _cells(row: Mapping[str, float]) -> dict[str, Any]:
    """A row of a table twin with four significant digits, whole steps as whole numbers."""
    return {
        key: None if not np.isfinite(value) else int(value) if float(value).is_integer() else float(f"{value:.4g}")
        for key, value in row.items()
    }

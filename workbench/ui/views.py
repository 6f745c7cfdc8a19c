"""The answers that cover a clip or a choice: opening a link, the timelines, a click in the 3D viewer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from model.errors import ConfigError, WorkbenchError

from ..catalog_rows import CheckpointRow
from ..charts.attention_time import attention_rows, attention_share_timeline, attention_timeline, drawn_names
from ..charts.labels import HEADLINES, label_of
from ..charts.tables import point_rows, series_rows
from ..charts.timeline import error_timeline
from ..familiar import assumed, corrected, unfamiliar
from ..foresight import Foresight
from ..pseudo import label_badges
from ..scene.picking import picked_point
from ..session import Session, nearest_step, open_session, parse_link
from .attention_view import choices
from .desk import Desk
from .payload import Json, badges, plain, point_cells

SKILL = "skill"


def opening_payload(desk: Desk, query: Mapping[str, str], *, refresh: bool) -> Json:
    """The lists, and the clip of the link; null with the `problem` in one line when that clip cannot be read.

    Raises:
        ConfigError: The link is malformed or names something that is not here.
    """
    if refresh:
        desk.catalog.refresh()
        desk.forget_episodes()
    session = open_session(desk.catalog, parse_link(query))
    try:
        clip, problem = _clip(desk, session), ""
    except WorkbenchError as error:  # the lists still let the visitor choose another clip
        clip, problem = None, desk.told(str(error))
    return {
        "checkpoints": [{"id": row.id, "name": checkpoint_title(row)} for row in desk.catalog.checkpoints()],
        "listing": listing_payload(desk),
        "metrics": [{"name": name, "label": label_of(name)} for name in HEADLINES],
        "attention": choices(),
        "clip": clip,
        "problem": problem,
    }


def listing_payload(desk: Desk) -> Json | None:
    """How far listing the episodes is, None once it is done."""
    progress = desk.catalog.progress()
    return None if progress is None else asdict(progress)


def timeline_payload(desk: Desk, checkpoint_id: str, episode_id: str, drawn: str) -> Json:
    """A figure over the times predicted so far and its table twin. `drawn` is a metric or "skill".

    Raises:
        ConfigError: No such figure.
    """
    if drawn not in (SKILL, *HEADLINES):
        raise ConfigError(f"there is no timeline of that name; choose {SKILL} or a metric of the list")
    cached = desk.cached(checkpoint_id, episode_id)
    length = desk.episode(episode_id).info.length
    if drawn == SKILL:
        figure, rows = error_timeline(cached, length=length, quantity=SKILL), series_rows(cached, HEADLINES)
    else:
        figure, rows = error_timeline(cached, names=[drawn], length=length), series_rows(cached, [drawn])
    return {"figure": plain(figure), "rows": [_cells(row) for row in rows]}


def attention_timeline_payload(desk: Desk, checkpoint_id: str, episode_id: str, drawn: str) -> Json:
    """The action's attention over the times predicted so far: heat map, lines, table twin, and what can be drawn.

    Raises:
        ConfigError: No such token group.
    """
    cached = desk.cached(checkpoint_id, episode_id)
    length = desk.episode(episode_id).info.length
    names = drawn_names(cached)
    chosen = drawn or names[0]
    return {
        "names": names,
        "drawn": chosen,
        "figure": plain(attention_timeline(cached, length=length, name=chosen)),
        "shares": plain(attention_share_timeline(cached, length=length, name=chosen)),
        "rows": [_cells(row) for row in attention_rows(cached, chosen)],
    }


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
    return str(_metadata(row).get("weights", ""))


def _metadata(row: CheckpointRow) -> dict[str, Any]:
    """What the checkpoint says of itself; nothing where it cannot be read: loading the policy says why."""
    try:
        metadata = json.loads((row.path / "metadata.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return metadata if isinstance(metadata, dict) else {}


def _clip(desk: Desk, session: Session) -> Json | None:
    row, checkpoint = session.episode, session.checkpoint
    if row is None:
        return None
    episode = desk.episode(row.id)
    info, steps = episode.info, [int(step) for step in episode.frame_steps]
    scales = desk.scales(row.id, checkpoint.id if checkpoint else None)
    new = [] if checkpoint is None else unfamiliar(info, _metadata(checkpoint))
    return {
        "checkpoint": None if checkpoint is None else {"id": checkpoint.id, "weights": weights_kind(checkpoint)},
        "episode": {"id": row.id, "title": row.title},
        "t": nearest_step(steps, session.step),
        "steps": steps,
        "length": info.length,
        "hz": info.control_hz,
        "instruction": info.instruction,
        "outcome": info.outcome or "outcome unknown",
        "views": list(info.views),
        "badges": badges(info) + label_badges(episode) + assumed(info) + corrected(info) + new,
        "notes": list(info.notes),
        "bars": {
            view: {"depth": scales.depth[view].bar_html(), "error": scales.error[view].bar_html()}
            for view in info.views
        },
        "unknown_intrinsics": [view for view in info.views if not episode.has("K", view)],
        "range_from": scales.origin,
    }


def _cells(row: Mapping[str, float]) -> dict[str, Any]:
    """A row of a table twin with four significant digits, whole steps as whole numbers."""
    return {
        key: None if not np.isfinite(value) else int(value) if float(value).is_integer() else float(f"{value:.4g}")
        for key, value in row.items()
    }

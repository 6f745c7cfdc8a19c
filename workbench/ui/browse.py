"""What the Browse tab shows: pages of the list, one episode with all its cameras and numbers, evaluation chains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from model.errors import ConfigError, EpisodeError, WorkbenchError
from trainer.episodes.episode import Episode, View
from trainer.episodes.open import split_name
from trainer.episodes.readers.calvin_chains import Chain, read_chains
from trainer.episodes.settings_store import setting_mark

from ..catalog_rows import EpisodeRow
from ..catalog_search import Search, choices, find
from ..charts.features import drawn_steps, feature_figures
from ..familiar import assumed, corrected
from .desk import Desk
from .payload import Json, badges, plain
from .views import listing_payload

MOST_ROWS = 500
"""Rows of one answer; the page asks again for what is scrolled into sight."""
Picture = Literal["rgb", "depth"]


@dataclass(frozen=True, kw_only=True)
class Page:
    """Which part of the found rows is wanted."""

    offset: int = 0
    limit: int = 100


def rows_payload(desk: Desk, search: Search, page: Page, space: str | None) -> Json:
    """Part of the rows that match, how many there are, and on the first page what there is to filter by.

    Raises:
        ConfigError: No such column, or an impossible part of the list.
    """
    if page.offset < 0 or not 0 < page.limit <= MOST_ROWS:
        raise ConfigError(f"a part of the list has 1 to {MOST_ROWS} rows, from row 0 on")
    rows = desk.catalog.episodes(space)
    found = find(rows, search)
    answer: Json = {
        "total": len(rows),
        "found": len(found),
        "offset": page.offset,
        "rows": [_cells(row) for row in found[page.offset : page.offset + page.limit]],
        "listing": listing_payload(desk),
    }
    if page.offset == 0:
        answer["choices"] = choices(rows)
        answer["problems"] = [desk.told(problem.message) for problem in desk.catalog.problems(space)]
    return answer


def episode_payload(desk: Desk, episode_id: str) -> Json:
    """What is known of an episode before a frame of it is read.

    Raises:
        ConfigError: No such id.
        EpisodeError: It cannot be opened.
    """
    row, episode = desk.catalog.episode(episode_id), desk.episode(episode_id)
    info = episode.info
    return {
        "id": row.id,
        "title": row.title,
        "instruction": info.instruction,
        "source": info.source,
        "outcome": info.outcome or "outcome unknown",
        "badges": [*badges(info), *assumed(info), *corrected(info)],
        "notes": list(info.notes),
        "length": info.length,
        "hz": info.control_hz,
        "steps": [int(step) for step in episode.frame_steps],
        "drawn": plain(drawn_steps(info.length)),
        "pictures": pictures(episode),
    }


def pictures(episode: Episode) -> list[Json]:
    """All that can be looked at: each view, its depth where there is some, then every further camera."""
    listed: list[Json] = []
    for view in episode.info.views:
        height, width = episode.image_size(view)
        kinds: tuple[Picture, ...] = ("rgb", "depth") if episode.has("depth", view) else ("rgb",)
        shown: Json = {"camera": view, "source": episode.camera_name(view), "size": [height, width], "policy": True}
        listed += [{**shown, "kind": kind} for kind in kinds]
    for name, camera in episode.others.items():
        size = list(camera.size)
        listed.append({"camera": name, "source": name, "kind": "rgb", "size": size, "policy": False})
    return listed


def picture(desk: Desk, episode_id: str, camera: str, kind: Picture, step: int) -> UInt8[np.ndarray, "h w 3"]:
    """One frame of one camera; depth in the clip's fixed colours.

    Raises:
        ConfigError: No such id or camera.
        EpisodeError: No image at that step, or a damaged one.
    """
    episode = desk.episode(episode_id)
    view: View | None = next((view for view in episode.info.views if view == camera), None)
    if view is not None and kind == "depth":
        return desk.scales(episode_id, None).depth[view].paint(episode.depth(view, step))
    if view is not None:
        return episode.rgb(view, step)
    if camera not in episode.others or kind != "rgb":
        raise ConfigError("this episode has no such camera; open the page anew")
    frame = np.searchsorted(episode.frame_steps, step)
    if frame == len(episode.frame_steps) or episode.frame_steps[frame] != step:
        raise EpisodeError(f"{episode.name}: no image at step {step}")
    return episode.others[camera].rgb(int(frame))


def bars_payload(desk: Desk, episode_id: str) -> Json:
    """What the colours of each view's depth mean, as markup. Raises as `picture`: a few frames are read."""
    episode = desk.episode(episode_id)
    views: list[View] = [view for view in episode.info.views if episode.has("depth", view)]
    return {"bars": {view: desk.scales(episode_id, None).depth[view].bar_html() for view in views}}


def features_payload(desk: Desk, episode_id: str) -> Json:
    """Every numeric feature as a figure and as a table. Raises as `episode_payload`."""
    return {"features": feature_figures(desk.episode(episode_id))}


def chains_payload(desk: Desk, space: str | None) -> Json:
    """The evaluation chains that lie beside CALVIN's splits; the splits of one folder share theirs."""
    sets: dict[tuple[str, ...], Json] = {}
    for dataset in desk.catalog.datasets(space):
        if dataset.format != "calvin":
            continue
        name = dataset.path.absolute().parent.name
        try:
            rows = [[_world(chain), *chain.tasks] for chain in read_chains(dataset.path)]
            problem = ""
        except WorkbenchError as error:
            rows, problem = [], desk.told(str(error))
        if rows or problem:
            sets.setdefault((name, problem, *(rows[0] if rows else ())), {"of": name, "problem": problem, "rows": rows})
    return {"sets": list(sets.values())}


def _world(chain: Chain) -> str:
    """The initial state in words: "led 0, drawer open, red_block table"."""
    return ", ".join(f"{name} {value}" for name, value in chain.initial_state.items())


def _cells(row: EpisodeRow) -> Json:
    stamp = row.stamp[:12] + setting_mark(split_name(row.name)[0])
    return {**row.cells(), "stamp": stamp, "own": row.space is not None}

"""What a visitor takes home: files made from the predictions that exist, by opaque ids, nothing computed anew."""

from __future__ import annotations

import threading
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response

from trainer.episodes.episode import View

from ..foresight import Foresight
from .answer import answer
from .desk import Desk

Kind = Literal["numbers.csv", "cloud.ply", "tracks.ply", "panels.mp4", "episode.rrd"]
_TYPES = {"csv": "text/csv; charset=utf-8", "ply": "application/octet-stream", "mp4": "video/mp4"}


def add_export_routes(api: APIRouter, desk: Desk) -> None:
    """Adds `/export/KIND`: timeline as CSV, 3D view as PLY, panels as MP4, the clip as a Rerun recording."""

    @api.get("/export/{kind}")
    async def export(
        request: Request, kind: Kind, episode: str, checkpoint: str, t: int, view: View = "static"
    ) -> Response:
        def work(cancel: threading.Event) -> Response:
            content = _content(desk, kind, episode, checkpoint, t, view, cancel)
            headers = {"Content-Disposition": f'attachment; filename="{kind}"', "Cache-Control": "no-store"}
            return Response(content, media_type=_TYPES.get(kind[-3:], "application/octet-stream"), headers=headers)

        return await answer(request, work)


def _content(
    desk: Desk, kind: Kind, episode_id: str, checkpoint_id: str, step: int, view: View, cancel: threading.Event
) -> bytes:
    """The bytes of a file.

    Raises:
        ConfigError: No such id, no camera for a PLY, or nothing predicted for a film.
        EpisodeError: A frame cannot be read.
    """
    episode = desk.episode(episode_id)

    def now() -> Foresight:
        return desk.foresee(checkpoint_id, episode_id, step, cancel)

    if kind == "cloud.ply":
        from ..export.ply import cloud_ply

        return cloud_ply(now())
    if kind == "tracks.ply":
        from ..export.ply import tracks_ply

        return tracks_ply(episode, now())
    predicted = desk.cached(checkpoint_id, episode_id)
    if kind == "numbers.csv":
        from ..export.numbers import numbers_csv

        return numbers_csv(predicted).encode()
    if kind == "panels.mp4":
        from ..export.video import panels_mp4

        return panels_mp4(predicted, view, desk.scales(episode_id, checkpoint_id), hz=episode.info.control_hz)
    from ..scene.recording import EpisodeScene

    return EpisodeScene(episode).whole(predicted)

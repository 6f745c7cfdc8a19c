"""What the page's scripts fetch: JSON and .rrd by opaque ids, read-only, no state between two requests.

An error the input caused comes back as `{"error": one line}` with status 422; the page shows that line.
"""

from __future__ import annotations

import threading

from fastapi import APIRouter, Request
from fastapi.responses import Response

from trainer.episodes.episode import View

from .answer import answer
from .desk import Desk
from .exports import add_export_routes
from .payload import Json, frame_payload, recorded_payload
from .views import SKILL, attention_payload, opening_payload, pick_payload, timeline_payload

_RRD = "application/octet-stream"


def make_api(desk: Desk) -> APIRouter:
    """The routes under `/api`. Ids, times and views are all a request may say."""
    api = APIRouter(prefix="/api")
    _add_frame_routes(api, desk)
    _add_clip_routes(api, desk)
    _add_scene_routes(api, desk)
    add_export_routes(api, desk)
    return api


def _add_frame_routes(api: APIRouter, desk: Desk) -> None:
    @api.get("/frame")
    async def frame(
        request: Request, episode: str, t: int, view: View = "static", checkpoint: str | None = None
    ) -> Response:
        """One time of one view; without a checkpoint what was recorded, which needs no torch."""

        def work(cancel: threading.Event) -> Json:
            opened = desk.episode(episode)
            scales = desk.scales(episode, checkpoint)
            if checkpoint is None:
                return recorded_payload(opened, t, view, scales)
            origin = desk.predictor(checkpoint).origin(opened, t)
            return frame_payload(desk.foresee(checkpoint, episode, t, cancel), view, scales, origin=origin)

        return await answer(request, work)

    @api.get("/predict")
    async def predict(request: Request, episode: str, t: int, checkpoint: str) -> Response:
        """Predicts one time without drawing it: what "predict whole clip" repeats."""
        return await answer(request, lambda cancel: {"t": desk.foresee(checkpoint, episode, t, cancel).step})

    @api.get("/attention")
    async def attention(request: Request, episode: str, t: int, checkpoint: str) -> Response:
        """The attention of one time: overlays and weights by layer, head and token group."""
        return await answer(request, lambda cancel: attention_payload(desk.foresee(checkpoint, episode, t, cancel)))

    @api.get("/pick")
    async def pick(request: Request, episode: str, t: int, checkpoint: str, entity: str, instance: int) -> Response:
        """The point behind a click in the 3D viewer."""
        return await answer(
            request,
            lambda cancel: pick_payload(desk.foresee(checkpoint, episode, t, cancel), entity, instance),
        )


def _add_clip_routes(api: APIRouter, desk: Desk) -> None:
    @api.get("/open")
    async def open_link(request: Request, refresh: bool = False) -> Response:
        """The lists, and the clip that the link in the query names (or the first one)."""
        query = dict(request.query_params)
        return await answer(request, lambda _: opening_payload(desk, query, refresh=refresh))

    @api.get("/timeline")
    async def timeline(request: Request, episode: str, checkpoint: str, drawn: str = SKILL) -> Response:
        """A figure over the times predicted so far, with its table twin."""
        return await answer(request, lambda _: timeline_payload(desk, checkpoint, episode, drawn))


def _add_scene_routes(api: APIRouter, desk: Desk) -> None:
    @api.get("/scene.rrd")
    async def scene(request: Request, episode: str, checkpoint: str | None = None) -> Response:
        """The recording to open: everything that needs no prediction."""
        return await answer(request, lambda _: _rrd(*desk.scene_opening(episode, checkpoint)))

    @api.get("/scene/step.rrd")
    async def scene_step(request: Request, episode: str, t: int, checkpoint: str) -> Response:
        """What one predicted time adds to that recording."""
        return await answer(request, lambda cancel: _rrd(*desk.scene_step(episode, checkpoint, t, cancel)))


def _rrd(recording_id: str, content: bytes) -> Response:
    return Response(content, media_type=_RRD, headers={"X-Recording": recording_id, "Cache-Control": "no-store"})

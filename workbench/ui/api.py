"""What the page's scripts fetch: JSON and .rrd by opaque ids, read-only, no state between two requests.

An error the input caused comes back as `{"error": one line}` with status 422; the page shows that line.
"""

from __future__ import annotations

import threading
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from trainer.episodes.episode import View

from ..attention.explain import Question
from ..attention.methods import MethodName, TargetName
from .answer import answer
from .attention_view import attention_payload
from .desk import Desk
from .exports import add_export_routes
from .payload import Json, frame_payload, labelled_payload, recorded_payload
from .views import SKILL, attention_timeline_payload, opening_payload, pick_payload, timeline_payload

_RRD = "application/octet-stream"


def make_api(desk: Desk) -> APIRouter:
    """The routes under `/api`. Ids, times and views are all a request may say."""
    api = APIRouter(prefix="/api")
    _add_frame_routes(api, desk)
    _add_attention_routes(api, desk)
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
                made = recorded_payload(opened, t, view, scales)
            else:
                origin = desk.predictor(checkpoint).origin(opened, t)
                made = frame_payload(desk.foresee(checkpoint, episode, t, cancel), view, scales, origin=origin)
            return {**made, "labelled": labelled_payload(opened, t, view, made["size"])}

        return await answer(request, work)

    @api.get("/predict")
    async def predict(request: Request, episode: str, t: int, checkpoint: str) -> Response:
        """Predicts one time without drawing it: what "predict whole clip" repeats."""
        return await answer(request, lambda cancel: {"t": desk.foresee(checkpoint, episode, t, cancel).step})

    @api.get("/pick")
    async def pick(request: Request, episode: str, t: int, checkpoint: str, entity: str, instance: int) -> Response:
        """The point behind a click in the 3D viewer."""
        return await answer(
            request,
            lambda cancel: pick_payload(desk.foresee(checkpoint, episode, t, cancel), entity, instance),
        )


def _question(
    method: MethodName = "raw",
    query: str = "ACT",
    target: TargetName = "translation",
    layer: int | None = None,
    head: int | None = None,
) -> Question:
    """What a request asks of the attention; layers and heads count from 0, absent = mean over all."""
    return Question(method=method, query=query, target=target, layer=layer, head=head)


_Asked = Annotated[Question, Depends(_question)]


def _add_attention_routes(api: APIRouter, desk: Desk) -> None:
    @api.get("/attention")
    async def attention(
        request: Request, episode: str, t: int, checkpoint: str, asked: _Asked, age: int = 0, run: bool = False
    ) -> Response:
        """Where the action looks at one time: pictures of one frame of the window, and every number of the tab."""

        def work(cancel: threading.Event) -> Json:
            foresight, weights = desk.explain(checkpoint, episode, t, asked, run=run, cancel=cancel)
            height, width = foresight.views["static"].rgb.shape[:2]
            return attention_payload(
                foresight, asked, weights, age, lambda view, step: desk.image(episode, view, step, (height, width))
            )

        return await answer(request, work)

    @api.get("/attention/progress")
    async def progress(request: Request, episode: str, t: int, checkpoint: str, asked: _Asked) -> Response:
        """How far a slow method is: forward passes done, and in all."""

        def work(_: threading.Event) -> Json:
            done, total = desk.explained_so_far(checkpoint, episode, t, asked) or (0, 0)
            return {"done": done, "total": total}

        return await answer(request, work)

    @api.get("/attention/timeline")
    async def timeline(request: Request, episode: str, checkpoint: str, drawn: str = "") -> Response:
        """Attention over the times predicted so far, with its table twin."""
        return await answer(request, lambda _: attention_timeline_payload(desk, checkpoint, episode, drawn))

    @api.get("/scene/attention.rrd")
    async def scene(
        request: Request, episode: str, t: int, checkpoint: str, asked: _Asked, shown: bool = True
    ) -> Response:
        """The flow's start points coloured by weight, for the recording that is open; `shown=false` removes them."""

        def work(cancel: threading.Event) -> Response:
            foresight, weights = desk.explain(checkpoint, episode, t, asked, run=False, cancel=cancel)
            return _rrd(*desk.scene_attention(episode, checkpoint, foresight, weights if shown else None))

        return await answer(request, work)


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

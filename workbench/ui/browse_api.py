"""The routes of the Browse tab: JSON and JPEG by opaque ids, read-only."""

from __future__ import annotations

import threading
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from trainer.episodes.guarded.child import start_all

from ..cache_folder import cache_folder
from ..catalog_search import FILTERS, Search
from ..catalog_thumbnails import Thumbnails, jpeg
from .answer import answer
from .browse import (
    Page,
    Picture,
    bars_payload,
    chains_payload,
    episode_payload,
    features_payload,
    picture,
    rows_payload,
)
from .desk import Desk
from .visitor import visitor

_LARGEST = (640, 480)
"""Pictures of the chosen episode, pixels; the original sizes are said beside them."""
_KEEP = {"Cache-Control": "private, max-age=86400"}


def _search(request: Request, q: str = "", order: str | None = None, descending: bool = False) -> Search:
    only = {name: value for name in FILTERS if (value := request.query_params.get(name))}
    return Search(words=q[:200], only=only, order=order or None, descending=descending)


def make_browse_api(desk: Desk) -> APIRouter:
    """The routes under `/api/browse`."""
    api = APIRouter(prefix="/api/browse")
    _add_list_routes(api, desk)
    _add_episode_routes(api, desk)
    return api


def _add_list_routes(api: APIRouter, desk: Desk) -> None:
    thumbnails = Thumbnails(desk.catalog.open, cache_folder() / "thumbnails")
    looked_at = threading.Event()

    @api.get("/rows")
    async def rows(
        request: Request, search: Annotated[Search, Depends(_search)], offset: int = 0, limit: int = 100
    ) -> Response:
        """Part of the list. Who looks at it will choose an episode: what reads files is started meanwhile."""
        if limit > 1 and not looked_at.is_set():  # one row: the page that opens asks how far the listing is
            looked_at.set()
            threading.Thread(target=start_all, daemon=True).start()
        page, space = Page(offset=offset, limit=limit), visitor(request)
        return await answer(request, lambda _: rows_payload(desk, search, page, space))

    @api.get("/thumbnail")
    async def thumbnail(request: Request, episode: str) -> Response:
        """The small picture of a row; its address holds the dataset's stamp, so it may be kept."""

        def work(cancel: threading.Event) -> Response:
            made = thumbnails.jpeg(desk.catalog.episode(episode), cancel)
            return Response(made, media_type="image/jpeg", headers=_KEEP)

        return await answer(request, work)

    @api.get("/chains")
    async def chains(request: Request) -> Response:
        """CALVIN's evaluation chains."""
        space = visitor(request)
        return await answer(request, lambda _: chains_payload(desk, space))


def _add_episode_routes(api: APIRouter, desk: Desk) -> None:
    @api.get("/episode")
    async def episode(request: Request, episode: str) -> Response:
        """What is known of an episode before a frame of it is read."""
        return await answer(request, lambda _: episode_payload(desk, episode))

    @api.get("/picture")
    async def one_picture(request: Request, episode: str, camera: str, t: int, kind: Picture = "rgb") -> Response:
        """A frame of a camera as JPEG."""

        def work(_: threading.Event) -> Response:
            made = jpeg(picture(desk, episode, camera, kind, t), _LARGEST, quality=88)
            return Response(made, media_type="image/jpeg", headers={"Cache-Control": "no-store"})

        return await answer(request, work)

    @api.get("/bars")
    async def bars(request: Request, episode: str) -> Response:
        """The colour bar of each view's depth."""
        return await answer(request, lambda _: bars_payload(desk, episode))

    @api.get("/features")
    async def features(request: Request, episode: str) -> Response:
        """Every numeric feature over time."""
        return await answer(request, lambda _: features_payload(desk, episode))

"""What the Audit tab fetches: audits by secret name, evidence as PNG, what is set for a source, and its undoing."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import APIRouter, Request
from fastapi.responses import Response

from model.errors import ConfigError

from .answer import answer
from .audit_desk import AuditDesk, Scope
from .audit_payload import (
    audit_payload,
    png,
    remove_by_id,
    run_payload,
    settings_payload,
    source_payload,
)
from .payload import Json
from .visitor import visitor


def make_audit_api(desk: AuditDesk) -> APIRouter:
    """The routes under `/api/audit`. A request says ids, names of runs and an angle, never a path or a setting."""
    api = APIRouter(prefix="/api/audit")
    _add_run_routes(api, desk)
    _add_source_routes(api, desk)
    return api


def _add_run_routes(api: APIRouter, desk: AuditDesk) -> None:
    @api.post("/runs")
    async def start(request: Request, episode: str) -> Response:
        """Starts an audit; its name is the only way to it."""
        return await answer(request, lambda _: {"run": desk.start(episode)})

    @api.get("/runs/{name}")
    async def look(request: Request, name: str) -> Response:
        """How far an audit is."""
        return await answer(request, lambda _: run_payload(desk.look(name)))

    @api.delete("/runs/{name}")
    async def cancel(request: Request, name: str) -> Response:
        """Ends an audit."""
        return await answer(request, lambda _: _done(lambda: desk.cancel(name)))

    @api.get("/runs/{name}/result")
    async def result(request: Request, name: str) -> Response:
        """What a finished audit found."""
        return await answer(request, lambda _: audit_payload(desk, name))

    @api.get("/runs/{name}/evidence/{index}.png")
    async def evidence(request: Request, name: str, index: int) -> Response:
        """The picture that shows a finding."""

        def draw(_: object) -> Response:
            picture = desk.finding(name, index).evidence
            if picture is None:
                raise ConfigError("this finding has no picture")
            return Response(png(picture), media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})

        return await answer(request, draw)

    @api.post("/runs/{name}/apply/{index}")
    async def apply(request: Request, name: str, index: int, scope: Scope = "dataset") -> Response:
        """Sets for the source what a finding proposes."""
        return await answer(request, lambda _: _done(lambda: desk.apply(name, index, scope)))


def _add_source_routes(api: APIRouter, desk: AuditDesk) -> None:
    @api.get("/source")
    async def source(request: Request, episode: str) -> Response:
        """What is set for the source of an episode."""
        return await answer(request, lambda _: source_payload(desk, episode))

    @api.post("/undo")
    async def undo(request: Request, episode: str) -> Response:
        """Takes back what was set last for it."""
        return await answer(request, lambda _: _done(lambda: desk.undo(episode)))

    @api.post("/field-of-view")
    async def field_of_view(request: Request, episode: str, degrees: float) -> Response:
        """Supplies the intrinsics that a source does not have."""
        return await answer(request, lambda _: _done(lambda: desk.assume_field_of_view(episode, degrees)))

    @api.get("/settings")
    async def settings(request: Request) -> Response:
        """Everything that is set for the sources of the catalogue."""
        space = visitor(request)
        return await answer(request, lambda _: settings_payload(desk, space))

    @api.delete("/settings/{setting}")
    async def remove(request: Request, setting: str) -> Response:
        """Removes one of them."""
        space = visitor(request)
        return await answer(request, lambda _: _done(lambda: remove_by_id(desk, space, setting)))


def _done(change: Callable[[], None]) -> Json:
    change()
    return {}

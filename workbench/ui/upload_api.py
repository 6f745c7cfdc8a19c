"""How files come in: announced first, then sent as one stream, so that what cannot fit is refused before it is sent.

    POST   /api/uploads         {"files": [[name, bytes], ...]} -> {"upload": name}
    PUT    /api/uploads/NAME    the bytes of all files, one after the other -> the episode to open
    DELETE /api/uploads/NAME    removes it, or cancels it while it is coming; without NAME all of this visitor's
    GET    /api/uploads         what this visitor has here

The server's guard answers our own page only; beyond that a visitor is the cookie of `visitor`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import anyio
import anyio.to_thread
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from model.errors import ConfigError, WorkbenchError

from ..upload_incoming import Incoming
from .answer import answer
from .payload import Json
from .uploading import UploadDesk
from .visitor import visitor, welcome

_PIECE = 1 << 20
_PATIENCE_S = 60.0
"""A connection that sends nothing for so long is taken as lost."""
_BYTES_A_FILE = 400


def make_upload_api(desk: UploadDesk) -> APIRouter:
    """The routes under `/api/uploads`."""
    api = APIRouter(prefix="/api/uploads")
    _add_coming_routes(api, desk)
    _add_kept_routes(api, desk)
    return api


def _add_coming_routes(api: APIRouter, desk: UploadDesk) -> None:
    @api.post("")
    async def announce(request: Request) -> Response:
        """Sets room aside; the answer carries the visitor's cookie."""
        most = _BYTES_A_FILE * desk.uploads.limits.files
        body = bytearray()
        async for part in request.stream():
            if len(body) <= most:  # more is read and thrown away, and then no JSON
                body += part
        cookie = Response()
        space = welcome(request, cookie)
        made = await answer(request, lambda _: {"upload": desk.begin(space, bytes(body)).name})
        if "set-cookie" in cookie.headers:
            made.headers["set-cookie"] = cookie.headers["set-cookie"]
        return made

    @api.put("/{name}")
    async def send(request: Request, name: str) -> Response:
        """Takes the bytes, unpacks them and opens what is in them."""
        space, stream = visitor(request), request.stream()
        try:
            if space is None:
                raise ConfigError("no upload of that name is under way; start it again")
            incoming = desk.uploads.incoming(space, name)
        except ConfigError as error:
            return await _refuse(stream, error)
        try:
            await _take(stream, incoming)
        except WorkbenchError as error:
            await anyio.to_thread.run_sync(desk.uploads.abort, space, incoming)
            return await _refuse(stream, error)
        except BaseException as error:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(desk.uploads.abort, space, incoming)
            if isinstance(error, ClientDisconnect | TimeoutError):
                return Response(status_code=499)  # nobody reads this answer
            raise
        return await answer(request, lambda _: desk.finish(space, incoming))


def _add_kept_routes(api: APIRouter, desk: UploadDesk) -> None:
    @api.get("")
    async def listed(request: Request) -> Response:
        """This visitor's uploads, and how much fits."""
        space = visitor(request)
        return await answer(request, lambda _: desk.listed(space))

    @api.delete("")
    async def remove_all(request: Request) -> Response:
        """Removes all that this visitor has here."""
        return await _removed(request, desk, None)

    @api.delete("/{name}")
    async def remove(request: Request, name: str) -> Response:
        """Removes one upload, or cancels it."""
        return await _removed(request, desk, name)


async def _removed(request: Request, desk: UploadDesk, name: str | None) -> Response:
    space = visitor(request)

    def work(_: object) -> Json:
        if space is not None:
            desk.remove(space, name)
        return desk.listed(space)

    return await answer(request, work)


async def _take(stream: AsyncGenerator[bytes], incoming: Incoming) -> None:
    """Writes a request's body in pieces, off the event loop."""
    pieces = bytearray()
    while part := await asyncio.wait_for(anext(stream, b""), _PATIENCE_S):
        pieces += part
        if len(pieces) >= _PIECE:
            await anyio.to_thread.run_sync(incoming.write, bytes(pieces))
            pieces.clear()
    await anyio.to_thread.run_sync(incoming.write, bytes(pieces))


async def _refuse(stream: AsyncGenerator[bytes], error: WorkbenchError) -> Response:
    """One line, after the rest of the body was thrown away: a browser reads no answer while it is still sending."""
    try:
        while await asyncio.wait_for(anext(stream, b""), _PATIENCE_S):
            pass
    except (ClientDisconnect, TimeoutError):
        return Response(status_code=499)
    return JSONResponse({"error": str(error)}, status_code=422)

"""One request, answered on a thread: cancelled once the browser has gone, every error one readable line."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import anyio.to_thread
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response

from model.errors import WorkbenchError

from ..predict import CancelledError
from .payload import Json

_log = logging.getLogger(__name__)
_GONE = 499
"""The browser no longer waits; nobody reads this answer."""


class _Escaped(JSONResponse):
    """JSON in ASCII: names of files and columns may hold bytes that are no text, which UTF-8 cannot carry."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


async def answer(request: Request, work: Callable[[threading.Event], Json | Response]) -> Response:
    """Runs `work(cancel)` on a thread.

    Input errors become status 422 and anything else 500, both as `{"error": one line}` without a path of this machine;
    a traceback goes to the terminal only.
    """
    cancel = threading.Event()
    watcher = asyncio.create_task(_set_when_gone(request, cancel))
    try:
        result = await anyio.to_thread.run_sync(work, cancel)
    except CancelledError:
        return Response(status_code=_GONE)
    except WorkbenchError as error:
        told: Callable[[str], str] = getattr(request.app.state, "told", str)  # set by `make_server`
        return _Escaped({"error": told(str(error))}, status_code=422)
    except Exception:
        _log.exception("request %s failed", request.url.path)
        return _Escaped({"error": "an error of ours, not of your data; the terminal has it"}, status_code=500)
    finally:
        watcher.cancel()
    return result if isinstance(result, Response) else _Escaped(result)


async def unreadable(_: Request, error: RequestValidationError) -> Response:
    """The answer to a query that lacks a field or has one of another kind: names it, but repeats nothing of it."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return _Escaped({"error": f"this request's `{field}` cannot be read: {first['msg']}"}, status_code=422)


async def _set_when_gone(request: Request, cancel: threading.Event) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    cancel.set()

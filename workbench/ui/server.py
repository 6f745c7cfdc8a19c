"""The web server: our read-only routes, the viewer's files and the Gradio page on one port, behind two guards."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, PlainTextResponse, Response
from fastapi.staticfiles import StaticFiles

from model.errors import ConfigError

from ..cache_folder import cache_folder
from .answer import unreadable
from .api import make_api
from .audit_api import make_audit_api
from .audit_desk import AuditDesk
from .browse_api import make_browse_api
from .desk import Desk
from .proof_api import make_proof_api
from .proving import ProofDesk
from .text import SCRIPT_TEXT
from .upload_api import make_upload_api
from .uploading import UploadDesk
from .viewer import Viewer

_STATIC = Path(__file__).parent / "static"
_SCRIPT = "text/javascript"
_FOREVER = {"Cache-Control": "public, max-age=31536000, immutable"}
_POLICY = "; ".join(
    (
        "default-src 'self'",
        # Gradio's custom HTML runs its own script text, and the viewer compiles wasm.
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' blob: data:",
        "font-src 'self' data:",
        "connect-src 'self' blob: data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """Answers only requests for our own address from our own page, and sends the security headers with every answer.

    The `Host` check stops a foreign site that points its name at 127.0.0.1 (DNS rebinding); `Sec-Fetch-Site` stops a
    foreign page that fetches from here. A page on another port of this machine is such a page, and says `same-site`.
    Browsers send that header, and only they have to be stopped. Anybody may link to the page itself.
    """

    def __init__(self, app: Asgi, *, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {bytes(name).lower(): bytes(value) for name, value in scope["headers"]}
        is_page = scope["path"] == "/"

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                more = (*_HEADERS, (b"link", page_preloads())) if is_page else _HEADERS
                message["headers"] = [*message.get("headers", []), *more]
            await send(message)

        foreign = headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin") and not is_page
        if headers.get(b"host", b"").decode("latin-1").lower() not in self._hosts or foreign:
            refusal = PlainTextResponse("This workbench answers its own page only.", status_code=403)
            await refusal(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def make_server(desk: Desk, viewer: Viewer, uploads: UploadDesk | None = None) -> FastAPI:
    """The application without the Gradio page, which `launch` mounts on top.

    Args:
        desk: What all visitors share.
        viewer: The 3D viewer's files.
        uploads: What visitors bring; default: below the user's cache folder.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.told = desk.told
    app.exception_handler(RequestValidationError)(unreadable)
    app.include_router(make_api(desk))
    app.include_router(make_browse_api(desk))
    app.include_router(make_proof_api(ProofDesk(desk.catalog), desk.catalog))
    app.include_router(make_audit_api(AuditDesk(desk)))
    app.include_router(make_upload_api(uploads or UploadDesk(desk, cache_folder() / "uploads")))

    @app.get("/viewer/{version}/{name}")
    def viewer_file(version: str, name: str) -> Response:  # pyright: ignore[reportUnusedFunction]
        found = viewer.file(name) if version == viewer.version else None
        if found is None:
            return PlainTextResponse("no such file", status_code=404)
        return FileResponse(found.path, media_type=found.media_type, headers={"Content-Encoding": "gzip", **_FOREVER})

    @app.get("/page/{version}/{name}")
    def page_file(version: str, name: str) -> Response:  # pyright: ignore[reportUnusedFunction]
        if version == static_version() and name == "text.js":
            words = json.dumps(SCRIPT_TEXT, ensure_ascii=False)
            return Response(f"export default {words};", media_type=_SCRIPT, headers=_FOREVER)
        if version == static_version() and name == "plotly.js":
            return FileResponse(_plotly(), media_type=_SCRIPT, headers=_FOREVER)
        if version != static_version() or name not in static_files():
            return PlainTextResponse("no such file", status_code=404)
        return FileResponse(_STATIC / name, media_type=_SCRIPT, headers=_FOREVER)

    # Gradio's own route compresses each of its 90 scripts anew, through three layers of middleware: half a second.
    app.mount("/assets", _HashedFiles(directory=_package("gradio") / "templates" / "frontend" / "assets"))
    return app


class _HashedFiles(StaticFiles):
    """Files whose names hold a hash of their content, so a browser never has to ask for them twice."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """As the base class answers, with leave to keep the file."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(_FOREVER)
        return response


@cache
def static_files() -> frozenset[str]:
    """Names of the scripts that the page may fetch; style sheets stand in the page itself."""
    return frozenset(path.name for path in _STATIC.glob("*.js"))


@cache
def static_version() -> str:
    """Hash over the page's own files and words: part of their address, so that a browser may keep them for ever."""
    digest = hashlib.sha256(json.dumps(SCRIPT_TEXT).encode())
    for name in sorted(static_files()):
        digest.update((_STATIC / name).read_bytes())
    return digest.hexdigest()[:12]


def page_script() -> str:
    """Where the page's first script is; it imports the others."""
    return f"/page/{static_version()}/main.js"


@cache
def page_preloads() -> bytes:
    """A `Link` header: the browser fetches all of the page's scripts before the first of them asks for the next."""
    names = sorted((*static_files(), "text.js"))
    return ", ".join(f"</page/{static_version()}/{name}>; rel=modulepreload" for name in names).encode()


def fragment(name: str) -> str:
    """A piece of markup from the static folder, with its words still to be filled in."""
    return (_STATIC / f"{name}.html").read_text(encoding="utf-8")


def _plotly() -> Path:
    return _package("plotly") / "package_data" / "plotly.min.js"


def _package(name: str) -> Path:
    """The folder of an installed package, which is not imported."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ConfigError(f"the page needs {name}: run make setup")
    return Path(spec.origin).parent

"""Who asks: a random cookie of this browser, which names the space where its uploads lie. No login, no identity.

The cookie is a secret (whoever has it sees what was uploaded with it), so scripts cannot read it, other sites cannot
make a browser send it, and what it is called on disk cannot be turned back into it. It is signed with a key that lives
as long as the app: a cookie of an earlier run, or one that somebody made up, is nobody's.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from starlette.requests import HTTPConnection
from starlette.responses import Response

_KEY = secrets.token_bytes(32)
_NONCE_BYTES = 16


def visitor(request: HTTPConnection) -> str | None:
    """The name of this visitor's space, 32 hex digits; None for a browser that never uploaded anything to this app."""
    cookie = request.cookies.get(_name(request), "")
    nonce, _, signature = cookie.partition(".")
    if not hmac.compare_digest(signature.encode(), _signature(nonce).encode()):
        return None
    return _space(nonce)


def welcome(request: HTTPConnection, response: Response) -> str:
    """Gives a visitor without a cookie one on `response`, until his browser closes; returns his space's name."""
    known = visitor(request)
    if known is not None:
        return known
    nonce = secrets.token_hex(_NONCE_BYTES)
    response.set_cookie(_name(request), f"{nonce}.{_signature(nonce)}", httponly=True, samesite="strict", path="/")
    return _space(nonce)


def _name(request: HTTPConnection) -> str:
    """A cookie belongs to a host, not to a port: two workbenches on one machine must not overwrite each other's."""
    return f"fw-visitor-{request.url.port or 80}"


def _signature(nonce: str) -> str:
    return hmac.new(_KEY, nonce.encode(), hashlib.sha256).hexdigest()


def _space(nonce: str) -> str:
    return hashlib.sha256(f"space {nonce}".encode()).hexdigest()[:32]

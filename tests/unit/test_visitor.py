from __future__ import annotations

import re

import pytest
from starlette.requests import Request
from starlette.responses import Response

from workbench.ui import visitor as module
from workbench.ui.visitor import visitor, welcome


def request(cookie: str = "", port: int = 7860) -> Request:
    headers = [(b"host", f"127.0.0.1:{port}".encode()), (b"cookie", cookie.encode("latin-1"))]
    return Request(
        {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers, "scheme": "http"}
    )


def given(port: int = 7860) -> tuple[str, str]:
    """A new visitor's cookie, as the browser sends it back, and his space."""
    response = Response()
    space = welcome(request(port=port), response)
    return response.headers["set-cookie"].partition(";")[0], space


def test_a_cookie_names_its_space_again_and_is_not_in_the_name() -> None:
    cookie, space = given()
    assert visitor(request(cookie)) == space
    assert re.fullmatch("[0-9a-f]{32}", space)
    assert space not in cookie
    assert given()[1] != space


def test_no_script_and_no_other_site_gets_the_cookie() -> None:
    response = Response()
    welcome(request(), response)
    attributes = response.headers["set-cookie"].lower()
    assert "httponly" in attributes
    assert "samesite=strict" in attributes
    assert "domain" not in attributes


def test_a_known_visitor_keeps_his_cookie() -> None:
    cookie, space = given()
    response = Response()
    assert welcome(request(cookie), response) == space
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize("value", ["", "x", "00.", ".00", "é.é", "../../etc", "a" * 10_000])
def test_a_made_up_cookie_is_nobody_s(value: str) -> None:
    assert visitor(request(f"fw-visitor-7860={value}")) is None


def test_a_forged_signature_is_nobody_s() -> None:
    cookie, _ = given()
    name, _, value = cookie.partition("=")
    nonce, _, signature = value.partition(".")
    assert visitor(request(f"{name}={'0' * 32}.{signature}")) is None
    assert visitor(request(f"{name}={nonce}.{'0' * 64}")) is None


def test_a_cookie_of_an_earlier_run_is_nobody_s(monkeypatch: pytest.MonkeyPatch) -> None:
    cookie, _ = given()
    monkeypatch.setattr(module, "_KEY", b"another")
    assert visitor(request(cookie)) is None


def test_workbenches_on_two_ports_do_not_overwrite_each_other_s() -> None:
    first, second = given(7860)[0], given(7861)[0]
    assert first.partition("=")[0] != second.partition("=")[0]
    assert visitor(request(f"{first}; {second}", port=7861)) == visitor(request(second, port=7861))

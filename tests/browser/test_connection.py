"""Connections that end while something is under way, as they do when a computer joins another network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route

from .conftest import Visit
from .test_upload import drop, make_trial

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def lose(page: Page, address: str, *, times: int) -> list[str]:
    """Ends the connection of the next requests to an address; returns those that were ended, as they come."""
    ended: list[str] = []

    def end(route: Route) -> None:
        ended.append(route.request.url)
        route.abort("internetdisconnected")

    page.route(address, end, times=times)
    return ended


def test_a_frame_whose_connection_was_lost_is_asked_for_again(visit: Callable[..., Visit]) -> None:
    visitor = visit("?t=6")
    page = visitor.page
    visitor.wait_for_step(6)
    ended = lose(page, "**/api/frame?*t=20&*", times=2)
    page.locator(".fw-slider").fill("20")
    visitor.wait_for_step(20)
    assert len(ended) == 2
    assert page.locator(".fw-error:visible").count() == 0


def test_a_server_that_is_gone_is_said_to_be_gone_until_it_is_back(visit: Callable[..., Visit]) -> None:
    visitor = visit("?t=6")
    page = visitor.page
    visitor.wait_for_step(6)
    ended = lose(page, "**/api/frame?*", times=1000)
    page.locator(".fw-slider").fill("20")
    page.wait_for_selector(".fw-error:has-text('does not answer')")
    assert len(ended) >= 3  # it was asked three times before it was given up
    page.unroute("**/api/frame?*")
    page.keyboard.press("ArrowRight")
    visitor.wait_for_step(21)
    page.wait_for_selector(".fw-error", state="hidden")
    assert page.locator(".fw-error:visible").count() == 0


def test_an_upload_whose_connection_was_lost_is_sent_again(visit: Callable[..., Visit], tmp_path: Path) -> None:
    visitor = visit()
    page = visitor.page
    ended: list[str] = []

    def end(route: Route) -> None:
        if route.request.method == "PUT":
            ended.append(route.request.url)
            route.abort("internetdisconnected")
        else:
            route.continue_()

    page.route("**/api/uploads/*", end)
    drop(page, make_trial(tmp_path / "trial", 3, "stack the cups"))
    page.wait_for_selector(".fw-upload-said:has-text('does not answer')")  # once more was as bad
    assert len(set(ended)) == 2
    page.unroute("**/api/uploads/*")
    ended = lose(page, "**/api/uploads/*", times=1)
    drop(page, tmp_path / "trial")
    page.wait_for_selector(".fw-instruction:has-text('stack the cups')")
    assert len(ended) == 1
    page.get_by_role("tab", name="Browse").click()
    page.wait_for_selector(".fw-upload-own:has-text('1 episode')")
    assert page.locator(".fw-upload-said:visible").count() == 0
    page.get_by_role("button", name="Remove trial").click()
    page.wait_for_selector(".fw-upload-own", state="hidden")


def test_the_3d_view_asks_again_for_what_was_lost(visit: Callable[..., Visit]) -> None:
    visitor = visit(
        "?t=6", viewer=True, lost=("**/viewer/**/viewer.js", "**/api/scene.rrd?*", "**/api/scene/step.rrd?*")
    )
    page = visitor.page
    page.wait_for_selector('.fw-viewer[data-t="6"][data-predicted="6"]')
    assert page.inner_text(".fw-wait") == ""


def test_a_viewer_that_did_not_come_comes_with_the_next_frame(visit: Callable[..., Visit]) -> None:
    visitor = visit("?t=6", viewer=True, lost=("**/viewer/**/*.wasm",))
    page = visitor.page
    # The next frame may be the policy's of the same time, and come before anybody could read why there was no view.
    page.wait_for_selector(".fw-wait:has-text('could not start'), .fw-viewer[data-ready]")
    assert any("ERR_INTERNET_DISCONNECTED" in error for error in visitor.errors)
    page.keyboard.press("ArrowRight")
    page.wait_for_selector('.fw-viewer[data-t="7"][data-predicted="7"]')
    assert page.inner_text(".fw-wait") == ""

"""The Browse tab in Chromium: the list, the keyboard, the chosen episode, one click to Foresight, thousands of rows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Page, Route

from .conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
Open = Callable[..., Visit]
MANY = 17_890


def browse(visitor: Visit) -> Page:
    visitor.page.get_by_role("tab", name="Browse").click()
    visitor.page.wait_for_selector(".fw-rows tr[data-index] b")
    return visitor.page


def test_an_episode_is_found_looked_at_and_opened(visit: Open) -> None:
    visitor = visit()
    visitor.wait_for_step(0)
    page = browse(visitor)
    page.fill(".fw-browse .fw-words", "push")
    page.wait_for_function("document.querySelector('.fw-browse .fw-count').textContent.startsWith('1 /')")
    page.keyboard.press("ArrowDown")
    page.wait_for_selector(".fw-shot[data-camera=static][data-kind=rgb][data-t='0']")
    assert page.inner_text(".fw-said") == "push <b>the</b> box"  # as text, not as markup
    page.wait_for_selector(".fw-feature .main-svg")
    assert "state" in page.locator(".fw-feature h4").all_inner_texts()
    page.check(".fw-browse .fw-as-table")
    page.wait_for_selector(".fw-feature td")
    page.locator(".fw-detail .fw-slider").fill("4")
    page.wait_for_selector(".fw-shot[data-t='4']")
    page.click(".fw-open")
    page.wait_for_function("document.querySelector('.fw-instruction').textContent.startsWith('push')")
    page.wait_for_function("location.search.includes('t=4')")
    page.wait_for_selector(".fw-panels", state="visible")
    assert visitor.unexpected() == []
    assert visitor.outside == []


def test_nothing_found_is_said(visit: Open) -> None:
    page = browse(visit())
    page.fill(".fw-browse .fw-words", "no such word")
    page.wait_for_selector(".fw-none:not([hidden])")
    assert page.inner_text(".fw-none") == "No episode matches."


def test_thousands_of_rows_scroll_and_few_of_them_exist(visit: Open) -> None:
    visitor = visit()
    page = visitor.page
    asked: list[int] = []

    def many(route: Route) -> None:
        """The first real row again and again, under other names."""
        query = parse_qs(urlparse(route.request.url).query)
        offset, limit = int(query.get("offset", ["0"])[0]), int(query.get("limit", ["100"])[0])
        asked.append(offset)
        answer = route.fetch(url=re.sub(r"offset=\d+", "offset=0", route.request.url)).json()
        numbers = range(offset, min(offset + limit, MANY))
        rows = [answer["rows"][0] | {"episode": f"episode {n}", "stamp": str(n)} for n in numbers]
        answer |= {"rows": rows, "offset": offset, "total": MANY, "found": MANY}
        route.fulfill(status=200, body=json.dumps(answer), headers={"Content-Type": "application/json"})

    page.route("**/api/browse/rows*", many)
    browse(visitor)
    page.wait_for_function(f"document.querySelector('.fw-browse .fw-count').textContent === '{MANY} episodes'")
    page.evaluate("document.querySelector('.fw-rows').scrollTop = 9000 * 46")
    page.wait_for_function("[...document.querySelectorAll('.fw-rows b')].some((b) => b.textContent === 'episode 9005')")
    assert page.locator(".fw-rows tr").count() < 60
    page.focus(".fw-rows table")
    page.keyboard.press("End")
    page.wait_for_function(f"document.querySelector('.fw-rows tr.fw-active b')?.textContent === 'episode {MANY - 1}'")
    last = page.locator(".fw-rows tr.fw-active").bounding_box()
    box = page.locator(".fw-rows").bounding_box()
    assert last is not None
    assert box is not None
    assert last["y"] + last["height"] <= box["y"] + box["height"] + 1  # all of the row is in sight
    assert len(asked) < 12

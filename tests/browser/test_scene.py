from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def test_page_and_viewer_share_one_time_both_ways(visit: Callable[..., Visit]) -> None:
    visitor = visit("?t=6", viewer=True)
    page = visitor.page
    page.wait_for_selector('.fw-viewer[data-t="6"][data-predicted="6"]')
    page.keyboard.press("ArrowRight")
    page.wait_for_selector('.fw-viewer[data-t="7"][data-predicted="7"]')
    assert visitor.shown() == 7
    canvas = page.locator(".fw-viewer canvas")
    box = canvas.bounding_box()
    assert box is not None
    for t in (4, 15):  # the viewer's own time field stands at the right end of its time panel: type times there
        page.mouse.dblclick(box["x"] + box["width"] - 40, box["y"] + box["height"] - 14)
        page.keyboard.press("Control+A")
        page.keyboard.type(f"{t}")
        page.keyboard.press("Enter")
        visitor.wait_for_step(t)
    page.wait_for_selector('.fw-viewer[data-predicted="15"]')
    page.wait_for_timeout(800)
    assert visitor.shown() == 15
    assert page.inner_text(".fw-scene-tracks").startswith("tracks: ")
    page.set_viewport_size({"width": 1024, "height": 768})
    legend, view = page.locator(".fw-legend3d").bounding_box(), page.locator(".fw-viewer").bounding_box()
    assert legend is not None
    assert view is not None
    assert legend["y"] >= view["y"] + 24  # a narrow view's heading has its line to itself
    assert visitor.outside == []
    assert visitor.errors == []


def test_the_keyboard_is_the_pages_also_over_the_viewer(visit: Callable[..., Visit]) -> None:
    visitor = visit("?t=6", viewer=True)
    page = visitor.page
    page.focus(".fw-slider")
    page.keyboard.press("Tab")
    page.keyboard.press("Shift+Tab")
    page.wait_for_selector('.fw-viewer[data-t="6"][data-predicted="6"]')
    page.wait_for_timeout(1000)  # it reaches for the keyboard a moment after it has started
    assert page.evaluate("document.activeElement.className") == "fw-slider"
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.wait_for_selector('.fw-viewer[data-t="9"][data-predicted="9"]')
    canvas = page.locator(".fw-viewer canvas")
    canvas.click()
    assert page.evaluate("document.activeElement.tagName") == "CANVAS"
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_selector('.fw-viewer[data-t="14"][data-predicted="14"]')
    page.wait_for_timeout(800)  # nor does the viewer lead elsewhere when it has come there
    assert visitor.shown() == 14
    page.keyboard.press("w")  # moves the 3D view's eye
    assert page.is_checked("[name=fw-view][value=static]")
    assert visitor.errors == []

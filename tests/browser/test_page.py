from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Route

from .conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
Open = Callable[..., Visit]


def test_the_page_loads_without_an_error_or_a_request_to_anybody_else(visit: Open) -> None:
    visitor = visit()
    visitor.wait_for_step(0)
    assert visitor.outside == []
    assert visitor.unexpected() == []
    assert visitor.page.inner_text(".fw-instruction") == "lift the box"
    badges = visitor.page.inner_text(".fw-badges")
    assert all(word in badges for word in ("true depth", "metric", "exact flow", "raw"))


def test_scrubbing_changes_every_panel_at_once(visit: Open) -> None:
    visitor = visit()
    visitor.wait_for_step(0)
    panels = ("rgb", "depth", "depth_true", "depth_error", "future_rgb", "future_rgb_true", "future_depth")
    before = {panel: visitor.pixels(panel) for panel in panels}
    visitor.page.evaluate("""() => {
      const slider = document.querySelector(".fw-slider");
      slider.value = 10;
      slider.dispatchEvent(new Event("input"));
    }""")
    visitor.wait_for_step(10)
    after = {panel: visitor.pixels(panel) for panel in panels}
    assert all(before[panel] != after[panel] for panel in panels)
    assert visitor.page.inner_text(".fw-clock").startswith("t 10 / 23")
    assert visitor.page.locator(".fw-numbers tbody tr").count() > 5


def test_a_time_seen_before_is_not_asked_for_again(visit: Open) -> None:
    visitor = visit()
    visitor.wait_for_step(0)
    for step in (1, 2, 3):
        visitor.page.keyboard.press("ArrowRight")
        visitor.wait_for_step(step)
    asked = list[str]()
    visitor.page.on("request", lambda request: asked.append(request.url))
    visitor.page.keyboard.press("ArrowLeft")
    visitor.wait_for_step(2)
    assert not [url for url in asked if "/api/frame" in url and "t=2&" in f"{url}&"]
    assert visitor.page.get_attribute(".fw-panels", "data-t") == "2"


def test_space_plays_over_a_frame_that_cannot_be_had_and_stops(visit: Open) -> None:
    visitor = visit()
    visitor.wait_for_step(0)
    refused = list[str]()

    def refuse(route: Route) -> None:
        refused.append(route.request.url)
        route.fulfill(status=400, content_type="application/json", body='{"error": "frame 8 is damaged"}')

    visitor.page.route(re.compile(r"/api/frame\?.*\bt=8\b"), refuse)
    visitor.page.evaluate("""() => {
      const panels = document.querySelector(".fw-panels");
      window.seen = [];
      new MutationObserver(() => window.seen.push(Number(panels.dataset.t))).observe(panels, { attributes: true });
    }""")
    visitor.page.keyboard.press(" ")
    visitor.page.wait_for_function("window.seen.some((t) => t >= 10)")
    visitor.page.keyboard.press(" ")
    seen = set(visitor.page.evaluate("window.seen"))
    assert refused
    assert {7, 9, 10} <= seen
    assert 8 not in seen
    assert visitor.page.get_attribute(".fw-play", "aria-pressed") == "false"
    visitor.page.wait_for_timeout(3000)
    later = set(visitor.page.evaluate("window.seen")) - seen
    assert len(later) <= 1  # the one that was on its way may still come, whenever it does


def test_keys_move_the_time_and_change_the_camera(visit: Open) -> None:
    visitor = visit()
    visitor.wait_for_step(0)
    visitor.page.keyboard.press("End")
    visitor.wait_for_step(23)
    assert "nothing recorded" in visitor.page.inner_text("[data-panel=future_rgb_true]")
    visitor.page.keyboard.press("Home")
    visitor.wait_for_step(0)
    visitor.page.keyboard.press("Shift+ArrowRight")
    visitor.wait_for_step(10)
    static = visitor.pixels("rgb")
    visitor.page.keyboard.press("w")
    visitor.page.wait_for_selector(".fw-panels[data-view=wrist]:not([data-origin=recorded])")
    assert visitor.pixels("rgb") != static


def test_a_link_restores_checkpoint_episode_and_time(visit: Open) -> None:
    first = visit()
    first.wait_for_step(0)
    first.page.click(".fw-episode")
    first.page.click(".fw-picker tbody tr:nth-child(2)")
    first.page.wait_for_function("document.querySelector('.fw-instruction').textContent.startsWith('push')")
    first.page.keyboard.press("ArrowRight")
    first.wait_for_step(1)
    first.page.wait_for_function("location.search.includes('t=1')")
    query = "?" + first.page.url.split("?")[1]
    assert re.search(r"checkpoint=[0-9a-f]{12}", query)
    second = visit(query)
    second.wait_for_step(1)
    assert second.page.inner_text(".fw-instruction") == "push <b>the</b> box"  # as text, not as markup
    assert second.pixels("rgb") == first.pixels("rgb")


def test_two_visitors_do_not_see_each_other(visit: Open) -> None:
    one, other = visit("?t=4"), visit("?t=20")
    one.wait_for_step(4)
    other.wait_for_step(20)
    one.page.keyboard.press("ArrowRight")
    one.wait_for_step(5)
    other.page.keyboard.press("w")
    other.page.wait_for_selector(".fw-panels[data-view=wrist]:not([data-origin=recorded])")
    assert (one.shown(), other.shown()) == (5, 20)
    assert one.page.get_attribute(".fw-panels", "data-view") == "static"


@pytest.mark.parametrize("query", ["?episode=000000000000", "?t=soon", "?checkpoint=../../etc"])
def test_a_broken_link_says_so_in_one_line_and_opens_the_workbench(visit: Open, query: str) -> None:
    visitor = visit(query)
    visitor.page.wait_for_selector(".fw-error:not([hidden])")
    message = visitor.page.inner_text(".fw-error")
    assert message
    assert "\n" not in message
    assert "Traceback" not in message
    visitor.wait_for_step(0)


def test_the_whole_clip_is_predicted_with_progress_and_can_be_cancelled(visit: Open) -> None:
    visitor = visit()
    visitor.wait_for_step(0)
    visitor.page.click(".fw-whole")
    visitor.page.wait_for_selector(".fw-cancel:not([hidden])")
    visitor.page.click(".fw-cancel")
    visitor.page.wait_for_selector(".fw-whole:not([hidden])")
    visitor.page.click(".fw-whole")
    visitor.page.wait_for_selector(".fw-progress[hidden]", state="attached")
    visitor.page.check(".fw-as-table")
    visitor.page.wait_for_function("document.querySelectorAll('.fw-series tbody tr').length === 24")
    assert visitor.page.inner_text(".fw-error") == ""


def test_a_click_on_the_timeline_goes_there(visit: Open) -> None:
    visitor = visit()
    visitor.wait_for_step(0)
    plot = visitor.page.locator(".fw-foresight .fw-plot .fw-canvas .nsewdrag").first
    plot.wait_for(state="attached")
    box = plot.bounding_box()
    assert box is not None
    visitor.page.mouse.click(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    visitor.page.wait_for_function("Math.abs(document.querySelector('.fw-panels').dataset.t - 12) <= 1")


def test_attention_is_drawn_with_its_path_and_its_table(visit: Open) -> None:
    visitor = visit("?t=8")
    visitor.wait_for_step(8)
    visitor.page.get_by_role("tab", name="Attention").click()
    visitor.page.wait_for_selector(".fw-overlays figure >> nth=2")
    paths = visitor.page.inner_text(".fw-overlays")
    assert "flow decoder" in paths
    assert "resampler" in paths
    assert visitor.page.locator(".fw-heads tbody tr").count() > 0
    visitor.page.wait_for_selector(".fw-lift .fw-canvas")
    assert visitor.unexpected() == []


def test_without_an_episode_the_page_says_what_to_do(visit: Open) -> None:
    page = visit().page

    def nothing(route: Route) -> None:
        answer = route.fetch().json() | {"clip": None, "problem": "", "listing": None}
        route.fulfill(status=200, body=json.dumps(answer), headers={"Content-Type": "application/json"})

    page.route("**/api/open*", nothing)
    page.reload()
    page.wait_for_selector(".fw-error:not([hidden])")
    assert "--episodes PATH" in page.inner_text(".fw-error")
    assert page.is_hidden(".fw-instruction")  # no empty quotation marks
    page.wait_for_function("document.querySelector('.fw-wait').textContent === ''")  # no viewer is on its way
    page.get_by_role("tab", name="Attention").click()
    page.wait_for_selector(".fw-no-policy")
    assert page.is_hidden(".fw-over-time")

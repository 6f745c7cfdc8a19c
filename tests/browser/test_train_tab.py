from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def test_a_run_is_started_watched_stopped_and_opened(visit: Callable[..., Visit]) -> None:
    visitor = visit()
    visitor.page.wait_for_selector(".fw-panels:not([data-origin=recorded])")
    page = visitor.page
    page.get_by_role("tab", name="Train").click()
    page.get_by_label("Preset").click()
    page.locator("li[role=option][aria-label=tiny]").click()
    page.get_by_label("Batch size").fill("2")
    page.get_by_role("button", name="Start training").click()
    page.wait_for_selector("#run-status:has-text('running')")
    page.wait_for_selector("#run-curves .js-plotly-plot, #run-curves svg.main-svg")
    page.wait_for_selector("#run-probe img")
    page.get_by_role("button", name="Stop").click()
    page.wait_for_selector("#run-status:has-text('stopped')")
    page.get_by_role("button", name="Open in Foresight").click()
    page.wait_for_function("document.querySelector('.fw-checkpoint').selectedOptions[0].text.startsWith('tiny-')")
    page.wait_for_selector(".fw-panels:not([data-origin=recorded])")
    assert page.inner_text(".fw-error") == ""

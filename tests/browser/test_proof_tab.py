from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from .conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def open_tab(visitor: Visit) -> None:
    visitor.page.get_by_role("tab", name="Proof").click()
    visitor.page.wait_for_selector(".fw-against option", state="attached")


def blind_to_flow() -> str:
    """Forbids what `tiny` does: the action looks at the flow."""
    inputs = ["LANG", "STATE", "S_PATCH", "S_CLS", "W_PATCH", "W_CLS"]
    queries = ["FLOW", "FUT_S", "FUT_W", "ACT"]
    rules = [{"attender": [*inputs, *queries], "attended": inputs, "earlier": "all", "same": "all"}]
    rules += [{"attender": [name], "attended": [name], "same": "all"} for name in queries]
    rules += [{"attender": ["FUT_S", "FUT_W"], "attended": ["FLOW"], "same": "all"}]
    return json.dumps({"name": "blind", "rules": rules})


def test_a_leak_is_found_named_and_exported_and_nobody_else_sees_it(visit: Callable[..., Visit]) -> None:
    visitor, other = visit(), visit()
    page = visitor.page
    open_tab(visitor)
    page.select_option(".fw-subject", "preset:tiny")
    page.fill(".fw-spec", blind_to_flow())
    page.get_by_role("button", name="Prove the mask").click()
    page.wait_for_selector(".fw-proof .fw-progress[value]")
    page.wait_for_selector(".pf-verdict.pf-bad")
    cell = page.locator(".pf-matrix a.pf-leak").first
    assert "ACT <- FLOW, same frame: leak" in (cell.get_attribute("title") or "")
    cell.click()
    detail = page.inner_text(".pf-detail.pf-shown")
    assert "ACT <- FLOW, same frame" in detail
    assert "from workbench.proof.reproduce import" in detail
    with page.expect_download() as download:
        page.click(".fw-html")
    html = download.value.path().read_text()
    assert "blind" in html
    assert "http" not in html
    page.click("summary:has-text('as a table')")
    assert page.inner_text(".pf-table tbody tr >> nth=0").startswith("LEAK")
    open_tab(other)
    assert other.page.locator(".pf-verdict").count() == 0
    assert visitor.unexpected() == []
    assert visitor.outside == []


def test_a_run_is_cancelled_and_bad_input_is_one_line(visit: Callable[..., Visit]) -> None:
    visitor = visit()
    page = visitor.page
    open_tab(visitor)
    page.select_option(".fw-subject", "preset:foresight")
    page.get_by_role("button", name="Prove the mask").click()
    page.locator(".fw-proof").get_by_role("button", name="Cancel").click()
    page.wait_for_selector(".fw-problem:has-text('Cancelled')")
    page.fill(".fw-spec", '{"name": "x", "rules": "y"}')
    page.get_by_role("button", name="Prove the mask").click()
    page.wait_for_selector(".fw-problem:has-text('rules must be a list')")
    assert page.inner_text(".fw-problem").startswith("specification.json: ")


def test_masks_are_compared_and_knock_outs_ranked(visit: Callable[..., Visit]) -> None:
    visitor = visit()
    page = visitor.page
    open_tab(visitor)
    page.select_option(".fw-subject", "preset:foresight")
    page.select_option(".fw-against", "preset:gr_mg")
    page.get_by_role("button", name="List differences").click()
    page.wait_for_selector(".fw-diff-table tbody tr")
    page.select_option(".fw-other", index=2)
    page.get_by_role("button", name="Knock out").click()
    page.wait_for_selector(".fw-knocked .main-svg")
    rows = page.locator(".fw-knocked-table tbody tr").all_inner_texts()
    assert any(row.startswith("FLOW") for row in rows)
    assert any(row.startswith("FUT_S") and "blocked" in row for row in rows)
    page.select_option(".fw-replacement", "episode")
    page.select_option(".fw-measure", "rotation_deg")
    page.wait_for_selector(".fw-knocked .main-svg :text('degrees')")
    assert "not answerable from one checkpoint" in page.inner_text(".fw-training-table")
    assert visitor.unexpected() == []

"""The switches of the Attention tab: methods, queries, layers, frames, tables, and the slow methods' run and cancel."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
Open = Callable[..., Visit]


def open_tab(visit: Open) -> Visit:
    visitor = visit("?t=8")
    visitor.wait_for_step(8)
    visitor.page.get_by_role("tab", name="Attention").click()
    visitor.page.wait_for_selector('.fw-attention[data-t="8"] .fw-overlays figure >> nth=2')
    return visitor


def cells(visitor: Visit, table: str) -> list[list[str]]:
    return visitor.page.eval_on_selector_all(
        f".fw-attention {table} tbody tr", "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    )


def percent(text: str) -> float:
    return float(text.removesuffix(" %"))


def test_pictures_and_what_is_not_in_them_add_up(visit: Open) -> None:
    visitor = open_tab(visit)
    drawn = visitor.page.locator(".fw-overlays strong").all_inner_texts()
    rest = [row[1] for row in cells(visitor, ".fw-elsewhere")]
    assert sum(map(percent, [*drawn, *rest])) == pytest.approx(100, abs=0.1 * len([*drawn, *rest]))
    assert sum(percent(row[2]) for row in cells(visitor, ".fw-groups")) == pytest.approx(100, abs=1)
    assert len(cells(visitor, ".fw-heads")) == 2 * 4
    assert visitor.unexpected() == []


def test_layer_head_query_and_frame_change_what_is_shown(visit: Open) -> None:
    visitor = open_tab(visit)
    page = visitor.page
    seen = [cells(visitor, ".fw-groups")]
    for name, value in (("layer", "1"), ("head", "3"), ("query", "FLOW")):
        page.select_option(f".fw-attention .fw-{name}", value)
        page.wait_for_function(
            "before => document.querySelector('.fw-attention .fw-groups tbody').innerText !== before",
            arg=page.inner_text(".fw-attention .fw-groups tbody"),
        )
        seen.append(cells(visitor, ".fw-groups"))
    assert len({str(table) for table in seen}) == 4
    page.select_option(".fw-attention .fw-age", "1")
    page.wait_for_function("document.querySelectorAll('.fw-overlays figure').length === 2")  # no flow in an older frame
    assert "t 7" in page.inner_text(".fw-overlays")


def test_a_slow_method_is_run_on_request_and_can_be_left(visit: Open) -> None:
    visitor = open_tab(visit)
    page = visitor.page
    page.select_option(".fw-method", "tokens")
    page.wait_for_selector(".fw-attention[data-method=tokens][data-pending=true]")
    assert page.locator(".fw-overlays figure").count() == 0
    page.route("**/api/attention?*run=true*", lambda route: None)  # never answered: time to leave
    page.click(".fw-attention .fw-run")
    page.wait_for_selector(".fw-attention .fw-progress:not([hidden])")
    page.click(".fw-attention .fw-cancel")
    page.wait_for_selector(".fw-attention .fw-progress[hidden]", state="attached")
    page.unroute("**/api/attention?*run=true*")
    page.click(".fw-attention .fw-run")
    page.wait_for_selector(".fw-attention[data-method=tokens][data-pending=false]")
    facts = dict(cells(visitor, ".fw-facts"))
    assert facts["y now"].endswith(" mm")
    assert "completeness: missed by" in facts
    assert "red raises" in page.inner_text(".fw-overlays")
    page.select_option(".fw-method", "rollout")
    page.wait_for_selector(".fw-attention[data-method=rollout]")
    page.select_option(".fw-method", "tokens")  # kept: no second run
    page.wait_for_selector(".fw-attention[data-method=tokens][data-pending=false]")
    assert "Sundararajan" in page.inner_text(".fw-what")
    assert page.inner_text(".fw-error") == ""


def test_attention_over_time_is_a_table_of_all_times_too(visit: Open) -> None:
    visitor = open_tab(visit)
    page = visitor.page
    page.wait_for_selector(".fw-lift .fw-canvas")
    page.check(".fw-attention .fw-as-table")
    page.wait_for_selector(".fw-attention .fw-series:not([hidden]) tbody tr")
    rows = cells(visitor, ".fw-series")
    assert len(rows) % 8 == 0
    assert {row[0] for row in rows} >= {"8"}
    page.select_option(".fw-attention .fw-drawn", "entropy")
    page.wait_for_function("document.querySelector('.fw-attention .fw-series thead').innerText.includes('entropy')")


def test_start_points_in_3d_are_coloured_on_request(visit: Open) -> None:
    visitor = visit("?t=8", viewer=True)
    visitor.wait_for_step(8)
    visitor.page.wait_for_selector('.fw-viewer[data-predicted="8"]')
    visitor.page.check(".fw-scene-attention")
    visitor.page.wait_for_selector('.fw-viewer[data-attention="8"]')
    assert "times even" in visitor.page.inner_text(".fw-legend3d")
    visitor.page.uncheck(".fw-scene-attention")
    visitor.page.wait_for_selector('.fw-viewer[data-attention=""]')

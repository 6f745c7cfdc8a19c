"""Files really dropped on the page, as the system hands them over (not events that a script made up)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.factories import make_recording
from trainer.episodes.packed import save_packed

from .conftest import Visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def drop(page: Page, *paths: Path) -> None:
    """Drags files or folders of this machine onto the zone and lets them go."""
    page.get_by_role("tab", name="Browse").click()
    zone = page.locator(".fw-upload-zone")
    zone.wait_for()
    protocol = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    while True:  # what is above the zone may still arrive and push it down
        box = zone.bounding_box()
        assert box is not None
        at = {"x": box["x"] + 20, "y": box["y"] + box["height"] / 2, "data": data}
        for kind in ("dragEnter", "dragOver"):
            protocol.send("Input.dispatchDragEvent", {"type": kind, **at})
        page.wait_for_timeout(100)
        if zone.evaluate("(zone) => zone.classList.contains('fw-over')") and zone.bounding_box() == box:
            protocol.send("Input.dispatchDragEvent", {"type": "drop", **at})
            return


def make_trial(folder: Path, seed: int, instruction: str) -> Path:
    save_packed(make_recording(length=12, frame_stride=1, seed=seed, instruction=instruction), folder)
    return folder


def test_a_dropped_zip_opens_at_once_for_its_visitor_alone_and_is_removed(
    visit: Callable[..., Visit], tmp_path: Path
) -> None:
    visitor, other = visit(), visit()
    page = visitor.page
    make_trial(tmp_path / "trial", 7, "pour <i>the</i> tea")
    archive = Path(shutil.make_archive(str(tmp_path / "<img src=x onerror=alert(1)>"), "zip", tmp_path / "trial"))
    drop(page, archive)
    page.wait_for_selector(".fw-instruction:has-text('pour')")
    visitor.wait_for_step(0)
    assert page.inner_text(".fw-instruction") == "pour <i>the</i> tea"
    page.get_by_role("tab", name="Browse").click()
    assert page.inner_text(".fw-upload-title") == "_img src=x onerror=alert(1)_.zip"
    assert page.locator(".fw-upload img").count() == 0
    other.page.get_by_role("tab", name="Browse").click()
    other.page.wait_for_selector(".fw-rows tbody tr:not(.fw-space)")
    assert "pour" not in other.page.inner_text(".fw-browse")
    page.get_by_role("button", name="Remove", exact=False).first.click()
    page.wait_for_selector(".fw-upload-own", state="hidden")
    page.wait_for_selector(".fw-instruction:has-text('lift the box')", state="attached")
    page.wait_for_function("() => !document.body.innerText.includes('pour')")
    assert page.locator(".fw-error:visible").count() == 0
    assert _unexpected(visitor) == []
    assert visitor.outside == []


def test_a_dropped_folder_keeps_its_tree_and_a_refusal_says_why(visit: Callable[..., Visit], tmp_path: Path) -> None:
    visitor = visit()
    page = visitor.page
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read.me").write_text("hello")
    drop(page, tmp_path / "notes")
    page.wait_for_selector(".fw-upload-said:has-text('no episode in it')")
    make_trial(tmp_path / "two" / "a", 8, "first trial")
    make_trial(tmp_path / "two" / "b", 9, "second trial")
    drop(page, tmp_path / "two")
    page.wait_for_selector(".fw-instruction:has-text('first trial')")
    page.get_by_role("tab", name="Browse").click()
    page.wait_for_selector(".fw-upload-own:has-text('2 episodes')")
    page.get_by_role("button", name="Remove two").click()
    page.wait_for_selector(".fw-upload-own", state="hidden")
    assert _unexpected(visitor) == []


def _unexpected(visitor: Visit) -> list[str]:
    """Complaints but the browser's own about each refusal, and about a picture that was asked for and then removed."""
    return [error for error in visitor.unexpected() if "422" not in error]

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page

from tests.foreign_factories import plain_frames, write_video
from trainer.episodes.convert import recording_of
from trainer.episodes.open import open_as_recorded
from trainer.episodes.packed import save_packed

from .conftest import Visit
from .test_upload import drop

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

BUNDLED = Path(__file__).resolve().parents[2] / "assets" / "episodes" / "libero_90-stack-front-bowl-0"


def upside_down(folder: Path) -> Path:
    """A real episode as a camera that hangs upside-down would have recorded it, its calibration left as it was.

    That it no longer says which renderer made it is worth a note.
    """
    recording = recording_of(open_as_recorded(BUNDLED))
    stored = recording.views["static"]
    turned = {
        name: np.ascontiguousarray(getattr(stored, name)[:, ::-1, ::-1])
        for name in ("rgb", "depth", "body")
        if getattr(stored, name) is not None
    }
    views = {**recording.views, "static": dataclasses.replace(stored, **turned)}
    info = dataclasses.replace(recording.info, task=None, renderer=None)
    save_packed(dataclasses.replace(recording, views=views, info=info), folder)
    return folder


def recorded_image(page: Page) -> np.ndarray:
    """The panel of what the static camera saw, (h, w, 4)."""
    width, height, values = page.evaluate(
        """() => {
          const canvas = document.querySelector(".fw-panels .fw-panel .fw-image");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return [canvas.width, canvas.height, Array.from(data)];
        }"""
    )
    return np.array(values, np.float64).reshape(height, width, 4)


def wait_for_image(page: Page, wanted: np.ndarray, most: float) -> None:
    """Until the panel shows that image, to within `most` grey levels."""
    for _ in range(300):
        if np.abs(recorded_image(page) - wanted).max() <= most:
            return
        page.wait_for_timeout(200)
    np.testing.assert_allclose(recorded_image(page), wanted, atol=most)


def test_an_upside_down_episode_is_found_corrected_everywhere_and_undone(
    visit: Callable[..., Visit], tmp_path: Path
) -> None:
    visitor = visit()
    page = visitor.page
    drop(page, upside_down(tmp_path / "hung"))
    page.wait_for_selector(".fw-instruction:has-text('bowl')")
    page.wait_for_selector(".fw-error:has-text('frame stride')")  # the tests' policy cannot read it: recorded only
    visitor.wait_for_step(0, predicted=False)
    before = recorded_image(page)
    assert np.abs(before[::-1, ::-1] - before).max() > 50  # it does not look the same either way
    page.get_by_role("tab", name="Audit").click()
    page.get_by_role("button", name="Examine").click()
    page.wait_for_selector(".fw-running .fw-progress[value]")
    card = page.locator(".fw-card", has_text="The static images are rotated")
    card.wait_for()
    assert card.locator("img").evaluate("(img) => img.decode().then(() => img.naturalWidth > 300)")
    assert page.locator(".fw-card.fw-is-error").count() == 1  # and nothing else is wrong with it
    note = page.locator(".fw-card", has_text="The images are rendered")
    assert note.evaluate("(card) => getComputedStyle(card).position") == "static"  # it lies over nothing
    card.get_by_role("button", name="Apply for this source").click()
    page.wait_for_selector(".fw-card.fw-applied")
    assert "static rotated by 180°" in page.inner_text(".fw-steps")
    page.wait_for_selector(".fw-badges :text('corrected: static rotated by 180°')", state="attached")
    page.get_by_role("tab", name="Foresight").click()
    wait_for_image(page, before[::-1, ::-1], most=6)
    page.get_by_role("tab", name="Audit").click()
    page.get_by_role("button", name="Undo the last").click()
    page.wait_for_selector(".fw-nothing-set")
    page.wait_for_selector(".fw-card:not(.fw-applied)")
    wait_for_image(page, before, most=0)
    assert [error for error in visitor.unexpected() if "422" not in error] == []
    assert visitor.outside == []


def test_a_video_asks_for_its_field_of_view_and_says_that_it_was_assumed(
    visit: Callable[..., Visit], tmp_path: Path
) -> None:
    visitor = visit()
    page = visitor.page
    write_video(tmp_path / "trial.mp4", plain_frames(0, 0, 6))
    drop(page, tmp_path / "trial.mp4")
    page.wait_for_selector(".fw-fov-why:has-text('static')")
    assert page.inner_text(".fw-scene-tracks") == ""  # none can be drawn yet
    page.fill(".fw-ask-fov input", "55")
    page.get_by_role("button", name="Assume it").click()
    page.wait_for_selector(".fw-ask-fov", state="hidden")
    page.wait_for_selector(".fw-badges :text('assumed: static intrinsics')", state="attached")
    assert visitor.unexpected() == []

"""The page in Chromium: start-up, scrubbing to new and to seen times, the first 3D frame, memory.

Uses the bundled checkpoint and episodes, or `FORESIGHT_CHECKPOINT` and `FORESIGHT_EPISODES`. The clock of the
scrubbing runs inside the page: from the slider's input event to the animation frame after the panels were drawn.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.chromium import FLAGS

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = Path(os.environ.get("FORESIGHT_CHECKPOINT", ROOT / "assets" / "checkpoints" / "compact"))
EPISODES = Path(os.environ.get("FORESIGHT_EPISODES", ROOT / "assets" / "episodes"))
SPACING = 5
"""Frames between two timed ones: beyond the neighbours that the page fetches ahead, so that each is new."""
_PATIENCE_MS = 300_000
_MOVE = """(index) => new Promise((resolve) => {
  const slider = document.querySelector(".fw-slider");
  const panels = document.querySelector(".fw-panels");
  const before = panels.dataset.t;
  const began = performance.now();
  const watch = new MutationObserver(() => {
    if (panels.dataset.t === before || panels.dataset.origin === "recorded") return;
    watch.disconnect();
    requestAnimationFrame(() => resolve(performance.now() - began));
  });
  watch.observe(panels, { attributes: true });
  slider.value = index;
  slider.dispatchEvent(new Event("input"));
})"""


def main() -> None:
    """Prints one line a measurement."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None or not CHECKPOINT.is_dir() or not EPISODES.exists():
        sys.stdout.write(f"skipped: needs Chromium, {CHECKPOINT} and {EPISODES}\n")
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        began = time.monotonic()
        with _workbench() as (address, server):
            page = _open(browser, address, viewer=False)
            _say("command to first frame drawn", time.monotonic() - began, "s")
            page.wait_for_selector(".fw-panels:not([data-origin=recorded])")
            _say("command to first prediction drawn", time.monotonic() - began, "s")
            _scrub(page)
            _say("memory of the app after scrubbing", _resident_mb(server.pid), "MB resident")
            page.context.close()
            _scene(browser, address)
            _say("peak memory of the app", _resident_mb(server.pid, "VmHWM"), "MB resident")
        browser.close()


def _scrub(page: Page) -> None:
    """Jumps along the slider, resting after each so that only the timed frame is in flight."""
    frames = int(page.get_attribute(".fw-slider", "max") or 0)
    indices = range(SPACING // 2 + 1, frames, SPACING)
    page.evaluate(_MOVE, frames)  # the first prediction of a process also allocates
    _say_lags("scrub to a new time", [_move(page, index) for index in indices])
    _say_lags("scrub to a time seen before", [_move(page, index) for index in indices])


def _move(page: Page, index: int) -> float:
    """Milliseconds from the slider's input event to the animation frame after the panels were drawn."""
    page.wait_for_timeout(1500)
    return page.evaluate(_MOVE, index)


def _scene(browser: Browser, address: str) -> None:
    page = _open(browser, address, viewer=True)
    page.wait_for_selector(".fw-viewer[data-t]")
    page.click(".fw-episode")
    began = time.monotonic()
    page.click(".fw-picker tbody tr:nth-child(2)")
    page.wait_for_function(
        "document.querySelector('.fw-viewer').dataset.episode === new URLSearchParams(location.search).get('episode')"
    )
    _say("choosing an episode to its first 3D frame (software rendering)", time.monotonic() - began, "s")
    page.context.close()


def _open(browser: Browser, address: str, *, viewer: bool) -> Page:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(_PATIENCE_MS)
    page.add_init_script("console.debug = () => {}")
    if not viewer:
        page.route("**/viewer/**", lambda route: route.abort())
    page.goto(address)
    page.wait_for_selector(".fw-panels[data-t]")
    return page


@contextmanager
def _workbench() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "app.py",
        "--checkpoint",
        str(CHECKPOINT),
        "--episodes",
        str(EPISODES),
        "--port",
        str(port),
    ]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        if b"http://" not in server.stdout.readline():
            raise RuntimeError("the workbench did not start")
        yield f"http://127.0.0.1:{port}/", server
    finally:
        server.terminate()
        server.wait(30)


def _resident_mb(pid: int, field: str = "VmRSS") -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def _say(what: str, value: float, unit: str) -> None:
    sys.stdout.write(f"{what}: {value:.1f} {unit}\n")
    sys.stdout.flush()


def _say_lags(what: str, lags: list[float]) -> None:
    ordered = sorted(lags)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    sys.stdout.write(f"{what}: p50 {statistics.median(ordered):.0f} ms, p95 {p95:.0f} ms, n = {len(ordered)}\n")
    sys.stdout.flush()

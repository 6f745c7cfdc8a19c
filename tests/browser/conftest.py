"""A real workbench on a free port with synthetic episodes and an untrained `tiny` policy, and a headless Chromium."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, TimeoutError, sync_playwright

from tests.chromium import FLAGS
from tests.factories import make_recording

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FAILED = pytest.StashKey[bool]()
NETWORK_CHANGED = "ERR_NETWORK_CHANGED"
PATIENCE_MS = 180_000
"""Software rendering on a busy machine is slow; a passing test never waits this long."""


@dataclass
class Visit:
    """One visitor's page and everything it complained about.

    A machine that joins or leaves a network while a test runs is no complaint of the page: `network_changes` has those.
    """

    page: Page
    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    network_changes: list[str] = field(default_factory=list)

    def load(self, url: str) -> None:
        """Opens the page, until it shows a frame."""
        self.page.goto(url)
        self.page.wait_for_selector(".fw-panels[data-t]")

    def note(self, message: ConsoleMessage) -> None:
        """Keeps what the browser's console says in red."""
        if message.type == "error":
            (self.network_changes if NETWORK_CHANGED in message.text else self.errors).append(message.text)

    def shown(self) -> int:
        """The control step on the screen."""
        return int(self.page.get_attribute(".fw-panels", "data-t") or -1)

    def wait_for_step(self, step: int, *, predicted: bool = True) -> None:
        """Until the panels show `step`."""
        drawn = ":not([data-origin=recorded])" if predicted else ""
        self.page.wait_for_selector(f'.fw-panels[data-t="{step}"]{drawn}')

    def told(self) -> str:
        """What the page shows, for the report of a test that failed."""
        lines = self.page.evaluate(
            """() => [
              `address ${location.search}, focus in ${document.activeElement?.outerHTML.slice(0, 80)}`,
              ...[".fw-panels", ".fw-viewer"].map((name) => [name, document.querySelector(name)?.dataset])
                .map(([name, shown]) => `${name} ${JSON.stringify(shown)}`),
              ...["error", "status", "wait", "upload-said", "upload-busy", "instruction"]
                .flatMap((name) => [...document.querySelectorAll(`.fw-${name}`)])
                .map((element) => `.${element.className}: ${element.textContent}`),
            ]"""
        )
        return "\n".join([*lines, *(f"console: {error}" for error in (*self.errors, *self.network_changes))])

    def unexpected(self) -> list[str]:
        """Console errors other than those of the viewer's files, which most tests block."""
        return [error for error in self.errors if "ERR_FAILED" not in error and "/viewer/" not in error]

    def pixels(self, panel: str) -> list[int]:
        """A coarse fingerprint of one panel."""
        return self.page.evaluate(
            """(name) => {
              const canvas = document.querySelector(`[data-panel=${name}] .fw-image`);
              const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
              return Array.from({ length: 200 }, (_, i) => data[4 * Math.floor((i * data.length) / 800)]);
            }""",
            panel,
        )


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running workbench with two episodes and one policy."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    folder = tmp_path_factory.mktemp("workbench")
    _fill(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    flags = [
        "--checkpoint",
        str(folder / "tiny"),
        "--episodes",
        str(folder / "episodes"),
        "--runs",
        str(folder / "runs"),
    ]
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(Path.home() / ".cache"),
        "FORESIGHT_CONFIG": str(folder / "config"),
    }
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "app.py", *flags, "--port", str(port)], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_it_answers(url, server, folder / "log")
        yield url
    finally:
        server.terminate()
        server.wait(60)
        _stop_runs(folder / "runs")


@pytest.fixture(scope="session")
def chromium(address: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture
def visit(chromium: Browser, address: str, request: pytest.FixtureRequest) -> Iterator[Callable[..., Visit]]:
    """Opens the page as a new visitor: `visit("?t=4", viewer=False)`; without the 3D viewer it is much faster."""
    visits = []

    def open_page(query: str = "", *, viewer: bool = False, lost: tuple[str, ...] = ()) -> Visit:
        context = chromium.new_context(viewport={"width": 1280, "height": 860}, permissions=["clipboard-read"])
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.add_init_script("console.debug = () => {}")  # the viewer prints thousands of lines there
        visitor = Visit(page)
        visits.append(visitor)
        page.on("request", lambda request: _note_outside(visitor, request, address))
        page.on("console", visitor.note)
        page.on("pageerror", lambda error: visitor.errors.append(str(error)))
        if not viewer:
            page.route("**/viewer/**", lambda route: route.abort())
        for pattern in lost:  # the first request of each ends with its connection
            page.route(pattern, lambda route: route.abort("internetdisconnected"), times=1)
        try:
            visitor.load(f"{address}/{query}")
        except TimeoutError:
            if not visitor.network_changes:
                raise
        if visitor.network_changes:  # then some of the page's own files never came
            visitor.errors.clear()
            visitor.load(f"{address}/{query}")
        return visitor

    yield open_page
    for number, visitor in enumerate(visits):
        if request.node.stash.get(FAILED, False):
            print(f"what visitor {number} saw:\n{visitor.told()}")  # pytest shows it below the failure
        visitor.page.context.close()


def _stop_runs(runs: Path) -> None:
    """A run outlives the page that started it; a test that fails midway must not leave one behind."""
    for status in runs.glob("*/status.json"):
        record = json.loads(status.read_text())
        if record["state"] == "running":
            with contextlib.suppress(ProcessLookupError):
                os.kill(record["pid"], signal.SIGTERM)


def _note_outside(visitor: Visit, request: Request, address: str) -> None:
    if not request.url.startswith((address, "data:", "blob:")):
        visitor.outside.append(request.url)


def _fill(folder: Path) -> None:
    import torch

    from model.config import preset
    from model.policy import Policy
    from trainer.episodes.packed import save_packed
    from trainer.loop.checkpoint import save_inference_checkpoint

    (folder / "episodes").mkdir()
    for seed, instruction in enumerate(("lift the box", "push <b>the</b> box")):
        save_packed(
            make_recording(length=24, frame_stride=1, seed=seed, instruction=instruction),
            folder / "episodes" / f"lift-{seed}",
        )
    torch.manual_seed(0)
    config = preset("tiny")
    save_inference_checkpoint(folder / "tiny", Policy(config), config, {"weights": "raw", "step": 0})


def _wait_until_it_answers(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"{url}/api/open", timeout=5).close()  # noqa: S310 - our own address
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(f"the workbench did not start:\n{log.read_text()}")

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Request, Response
from fastapi.testclient import TestClient

from tests.factories import make_recording
from trainer.episodes.packed import save_packed
from workbench.catalog import Catalog
from workbench.ui.answer import answer
from workbench.ui.desk import Desk
from workbench.ui.server import Guard, make_server, static_version
from workbench.ui.viewer import Viewer

HOST = "127.0.0.1:7860"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The server without the Gradio page: one episode, no policy."""
    folder = tmp_path_factory.mktemp("episodes")
    save_packed(make_recording(length=8, frame_stride=2), folder / "lift")
    app = make_server(Desk(Catalog(episode_roots=[folder])), Viewer())
    with TestClient(Guard(app, hosts=frozenset({HOST})), base_url=f"http://{HOST}") as client:
        yield client


def test_opening_lists_ids_and_no_path(server: TestClient, tmp_path_factory: pytest.TempPathFactory) -> None:
    answer = server.get("/api/open")
    assert answer.status_code == 200
    assert answer.json()["clip"]["steps"] == [0, 2, 4, 6]
    assert answer.json()["clip"]["checkpoint"] is None
    assert str(tmp_path_factory.getbasetemp()) not in answer.text


def test_a_name_that_is_no_text_reaches_the_browser() -> None:
    app = FastAPI()

    @app.get("/")
    async def said(request: Request) -> Response:
        return await answer(request, lambda _: {"name": "bad\udcff"})

    assert TestClient(app).get("/").json() == {"name": "bad\udcff"}


def test_a_recorded_frame_needs_no_policy(server: TestClient) -> None:
    episode = server.get("/api/open").json()["clip"]["episode"]["id"]
    frame = server.get("/api/frame", params={"episode": episode, "t": 4, "view": "wrist"}).json()
    assert [panel["key"] for panel in frame["panels"]] == ["wrist.rgb", "wrist.depth_true"]
    assert frame["sheet"].startswith("data:image/png;base64,")
    assert frame["origin"] == "recorded"


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("frame", {"episode": "../../etc/passwd", "t": 0}),
        ("frame", {"episode": "ffffffffffff", "t": 0}),
        ("open", {"t": "-1"}),
        ("open", {"episode": "<script>"}),
        ("scene.rrd", {"episode": "/etc"}),
        ("timeline", {"episode": "ffffffffffff", "checkpoint": "ffffffffffff"}),
        ("attention/progress", {"episode": "f", "checkpoint": "f", "t": 0, "query": "NOBODY"}),
        ("attention/progress", {"episode": "f", "checkpoint": "f", "t": 0, "method": "<script>"}),
        ("attention/progress", {"episode": "f", "checkpoint": "f", "t": "<script>"}),
        ("attention", {"episode": "f", "t": 0}),
    ],
)
def test_nonsense_gets_one_line_and_never_its_own_words_back(
    server: TestClient, path: str, query: dict[str, str]
) -> None:
    answer = server.get(f"/api/{path}", params=query)
    assert answer.status_code == 422
    message = answer.json()["error"]
    assert message
    assert "\n" not in message
    assert not any(value in message for value in ("etc", "<script>"))


def test_a_step_without_an_image_is_refused(server: TestClient) -> None:
    episode = server.get("/api/open").json()["clip"]["episode"]["id"]
    answer = server.get("/api/frame", params={"episode": episode, "t": 3})
    assert answer.status_code == 422
    assert "3" in answer.json()["error"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_only_our_own_page_is_answered(server: TestClient, headers: dict[str, str]) -> None:
    assert server.get("/api/open", headers=headers).status_code == 403


def test_every_answer_carries_the_policy(server: TestClient) -> None:
    for path in ("/api/open", "/nowhere", f"/page/{static_version()}/main.js"):
        headers = server.get(path).headers
        assert "connect-src 'self' blob: data:" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["main.js", "text.js", "plotly.js"])
def test_the_page_s_own_files_are_served_for_ever(server: TestClient, name: str) -> None:
    answer = server.get(f"/page/{static_version()}/{name}")
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize(
    "path",
    ["/page/0/main.js", "/page/{}/topbar.html", "/page/{}/page.css", "/page/{}/..%2fserver.py", "/viewer/0/viewer.js"],
)
def test_no_other_file_is_served(server: TestClient, path: str) -> None:
    assert server.get(path.format(static_version())).status_code == 404


def test_the_viewer_script_stays_at_home_and_exports_its_class(
    server: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    script = server.get(f"/viewer/{Viewer().version}/viewer.js").text
    assert script.startswith("const fetch=")
    assert script.endswith("export { WebViewer };\n")
    assert "var WebViewer = class" in script

"""Uploads over the wire: whole answers of the server, two visitors, hostile files. No browser."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from fastapi.testclient import TestClient

from model.errors import WorkbenchError
from tests.factories import make_recording
from tests.waiting import files_below
from trainer.episodes.packed import save_packed
from trainer.episodes.settings_store import StoredSetting, add_setting, stored_settings
from trainer.episodes.source_settings import SourceSetting, ViewSetting
from workbench.catalog import Catalog
from workbench.ui.desk import Desk
from workbench.ui.server import Guard, make_server
from workbench.ui.uploading import UploadDesk
from workbench.ui.viewer import Viewer
from workbench.upload_room import Limits

HOST = "127.0.0.1:7860"
Visit = Callable[[], TestClient]


@pytest.fixture
def visit(tmp_path: Path) -> Iterator[Visit]:
    """Makes new visitors of one workbench; uploads lie in `tmp_path / "up"`, 1 MB each."""
    desk = Desk(Catalog())
    uploads = UploadDesk(desk, tmp_path / "up", Limits(file_bytes=900_000, visitor_bytes=1_000_000, free_bytes=0))
    app = Guard(make_server(desk, Viewer(), uploads), hosts=frozenset({HOST}))
    yield lambda: TestClient(app, base_url=f"http://{HOST}")
    uploads.uploads.close()


@pytest.fixture(scope="module")
def episode(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small packed episode by its files' names."""
    folder = tmp_path_factory.mktemp("packed") / "lift"
    save_packed(make_recording(length=6, size=(16, 16), instruction="<b>lift</b>"), folder)
    return {f"lift/{path.name}": path.read_bytes() for path in folder.iterdir()}


def send(client: TestClient, files: dict[str, bytes]) -> Any:
    announced = client.post("/api/uploads", json={"files": [[name, len(data)] for name, data in files.items()]})
    if announced.status_code != 200:
        return announced
    return client.put(f"/api/uploads/{announced.json()['upload']}", content=b"".join(files.values()))


def zipped(files: dict[str, bytes]) -> dict[str, bytes]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return {"trial.zip": buffer.getvalue()}


def kept(folder: Path) -> list[str]:
    return [name for name in files_below(folder / "up") if name != "lock"]


@pytest.mark.parametrize("pack", [dict, zipped])
def test_an_upload_opens_for_its_visitor_alone(visit: Visit, episode: dict[str, bytes], pack: Any) -> None:
    ann, bob = visit(), visit()
    answer = send(ann, pack(episode))
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["episodes"], found["problems"]) == (1, [])
    opened = ann.get("/api/open", params={"episode": found["episode"]}).json()
    assert opened["clip"]["instruction"] == "<b>lift</b>"
    listed = ann.get("/api/browse/rows").json()["rows"]
    assert [row["id"] for row in listed] == [found["episode"]]
    frame = ann.get("/api/frame", params={"episode": found["episode"], "t": opened["clip"]["t"]})
    assert frame.status_code == 200
    assert bob.get("/api/browse/rows").json()["rows"] == []
    assert bob.get("/api/uploads").json()["uploads"] == []
    bob_tries = bob.delete(f"/api/uploads/{found['upload']}")
    assert bob_tries.json()["uploads"] == []
    assert len(ann.get("/api/uploads").json()["uploads"]) == 1


def test_what_is_removed_is_gone_at_once(visit: Visit, episode: dict[str, bytes], tmp_path: Path) -> None:
    ann = visit()
    found = send(ann, episode).json()
    assert ann.get("/api/frame", params={"episode": found["episode"], "t": 0}).status_code == 200
    assert ann.delete(f"/api/uploads/{found['upload']}").json()["uploads"] == []
    assert kept(tmp_path) == []
    gone = ann.get("/api/frame", params={"episode": found["episode"], "t": 0})
    assert (gone.status_code, gone.json()["error"][:10]) == (422, "no episode")
    send(ann, episode)
    send(ann, episode)
    assert ann.delete("/api/uploads").json()["uploads"] == []
    assert kept(tmp_path) == []


def test_what_was_set_for_an_upload_leaves_with_it(
    visit: Visit, episode: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORESIGHT_CONFIG", str(tmp_path / "config"))
    ann = visit()
    found = send(ann, episode).json()
    (place,) = (tmp_path / "up").rglob("lift")
    add_setting(place, SourceSetting(static=ViewSetting(swap_red_blue=True)))
    add_setting(tmp_path / "elsewhere", SourceSetting(static=ViewSetting(swap_red_blue=True)))
    assert ann.get("/api/audit/settings").json()["settings"]
    ann.delete(f"/api/uploads/{found['upload']}")
    assert [item.source for item in stored_settings() if isinstance(item, StoredSetting)] == [tmp_path / "elsewhere"]


def test_what_is_removed_while_it_is_listed_is_not_listed(
    tmp_path: Path, episode: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(Catalog())
    made = UploadDesk(desk, tmp_path / "up", Limits(free_bytes=0))
    incoming = made.begin("ann", json.dumps({"files": [[name, len(data)] for name, data in episode.items()]}).encode())
    incoming.write(b"".join(episode.values()))
    add, calls = desk.catalog.add_private, list[int]()

    def add_slowly(space: str, roots: Sequence[Path]) -> None:
        calls.append(len(roots))
        if len(calls) == 1:
            made.remove(space, made.uploads.of(space)[0].name)  # by another tab of this visitor
        add(space, roots)

    monkeypatch.setattr(desk.catalog, "add_private", add_slowly)
    with pytest.raises(WorkbenchError):
        made.finish("ann", incoming)
    assert calls == [1, 0, 0]
    assert desk.catalog.episodes("ann") == ()
    made.uploads.close()


def test_limits_are_said_before_a_byte_is_sent(visit: Visit, tmp_path: Path) -> None:
    ann = visit()
    answer = ann.post("/api/uploads", json={"files": [["big.mp4", 900_001]]})
    assert (answer.status_code, answer.json()) == (422, {"error": "'big.mp4': 900 kB, and a file may have 900 kB"})
    answer = ann.post("/api/uploads", json={"files": [["a.mp4", 600_000], ["b.mp4", 600_000]]})
    assert "a visitor has 1 MB" in answer.json()["error"]
    assert kept(tmp_path) == []


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"files": 3}',
        '{"files": [["a"]]}',
        '{"files": [[1, 2]]}',
        '{"files": [["a", true]]}',
        '{"files": [["a", 1.5]]}',
        '{"files": [["a", 1' + "0" * 4000 + "]]}",
        '{"files": []}',
        '{"files": [["../../x", 1]]}',
        '{"files": [["/etc/x", 1]]}',
        '{"files": [["a", 1], ["a/b", 1]]}',
        "[" * 50_000,
    ],
)
def test_a_malformed_announcement_is_one_line(visit: Visit, body: str) -> None:
    answer = visit().post("/api/uploads", content=body)
    assert answer.status_code == 422
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"notes.txt": b"hello"}, "no episode in it"),
        ({"a.mp4": b"not a video" * 50}, "a.mp4"),
        ({"<img onerror=x>.mp4": b"nope"}, "_img onerror=x_.mp4"),
        ({"d/demo.hdf5": b"\x89HDF\r\n\x1a\n" + bytes(90)}, "no episode in it"),
        ({"trial.zip": b"PK\x03\x04nonsense"}, "not a zip archive"),
        (zipped({"../../evil": b"x"}), "lead out of its folder"),
    ],
)
def test_what_no_reader_can_open_is_refused_by_name_and_not_kept(
    visit: Visit, tmp_path: Path, files: dict[str, bytes], why: str
) -> None:
    answer = send(visit(), files)
    assert answer.status_code == 422
    assert why in answer.json()["error"]
    assert str(tmp_path) not in answer.text
    assert kept(tmp_path) == []


def test_one_broken_episode_does_not_hide_the_good_one(visit: Visit, episode: dict[str, bytes]) -> None:
    broken = {name.replace("lift", "broken"): data[:200] for name, data in episode.items()}
    found = send(visit(), {**broken, **episode}).json()
    assert found["episode"]
    assert any("broken" in problem for problem in found["problems"])
    assert "no episode" not in str(found)


def test_a_later_error_names_the_file_as_its_visitor_knows_it(
    visit: Visit, episode: dict[str, bytes], tmp_path: Path
) -> None:
    ann = visit()
    found = send(ann, episode).json()
    for path in (tmp_path / "up").rglob("meta.json"):
        path.write_text("{")
    ann.get("/api/open", params={"refresh": True})  # opens everything anew
    for route in ("open", "frame?t=0", "browse/episode", "browse/thumbnail", "scene.rrd"):
        answer = ann.get(f"/api/{route}", params={"t": 0, "episode": found["episode"]})
        assert "lift" in answer.text, route
        assert str(tmp_path) not in answer.text


def test_bytes_that_were_not_announced_are_refused(visit: Visit, tmp_path: Path) -> None:
    ann = visit()
    name = ann.post("/api/uploads", json={"files": [["a.mp4", 10]]}).json()["upload"]
    assert "more bytes" in ann.put(f"/api/uploads/{name}", content=b"x" * 3_000_000).json()["error"]
    name = ann.post("/api/uploads", json={"files": [["a.mp4", 10]]}).json()["upload"]
    assert "5 B early" in ann.put(f"/api/uploads/{name}", content=b"x" * 5).json()["error"]
    assert kept(tmp_path) == []


def test_an_upload_is_sent_by_whoever_announced_it(visit: Visit) -> None:
    ann, bob = visit(), visit()
    name = ann.post("/api/uploads", json={"files": [["a.mp4", 10]]}).json()["upload"]
    assert "no upload of that name" in bob.put(f"/api/uploads/{name}", content=b"x" * 10).json()["error"]
    assert ann.delete(f"/api/uploads/{name}").status_code == 200  # cancelled
    assert "no upload of that name" in ann.put(f"/api/uploads/{name}", content=b"x" * 10).json()["error"]


def test_a_connection_that_ends_in_the_middle_leaves_nothing(visit: Visit, tmp_path: Path) -> None:
    ann = visit()
    name = ann.post("/api/uploads", json={"files": [["a.mp4", 2_000]]}).json()["upload"]
    messages = iter(
        [{"type": "http.request", "body": b"x" * 1000, "more_body": True}, {"type": "http.disconnect"}]
    )  # fmt: skip
    cookie = "; ".join(f"{key}={value}" for key, value in ann.cookies.items())
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "method": "PUT",
        "scheme": "http",
        "path": f"/api/uploads/{name}",
        "raw_path": b"",
        "query_string": b"",
        "headers": [(b"host", HOST.encode()), (b"cookie", cookie.encode())],
        "server": ("127.0.0.1", 7860),
    }

    async def receive() -> dict[str, Any]:
        return next(messages, {"type": "http.disconnect"})

    async def send_nowhere(_: Any) -> None:
        return None

    anyio.run(ann.app, scope, receive, send_nowhere)
    assert kept(tmp_path) == []
    assert "no upload of that name" in ann.put(f"/api/uploads/{name}", content=b"x").json()["error"]
    assert send(ann, {"a.mp4": b"x"}).status_code == 422  # the next one is not blocked by it


def test_no_foreign_page_can_upload(visit: Visit) -> None:
    ann = visit()
    body = json.dumps({"files": [["a.mp4", 1]]})
    for site in ("cross-site", "same-site"):
        assert ann.post("/api/uploads", content=body, headers={"Sec-Fetch-Site": site}).status_code == 403

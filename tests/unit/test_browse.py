"""What the Browse tab gets: parts of the list, every camera, every number, evaluation chains."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from model.errors import ConfigError
from tests.calvin_factory import write_calvin_split
from tests.factories import make_recording
from trainer.episodes.packed import save_packed
from workbench.catalog import Catalog
from workbench.catalog_search import Search
from workbench.catalog_thumbnails import jpeg
from workbench.charts.features import MOST_POINTS, drawn_steps
from workbench.ui.browse import Page, rows_payload
from workbench.ui.desk import Desk
from workbench.ui.server import make_server
from workbench.ui.viewer import Viewer


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browse")
    write_calvin_split(folder / "calvin" / "training", size=(24, 32))
    state = {"led": 0, "drawer": "open"}
    chains = [[state, ["open_drawer", "lift", "push", "turn_on_led", "stack"]]]
    (folder / "calvin" / "eval_sequences.json").write_text(json.dumps(chains))
    save_packed(make_recording(length=8, size=(16, 16)), folder / "packed")
    return folder


@pytest.fixture(scope="module")
def desk(root: Path) -> Desk:
    return Desk(Catalog(episode_roots=[root]))


@pytest.fixture
def client(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with TestClient(make_server(desk, Viewer())) as client:
        yield client


def test_parts_of_the_list(desk: Desk) -> None:
    first = rows_payload(desk, Search(), Page(limit=2), None)
    assert (first["total"], first["found"], len(first["rows"])) == (3, 3, 2)
    assert first["choices"]["source"] == [("calvin", 2), ("synthetic", 1)]
    rest = rows_payload(desk, Search(), Page(offset=2, limit=2), None)
    assert [row["source"] for row in rest["rows"]] == ["synthetic"]
    assert "choices" not in rest
    for wrong in (Page(offset=-1), Page(limit=0), Page(limit=10_000)):
        with pytest.raises(ConfigError, match="1 to 500 rows"):
            rows_payload(desk, Search(), wrong, None)


def test_rows_by_the_words_of_a_request_and_no_path(client: TestClient, root: Path) -> None:
    answer = client.get("/api/browse/rows", params={"q": "lift box", "source": "synthetic", "order": "steps"})
    assert [row["source"] for row in answer.json()["rows"]] == ["synthetic"]
    assert str(root) not in client.get("/api/browse/rows").text
    assert client.get("/api/browse/rows", params={"order": "__class__"}).status_code == 422


def test_what_could_not_be_listed_is_said_without_a_path(tmp_path: Path) -> None:
    save_packed(make_recording(length=8, size=(16, 16)), tmp_path / "sets" / "lift")
    (tmp_path / "sets" / "lift" / "manifest.json").write_text("{")
    with TestClient(make_server(Desk(Catalog(episode_roots=[tmp_path / "sets"])), Viewer())) as client:
        answer = client.get("/api/browse/rows")
    assert "sets/lift" in answer.json()["problems"][0]
    assert str(tmp_path) not in answer.text


def test_every_picture_of_an_episode_comes_out_of_its_camera(client: TestClient, desk: Desk) -> None:
    name = desk.catalog.episodes()[0].id
    told = client.get("/api/browse/episode", params={"episode": name}).json()
    assert told["instruction"] == "move the box 0"
    shots = [(shot["camera"], shot["kind"], shot["policy"]) for shot in told["pictures"]]
    assert shots[:2] == [("static", "rgb", True), ("static", "depth", True)]
    assert shots[-1] == ("rgb_tactile.1", "rgb", False)
    for shot in told["pictures"]:
        asked = {"episode": name, "camera": shot["camera"], "kind": shot["kind"], "t": told["steps"][3]}
        answer = client.get("/api/browse/picture", params=asked)
        assert answer.headers["content-type"] == "image/jpeg"
        picture = np.asarray(Image.open(io.BytesIO(answer.content)))
        assert list(picture.shape) == [*shot["size"], 3]
    bars = client.get("/api/browse/bars", params={"episode": name}).json()["bars"]
    assert set(bars) == {shot["camera"] for shot in told["pictures"] if shot["kind"] == "depth"}
    assert "depth [m]" in bars["static"]
    true = desk.episode(name).others["rgb_tactile.1"].rgb(3)
    assert answer.content == jpeg(true, (640, 480), quality=88)
    for wrong in ({"camera": "roof"}, {"t": 99}, {"episode": "0" * 12}):
        answer = client.get("/api/browse/picture", params={**asked, **wrong})
        assert answer.status_code == 422
        assert "\n" not in answer.json()["error"]


def test_a_picture_and_a_thumbnail_are_small(client: TestClient, desk: Desk) -> None:
    name = desk.catalog.episodes()[2].id
    answer = client.get("/api/browse/thumbnail", params={"episode": name})
    assert answer.headers["content-type"] == "image/jpeg"
    assert "max-age" in answer.headers["cache-control"]
    assert len(answer.content) < 4000


def test_every_number_by_its_name(client: TestClient, desk: Desk) -> None:
    name = desk.catalog.episodes()[0].id
    features = client.get("/api/browse/features", params={"episode": name}).json()["features"]
    assert {feature["name"] for feature in features} == {"robot_obs", "scene_obs", "actions", "rel_actions"}
    robot = next(feature for feature in features if feature["name"] == "robot_obs")
    assert robot["columns"][:5] == ["step", "x", "y", "z", "rx"]
    lines = robot["figure"]["data"]
    assert len(lines) == 15
    assert len({(line["line"]["color"], line["line"]["dash"]) for line in lines}) == 15  # each told apart
    values = desk.episode(name).features["robot_obs"]
    assert lines[2]["y"] == pytest.approx(values[:, 2], rel=1e-3)
    assert [line[3] for line in robot["rows"]] == lines[2]["y"]


def test_own_state_and_action_have_named_entries(client: TestClient, desk: Desk) -> None:
    name = desk.catalog.episodes()[2].id
    features = client.get("/api/browse/features", params={"episode": name}).json()["features"]
    columns = {feature["name"]: feature["columns"] for feature in features}
    assert columns["state"] == ["step", "x", "y", "z", "qw", "qx", "qy", "qz", "gripper"]
    assert columns["action"][-1] == "gripper"


def test_long_episodes_are_thinned_evenly() -> None:
    assert drawn_steps(MOST_POINTS).tolist() == list(range(MOST_POINTS))
    steps = drawn_steps(17 * MOST_POINTS + 1)
    assert len(steps) <= MOST_POINTS
    assert set(np.diff(steps)) == {18}


def test_evaluation_chains_are_shown_once(client: TestClient) -> None:
    (found,) = client.get("/api/browse/chains").json()["sets"]
    assert found["of"] == "calvin"
    assert found["rows"] == [["led 0, drawer open", "open_drawer", "lift", "push", "turn_on_led", "stack"]]


def test_damaged_chains_say_so(tmp_path: Path) -> None:
    from workbench.ui.browse import chains_payload

    write_calvin_split(tmp_path / "training")
    (tmp_path / "eval_sequences.json").write_text('[[{}, ["one"]]]')
    (found,) = chains_payload(Desk(Catalog(episode_roots=[tmp_path])), None)["sets"]
    assert "list of 5 tasks" in found["problem"]

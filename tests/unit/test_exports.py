"""What a visitor takes home: the files say what the page shows, in formats that other programs read."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from model.errors import ConfigError
from tests.factories import make_checkpoint, make_foresight, make_recording
from trainer.episodes.memory import MemoryEpisode
from trainer.episodes.packed import save_packed
from workbench.catalog import Catalog
from workbench.charts.panels import clip_scales
from workbench.charts.track_style import shown_tracks
from workbench.export.ply import cloud_ply, tracks_ply
from workbench.export.video import frame_image, panels_mp4
from workbench.foresight import Foresight
from workbench.ui.desk import Desk
from workbench.ui.server import Guard, make_server
from workbench.ui.viewer import Viewer

HOST = "127.0.0.1:7860"


@pytest.fixture(scope="module")
def episode() -> MemoryEpisode:
    return MemoryEpisode(make_recording(length=20, size=(32, 32)))


@pytest.fixture(scope="module")
def foresight(episode: MemoryEpisode) -> Foresight:
    return make_foresight(episode, 8)


def test_the_cloud_lies_on_the_table_in_the_image_s_colours(
    episode: MemoryEpisode, foresight: Foresight, tmp_path: Path
) -> None:
    import open3d

    path = tmp_path / "cloud.ply"
    path.write_bytes(cloud_ply(foresight))
    cloud = open3d.io.read_point_cloud(path)
    depth = episode.depth("static", 8)
    points, normals = np.asarray(cloud.points), np.asarray(cloud.normals)
    table = episode.body("static", 8)[np.isfinite(depth)] == 0
    assert len(points) == np.isfinite(depth).sum()
    np.testing.assert_allclose(points[table][:, 2], 0.0, atol=1e-5)
    colours = np.round(255 * np.asarray(cloud.colors)).astype(np.uint8)
    np.testing.assert_array_equal(colours, episode.rgb("static", 8)[np.isfinite(depth)])
    pose = episode.T_world_camera("static")[8]
    assert ((pose[:3, 3] - points) * normals).sum(axis=1).min() > 0  # towards the camera
    assert np.median(normals[table][:, 2]) == pytest.approx(1.0, abs=1e-3)


def test_tracks_are_the_lines_of_the_3d_view(episode: MemoryEpisode, foresight: Foresight, tmp_path: Path) -> None:
    import open3d

    path = tmp_path / "tracks.ply"
    path.write_bytes(tracks_ply(episode, foresight))
    lines = open3d.io.read_line_set(path)
    flow, K = foresight.flow, foresight.views["static"].K
    assert K is not None
    assert flow.known is not None
    shown = shown_tracks(flow, K)
    steps = flow.uvz.shape[1]
    true_edges = sum(max(int(flow.known[point].sum()) - 1, 0) for point in shown)
    assert len(lines.lines) == len(shown) * (steps - 1) + true_edges
    edges = np.asarray(lines.points)[np.asarray(lines.lines)]
    assert np.linalg.norm(edges[:, 1] - edges[:, 0], axis=1).max() < 0.3  # no line jumps to the next track


def test_without_a_camera_there_is_nothing_in_3d(episode: MemoryEpisode, foresight: Foresight) -> None:
    seen = dataclasses.replace(foresight.views["static"], K=None)
    blind = dataclasses.replace(foresight, views={**foresight.views, "static": seen})
    with pytest.raises(ConfigError, match="no camera"):
        cloud_ply(blind)
    with pytest.raises(ConfigError, match="no camera"):
        tracks_ply(episode, blind)


def test_a_film_has_one_frame_for_each_prediction(episode: MemoryEpisode, tmp_path: Path) -> None:
    scales = clip_scales(episode, fallback={})
    foresights = [make_foresight(episode, step) for step in (0, 2, 4)]
    path = tmp_path / "panels.mp4"
    path.write_bytes(panels_mp4(foresights, "static", scales, hz=20.0))
    film = cv2.VideoCapture(str(path))
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(10.0)
    frames = [film.read()[1][..., ::-1] for _ in foresights]
    assert not film.read()[0]
    drawn = frame_image(foresights[0], "static", scales)
    assert frames[0].shape == drawn.shape
    assert np.abs(frames[0].astype(int) - drawn).mean() < 8  # lossy, but the same picture
    with pytest.raises(ConfigError, match="nothing of this clip is predicted"):
        panels_mp4([], "static", scales, hz=20.0)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("exports")
    save_packed(make_recording(length=8, frame_stride=1), folder / "episodes" / "lift")
    make_checkpoint(folder / "tiny")
    catalog = Catalog(episode_roots=[folder / "episodes"], checkpoint_roots=[folder / "tiny"])
    app = make_server(Desk(catalog), Viewer())
    with TestClient(Guard(app, hosts=frozenset({HOST})), base_url=f"http://{HOST}") as server:
        yield server


def test_every_kind_is_served_as_a_download(client: TestClient) -> None:
    clip = client.get("/api/open").json()["clip"]
    query = {"episode": clip["episode"]["id"], "checkpoint": clip["checkpoint"]["id"], "t": 2}
    starts = {
        "cloud.ply": b"ply\n",
        "tracks.ply": b"ply\n",
        "numbers.csv": b"step,",
        "panels.mp4": b"\x00\x00\x00",
        "episode.rrd": b"RRF2",
    }
    for kind, start in starts.items():
        answer = client.get(f"/api/export/{kind}", params=query)
        assert answer.status_code == 200, answer.text
        assert answer.content.startswith(start)
        assert kind in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(client.get("/api/export/numbers.csv", params=query).text)))
    assert [row["step"] for row in rows] == ["2"]  # what was predicted, nothing else
    assert client.get("/api/export/secrets.txt", params=query).status_code == 422

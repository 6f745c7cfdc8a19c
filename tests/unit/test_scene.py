"""The 3D scene: points lie where the truth has them, clicks come back as rows, nothing is shared between scenes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import rerun as rr
import rerun.blueprint as rrb

from tests.factories import make_foresight, make_recording
from trainer.episodes.memory import MemoryEpisode
from trainer.episodes.recording import Recording
from workbench.charts.track_style import faded, shown_tracks, track_colours
from workbench.scene.blueprint import _eye
from workbench.scene.lift import lift_image, lift_tracks
from workbench.scene.picking import ATTENTION, POINTS, PREDICTED, TRUE, line_count, picked_point
from workbench.scene.recording import EpisodeScene, write_rrd


@pytest.fixture(scope="module")
def episode() -> MemoryEpisode:
    return MemoryEpisode(make_recording(length=20, size=(32, 32)))


def test_lifted_table_lies_on_the_table(episode: MemoryEpisode) -> None:
    rgb, depth = episode.rgb("static", 0), episode.depth("static", 0)
    pose = episode.T_world_camera("static")[0]
    cloud = lift_image(rgb, depth, episode.intrinsics("static"), pose, limit=10**6)
    table = episode.body("static", 0)[np.isfinite(depth)] == 0
    assert len(cloud.points) == cloud.valid == np.isfinite(depth).sum()
    np.testing.assert_allclose(cloud.points[table][:, 2], 0.0, atol=1e-5)  # z = 0 is the table
    assert (cloud.points[~table][:, 2] > 0.005).all()
    np.testing.assert_array_equal(cloud.colours[:5], rgb.reshape(-1, 3)[:5])


def test_cloud_is_thinned_on_a_raster_and_skips_invalid_depth(episode: MemoryEpisode) -> None:
    depth = episode.depth("static", 0).copy()
    depth[:8] = np.nan
    pose = episode.T_world_camera("static")[0]
    cloud = lift_image(episode.rgb("static", 0), depth, episode.intrinsics("static"), pose, limit=256)
    assert len(cloud.points) <= 256
    assert np.isfinite(cloud.points).all()
    assert cloud.valid == 24 * 32


def test_true_tracks_move_with_the_box(episode: MemoryEpisode) -> None:
    foresight = make_foresight(episode, 8, too_far=0.0)
    flow, K = foresight.flow, foresight.views["static"].K
    assert K is not None
    assert flow.uvz_true is not None
    poses = episode.T_world_camera("static")[flow.steps]
    tracks = lift_tracks(flow.uvz_true, K, poses)
    uv = flow.uvz_true[:, 0, :2].astype(int)
    body = episode.body("static", 8)[uv[:, 1], uv[:, 0]]
    box = episode.body_pose[:, 1]
    assert (body == 1).sum() >= 3
    for step, at in enumerate(flow.steps):
        moved = tracks[body == 1, 0] @ np.eye(3) - box[8, :3, 3]
        expected = (moved @ box[8, :3, :3]) @ box[at, :3, :3].T + box[at, :3, 3]
        np.testing.assert_allclose(tracks[body == 1, step], expected, atol=1e-5)


def test_lines_for_what_moves_in_truth_or_prediction(episode: MemoryEpisode) -> None:
    foresight = make_foresight(episode, 8, too_far=0.0)
    flow, K = foresight.flow, foresight.views["static"].K
    assert K is not None
    shown = shown_tracks(flow, K)
    assert flow.moving[shown].sum() == flow.moving.sum() > 0
    wandering = flow.uvz.copy()
    point = int(np.flatnonzero(~flow.moving)[0])
    wandering[point, -1, 2] += 0.02
    assert point not in shown
    assert point in shown_tracks(dataclasses.replace(flow, uvz=wandering), K)


def test_a_track_has_one_colour_and_truth_is_its_faded_twin(episode: MemoryEpisode) -> None:
    flow = make_foresight(episode, 8).flow
    colours = track_colours(flow)
    pale = faded(colours)
    grey = np.array([150, 155, 162])
    assert (np.abs(pale - grey.astype(int)).sum(axis=1) <= np.abs(colours - grey.astype(int)).sum(axis=1)).all()
    order = np.argsort(flow.uvz[:, 0, 1], kind="stable")
    assert (np.diff(colours[order, 1].astype(int)) >= -5).all()  # one ramp from the top of the image to the bottom


def test_a_click_gives_the_row(episode: MemoryEpisode) -> None:
    foresight = make_foresight(episode, 8, too_far=0.0)
    K = foresight.views["static"].K
    assert K is not None
    shown = shown_tracks(foresight.flow, K)
    assert picked_point(foresight, POINTS, 7) == 7
    for entity in (PREDICTED, TRUE):
        assert [picked_point(foresight, entity, i) for i in range(len(shown))] == shown.tolist()
        assert picked_point(foresight, entity, len(shown)) is None
    assert picked_point(foresight, POINTS, 10**6) is None
    assert picked_point(foresight, "/world/cloud/true", 0) is None
    assert line_count(foresight) == len(shown) > 0


def test_no_line_where_it_cannot_be_placed(episode: MemoryEpisode) -> None:
    foresight = make_foresight(episode, 8)
    unseen = dataclasses.replace(foresight.views["static"], K=None)
    assert line_count(dataclasses.replace(foresight, views={**foresight.views, "static": unseen})) == 0
    unknown = foresight.flow.uvz.copy()
    unknown[3, 0, 2] = np.nan
    assert line_count(dataclasses.replace(foresight, flow=dataclasses.replace(foresight.flow, uvz=unknown))) == 0


def test_opening_and_predictions_are_one_recording(episode: MemoryEpisode) -> None:
    scene = EpisodeScene(episode)
    opening, added = scene.opening(), scene.predicted(make_foresight(episode, 8))
    assert scene.recording_id.encode() in opening
    assert scene.recording_id.encode() in added
    assert EpisodeScene(episode).recording_id != scene.recording_id
    assert b"/world/cloud/true" in opening
    assert b"/world/flow" not in opening
    assert b"/world/flow/predicted" in added
    assert b"/world/cloud/true" not in added


def test_a_file_holds_every_step(episode: MemoryEpisode, tmp_path: Path) -> None:
    path = tmp_path / "episode.rrd"
    write_rrd(path, episode, [make_foresight(episode, step) for step in (0, 8)])
    data = path.read_bytes()
    for name in (
        b"/world/flow/true",
        b"/world/cloud/future_predicted",
        b"/world/tool/path",
        b"/world/wrist",
        b"/about",
    ):
        assert name in data


def test_an_episode_without_depth_or_cameras_is_still_a_scene() -> None:
    recording = make_recording(length=8, size=(16, 16), views=("static",))
    info = dataclasses.replace(recording.info, depth_origin=None, depth_scale=None, has_exact_flow=False)
    view = dataclasses.replace(recording.views["static"], depth=None, body=None, K=None, T_world_camera=None)
    blind = MemoryEpisode(dataclasses.replace(recording, info=info, views={"static": view}, body_pose=None))
    data = EpisodeScene(blind).opening()
    assert b"/world/cloud/true" not in data
    assert b"/world/static/rgb" in data


def test_an_image_without_a_camera_is_no_part_of_the_3d_view(
    episode: MemoryEpisode, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The viewer marks a view that holds one with an error ("2D visualizers require a pinhole ancestor").
    recording = make_recording(length=8, size=(16, 16))
    recording = dataclasses.replace(recording, info=dataclasses.replace(recording.info, has_exact_flow=False))
    bare = dataclasses.replace(recording.views["wrist"], K=None)
    no_wrist = MemoryEpisode(dataclasses.replace(recording, views={**recording.views, "wrist": bare}))
    views = {"static": dataclasses.replace(recording.views["static"], K=None), "wrist": bare}
    blind = MemoryEpisode(dataclasses.replace(recording, views=views))
    laid_out: list[rrb.Blueprint] = []
    monkeypatch.setattr(
        rr.RecordingStream, "send_blueprint", lambda _self, blueprint, **_options: laid_out.append(blueprint)
    )
    for case in (episode, no_wrist, blind):
        EpisodeScene(case).opening()
    contents = [view.contents for blueprint in laid_out for view in blueprint.root_container.contents]
    whole, static, wrist = "+ /world/**", "- /world/static/rgb", "- /world/wrist/rgb"
    assert contents == [[whole], [whole, wrist], [whole, static, wrist]]
    assert EpisodeScene(blind)._title() == "3D foresight, no cloud without intrinsics"
    assert EpisodeScene(no_wrist)._title() == "3D foresight"


def test_start_points_are_coloured_by_weight_and_a_click_on_them_is_their_row(episode: MemoryEpisode) -> None:
    foresight, scene = make_foresight(episode, 8), EpisodeScene(episode)
    weight = np.zeros(len(foresight.flow.moving))
    weight[7] = 1.0
    coloured, cleared = scene.attention(foresight, weight), scene.attention(foresight, None)
    assert ATTENTION.encode() in coloured
    assert ATTENTION.encode() in cleared
    assert coloured != scene.attention(foresight, np.roll(weight, 1))
    assert picked_point(foresight, ATTENTION, 7) == 7
    assert ATTENTION.encode() in EpisodeScene(episode).whole([foresight])


def test_the_eye_stands_off_what_an_assumed_camera_sees() -> None:
    recording = make_recording(length=8, size=(16, 16), views=("static",))
    info = dataclasses.replace(
        recording.info,
        depth_origin=None,
        depth_scale=None,
        has_exact_flow=False,
        assumed=("K.static", "T_world_camera.static"),
    )
    view = dataclasses.replace(recording.views["static"], depth=None, body=None)
    episode = MemoryEpisode(dataclasses.replace(recording, info=info, views={"static": view}, body_pose=None))
    scene = EpisodeScene(episode)
    pose = episode.T_world_camera("static")[0]
    middle = scene._middle(scene._path)
    assert scene._path is None  # the tool's path is in a world that this camera was not placed in
    np.testing.assert_allclose((middle - pose[:3, 3]) @ pose[:3, 2], 1.4, atol=1e-6)
    assert scene._title() == "3D foresight, cloud of predicted depth, in the camera's own axes"


def unplaced(recording: Recording) -> MemoryEpisode:
    """Intrinsics and depth, and nobody says where the camera stands: what a ROS recording without /tf has."""
    info = dataclasses.replace(recording.info, has_exact_flow=False)
    views = {
        view: dataclasses.replace(seen, body=None, T_world_camera=None if view == "static" else seen.T_world_camera)
        for view, seen in recording.views.items()
    }
    return MemoryEpisode(dataclasses.replace(recording, info=info, views=views, body_pose=None))


def test_a_camera_of_unknown_place_is_drawn_in_its_own_axes() -> None:
    recording = make_recording(length=12, size=(32, 32))
    episode = unplaced(recording)
    scene, foresight = EpisodeScene(episode), make_foresight(MemoryEpisode(recording), 8)
    opening = scene.opening()
    assert scene._title() == "3D foresight, in the camera's own axes"
    assert list(scene._poses) == ["static"]  # the wrist's recorded place is in another world
    assert b"/world/cloud/true" in opening
    assert b"/world/tool/path" not in opening
    assert PREDICTED.encode() in scene.predicted(foresight)
    cloud = scene._true_cloud(episode.rgb("static", 0), 0)
    assert cloud is not None
    depth = episode.depth("static", 0)
    np.testing.assert_allclose(np.sort(cloud.points[:, 0]), np.sort(depth[np.isfinite(depth)]), atol=1e-5)  # along x


def test_the_eye_goes_nearer_to_what_a_long_lens_sees() -> None:
    target = np.array([0.0, 0.0, 4.0])
    distances: list[float] = []
    for spread in (0.0875, 0.207, 0.414):  # CALVIN's 10 degrees, half and all of LIBERO's 45
        position = _eye(np.eye(4), target, spread).position
        assert position is not None
        distances.append(float(np.linalg.norm(np.array(position.as_arrow_array().to_pylist()[0]) - target)))
    np.testing.assert_allclose(np.array(distances) / distances[2], [0.35, 0.5, 1.0], rtol=1e-3)

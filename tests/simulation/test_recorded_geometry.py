"""What a recording says about the world, against the simulator itself: rays cast into it, not images of it."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.episodes.episode import View
from trainer.episodes.memory import MemoryEpisode
from trainer.simulation.recorder import VIEWS

from .conftest import SIZE, World

VISUAL = np.array([0, 1, 0, 0, 0, 0], np.uint8)


def cast(world: World, view: View, uv: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(depth in metres, rigid body) where rays through pixels first meet something drawn; depth -1 where nothing."""
    scene = world.environment.scene
    T, K = scene.T_world_camera(view), scene.intrinsics(view, SIZE, SIZE)
    depth, body = np.full(len(uv), -1.0), np.zeros(len(uv), int)
    hit = np.zeros(1, np.int32)
    for index, (u, v) in enumerate(uv):
        ray = np.array([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], 1.0])
        length = np.linalg.norm(ray)
        distance = scene.mujoco.mj_ray(scene.model, scene.data, T[:3, 3], T[:3, :3] @ ray / length, VISUAL, 1, -1, hit)
        if distance >= 0:
            depth[index] = distance / length
            body[index] = scene.rigid_of_body[scene.model.geom_bodyid[hit[0]]]
    return depth, body


def some_pixels(count: int) -> np.ndarray:
    """Row and column pairs."""
    return np.random.default_rng(0).integers(0, SIZE, (count, 2))


@pytest.mark.parametrize("view", VIEWS)
def test_depth_and_body_are_what_rays_hit(world: World, view: View) -> None:
    recording, frame = world.recording, 3
    world.environment.scene.show(world.demonstration.states[recording.frame_steps[frame]])
    rows, columns = some_pixels(500).T
    depth, body = cast(world, view, np.stack([columns, rows], 1) + 0.5)
    stream = recording.views[view]
    assert stream.depth is not None
    assert stream.body is not None
    error = np.abs(stream.depth[frame, rows, columns] - depth)
    assert np.median(error) < 1e-5
    assert np.percentile(error, 99) < 1e-3
    assert np.mean(stream.body[frame, rows, columns] == body) > 0.99


def test_images_are_upright(world: World) -> None:
    """Bodies appear where the camera model puts them, and what is higher in the world is higher in the image."""
    stream, bodies = world.recording.views["static"], world.recording.body_pose
    assert stream.body is not None
    assert stream.K is not None
    assert stream.T_world_camera is not None
    assert bodies is not None
    to_camera = np.linalg.inv(stream.T_world_camera[0])
    bowls = [index for index, name in enumerate(world.recording.body_names) if "bowl" in name]
    for bowl in bowls:
        rows, columns = np.nonzero(stream.body[0] == bowl)
        point = to_camera[:3, :3] @ bodies[0, bowl, :3, 3] + to_camera[:3, 3]
        u, v, _ = stream.K @ point / point[2]
        assert np.hypot(columns.mean() + 0.5 - u, rows.mean() + 0.5 - v) < 15  # the origin lies at its foot
    assert to_camera[1, 2] < 0  # the world's up is the image's up


@pytest.mark.parametrize("view", VIEWS)
def test_colour_lies_on_the_bodies(world: World, view: View) -> None:
    """The image changes where one body ends and another begins, and less so in any mirrored image."""
    stream = world.recording.views[view]
    assert stream.body is not None
    grey = stream.rgb[3].astype(float).mean(axis=2)
    edge = np.diff(stream.body[3].astype(int), axis=0) != 0

    def change(image: np.ndarray) -> float:
        return float(np.abs(np.diff(image, axis=0))[edge].mean())

    mirrored = [change(grey[::-1]), change(grey[:, ::-1]), change(grey[::-1, ::-1])]
    assert change(grey) > 1.05 * max(mirrored)  # the gripper itself is nearly symmetric


def test_both_views_see_the_same_world(world: World) -> None:
    """A point of the table lifted from the wrist's depth lies where the static camera's ray meets the world."""
    recording, frame = world.recording, 1
    step = int(recording.frame_steps[frame])
    world.environment.scene.show(world.demonstration.states[step])
    wrist, static = recording.views["wrist"], recording.views["static"]
    assert wrist.depth is not None
    assert wrist.K is not None
    assert wrist.T_world_camera is not None
    assert static.K is not None
    assert static.T_world_camera is not None
    rows, columns = some_pixels(300).T
    z = wrist.depth[frame, rows, columns].astype(np.float64)
    pixels = np.stack([columns + 0.5, rows + 0.5, np.ones_like(z)])
    points = np.linalg.inv(wrist.K) @ pixels * z
    between = np.linalg.inv(static.T_world_camera[step]) @ wrist.T_world_camera[step]
    seen = between[:3, :3] @ points + between[:3, 3:]
    uv = (static.K @ seen / seen[2])[:2].T
    inside = np.all((uv > 0) & (uv < SIZE), axis=1)
    depth, _ = cast(world, "static", uv[inside])
    visible = np.abs(depth - seen[2, inside]) < 0.01
    assert visible.sum() > 50
    assert np.median(np.abs(depth - seen[2, inside])[visible]) < 2e-5


@pytest.mark.parametrize("view", VIEWS)
def test_tracks_start_where_they_are(world: World, view: View) -> None:
    episode = MemoryEpisode(world.recording)
    uv = some_pixels(400)[:, ::-1] + 0.5
    tracks = episode.tracks(view, 20, uv, np.array([20]))
    assert tracks.known.all()
    assert np.abs(tracks.uvz[:, 0, :2] - uv).max() < 1e-3


def test_tracks_follow_what_moves(world: World) -> None:
    """The carried bowl's pixels, tracked, against rays and against rendered depth at the later step."""
    recording = world.recording
    episode = MemoryEpisode(recording)
    start, later = 40, int(recording.frame_steps[-2])
    bowl = recording.body_names.index("akita_black_bowl_1_main")
    arm = [index for index, name in enumerate(recording.body_names) if name.startswith(("robot0", "gripper0"))]
    rows, columns = np.nonzero(np.isin(episode.body("static", start), [bowl, *arm]))
    assert len(rows) > 500
    uv = np.stack([columns, rows], 1) + 0.5
    tracks = episode.tracks("static", start, uv, np.array([start, later]))
    before, after = tracks.uvz[:, 0], tracks.uvz[:, 1]
    moved = (np.linalg.norm(after[:, :2] - before[:, :2], axis=1) > 2) & tracks.visible[:, 1]
    assert moved.sum() > 100
    world.environment.scene.show(world.demonstration.states[later])
    depth, _ = cast(world, "static", after[moved, :2])
    assert np.median(np.abs(depth - after[moved, 2])) < 1e-5
    columns, rows = after[moved, :2].astype(int).T
    rendered = episode.depth("static", later)[rows, columns]
    assert np.median(np.abs(rendered - after[moved, 2])) < 1e-3


def test_the_bowl_moves_in_depth(world: World) -> None:
    """The task is here for its depth-wise movement."""
    recording = world.recording
    assert recording.body_pose is not None
    cameras = recording.views["static"].T_world_camera
    assert cameras is not None
    bowl = recording.body_names.index("akita_black_bowl_1_main")
    z = (np.linalg.inv(cameras) @ recording.body_pose[:, bowl])[:, 2, 3]
    assert np.ptp(z) > 0.05

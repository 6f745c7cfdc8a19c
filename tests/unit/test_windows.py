"""Windows: what the policy sees and what came, read off the exact scene."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from model.config import PolicyConfig, WindowConfig, preset
from model.errors import EpisodeError
from tests.factories import make_recording
from trainer.data.images import scaled_intrinsics
from trainer.data.points import choose_points, moving_pixels
from trainer.data.state import relative_pose
from trainer.data.windows import observation_at, targets_at
from trainer.episodes.memory import MemoryEpisode
from trainer.episodes.rotations import euler_xyz, rotation_matrix

LENGTH = 60


def tokenize(texts: list[str]) -> torch.Tensor:
    return torch.tensor([[len(text), 1, 0] for text in texts])


@pytest.fixture(scope="module")
def config() -> PolicyConfig:
    window = WindowConfig(n_obs_steps=4, obs_stride=2, future_offset=6, flow_steps=3, flow_stride=4, chunk_size=5)
    return replace(preset("tiny"), window=window, image_size=32)


@pytest.fixture(scope="module")
def episode() -> MemoryEpisode:
    """At the policy's size: pixels can be compared one by one."""
    return MemoryEpisode(make_recording(length=LENGTH, size=(32, 32)))


def test_observation_ends_now_and_starts_in_its_own_frame(config: PolicyConfig, episode: MemoryEpisode) -> None:
    observation = observation_at(episode, 20, config, tokenize)
    for index, step in enumerate((14, 16, 18, 20)):
        for view, name in enumerate(config.views):
            image = observation.rgb[0, index, view].permute(1, 2, 0).numpy()
            np.testing.assert_array_equal(image, episode.rgb(name, step))
    assert observation.frame_mask.all()
    assert observation.view_mask.all()
    assert observation.state_arm[0, 0].abs().max() < 1e-12
    R = rotation_matrix(episode.state[[14, 20], 3:7])
    moved = R[0].T @ (episode.state[20, :3] - episode.state[14, :3])
    np.testing.assert_allclose(observation.state_arm[0, 3, :3], moved, atol=1e-6)
    assert observation.state_gripper.tolist() == [[1, 1, 1, 1]]
    assert observation.text.tolist() == [[len("lift the box"), 1, 0]]


def test_a_young_window_is_padded_on_the_right(config: PolicyConfig, episode: MemoryEpisode) -> None:
    observation = observation_at(episode, 2, config, tokenize)
    assert observation.frame_mask.tolist() == [[True, True, False, False]]
    np.testing.assert_array_equal(observation.rgb[0, 1, 0].permute(1, 2, 0).numpy(), episode.rgb("static", 2))
    assert not observation.rgb[0, 2:].any()
    targets = targets_at(episode, 2, config, frames=[1, 3], points=16)
    assert targets.future_mask[0, 0].all()
    for name in ("depth_valid", "future_mask", "flow_weight", "flow_start"):
        assert not getattr(targets, name)[0, 1].any()
    assert targets.action_mask[0].any(-1).tolist() == [True, True, False, False]


def test_targets_are_what_came(config: PolicyConfig, episode: MemoryEpisode) -> None:
    targets = targets_at(episode, 20, config, frames=[1, 3], points=64)
    assert targets.frames.tolist() == [1, 3]
    for row, step in enumerate((16, 20)):
        for view, name in enumerate(config.views):
            valid = np.isfinite(episode.depth(name, step))
            np.testing.assert_array_equal(targets.depth_valid[0, row, view], valid)
            np.testing.assert_array_equal(targets.depth[0, row, view], np.nan_to_num(episode.depth(name, step)))
            future = targets.future_rgb[0, row, view].permute(1, 2, 0).numpy()
            np.testing.assert_array_equal(future, episode.rgb(name, step + 6))
            np.testing.assert_array_equal(
                targets.future_depth[0, row, view], np.nan_to_num(episode.depth(name, step + 6))
            )
    np.testing.assert_allclose(targets.action[0, 3], episode.action[20:25], rtol=1e-6)
    assert targets.action_mask.all()


def test_flow_follows_the_exact_tracks(config: PolicyConfig, episode: MemoryEpisode) -> None:
    targets = targets_at(episode, 20, config, frames=[3], points=200)
    start = targets.flow_start[0, 0].numpy() * [32, 32, 1]
    tracks = episode.tracks("static", 20, start[:, :2].astype(float), np.array([24, 28, 32]))
    end = start[:, None] + targets.flow_delta[0, 0].numpy() * [32, 32, 1]
    np.testing.assert_allclose(end, tracks.uvz, atol=1e-4)
    np.testing.assert_array_equal(targets.flow_visible[0, 0], tracks.visible)
    expected = np.where(tracks.visible, 1.0, 0.1).astype(np.float32)
    inside = ((tracks.uvz[..., :2] >= 0) & (tracks.uvz[..., :2] < 32)).all(-1)
    np.testing.assert_array_equal(targets.flow_weight[0, 0], expected * inside)
    assert targets.flow_moving.sum() == 50


def test_beyond_the_end_everything_is_masked(config: PolicyConfig, episode: MemoryEpisode) -> None:
    targets = targets_at(episode, 58, config, frames=[2, 3], points=64)
    assert not targets.future_mask.any()
    assert not targets.future_rgb.any()
    assert not targets.flow_weight.any()
    assert targets.depth_valid[0, :, 0].any()
    assert targets.action_mask[0, 3].tolist() == [True, True, False, False, False]
    assert not targets.action[0, 3, 2:].any()
    assert targets_at(episode, 54, config, frames=[3], points=64).flow_weight[0, 0].any(0).tolist() == [
        True,
        False,
        False,
    ]
    assert targets.progress is None  # this policy has no progress head
    for field, value in vars(targets).items():
        assert value is None or torch.isfinite(value.float()).all(), field


def test_absent_things_are_masked_not_faked(config: PolicyConfig) -> None:
    full = make_recording(length=30, size=(32, 32), views=("static",))
    info = replace(full.info, has_exact_flow=False, depth_scale=None, depth_origin=None, action_space=None)
    static = replace(full.views["static"], depth=None, body=None)
    episode = MemoryEpisode(replace(full, info=info, views={"static": static}))
    observation = observation_at(episode, 10, config, tokenize)
    targets = targets_at(episode, 10, config, frames=[3], points=16)
    assert observation.view_mask.tolist() == [[True, False]]
    assert not observation.rgb[:, :, 1].any()
    assert targets.future_mask.tolist() == [[[True, False]]]
    for name in ("depth_valid", "future_depth_valid", "flow_weight", "action_mask"):
        assert not getattr(targets, name).any()


def test_strides_that_meet_no_images_are_refused(config: PolicyConfig) -> None:
    episode = MemoryEpisode(make_recording(length=40, frame_stride=4, size=(16, 16)))
    with pytest.raises(EpisodeError, match=r"one of 4 steps, the policy's window.obs_stride = 2"):
        observation_at(episode, 20, config, tokenize)
    odd = replace(config, window=replace(config.window, obs_stride=4, future_offset=5))
    with pytest.raises(EpisodeError, match=r"window.future_offset = 5"):
        targets_at(episode, 20, odd, frames=[3])


@pytest.mark.parametrize("step", [-2, LENGTH, 1, 21])
def test_a_step_without_an_image_is_refused(config: PolicyConfig, episode: MemoryEpisode, step: int) -> None:
    with pytest.raises(EpisodeError, match=f"step {step}"):
        observation_at(episode, step, config, tokenize)
    with pytest.raises(EpisodeError, match=f"step {step}"):
        targets_at(episode, step, config, frames=[0], points=8)


@pytest.mark.parametrize("frames", [[3, 1], [4], [-1], [2, 2]])
def test_supervised_frames_must_lie_in_the_window(config: PolicyConfig, episode: MemoryEpisode, frames) -> None:
    with pytest.raises(EpisodeError, match="frames must increase"):
        targets_at(episode, 20, config, frames=frames)


def test_resizing_keeps_geometry(config: PolicyConfig) -> None:
    """A wide image becomes square; its intrinsics and its flow, in image fractions, go along."""
    recording = make_recording(length=30, size=(48, 64))
    episode = MemoryEpisode(recording)
    K = scaled_intrinsics(episode, "static", 32)
    np.testing.assert_allclose(K, [[51.2, 0, 16], [0, 1.6 * 64 * 32 / 48, 16], [0, 0, 1]])
    targets = targets_at(episode, 20, config, frames=[3], points=32)
    assert targets.depth.shape[-2:] == (32, 32)
    x, y, z = targets.flow_start[0, 0].double().numpy().T
    rows, columns = (y * 48).astype(int), (x * 64).astype(int)
    np.testing.assert_allclose(episode.depth("static", 20)[rows, columns], z, rtol=1e-6)
    # picked, not averaged: every depth of the small image is one of the large one
    assert np.isin(targets.depth[0, 0, 0].numpy(), np.nan_to_num(episode.depth("static", 20))).all()
    mean = observation_at(episode, 20, config, tokenize).rgb[0, 3, 0].float().mean((1, 2))
    np.testing.assert_allclose(mean, episode.rgb("static", 20).mean((0, 1)), atol=1.5)


def test_points_a_quarter_moving_and_repeatable(config: PolicyConfig, episode: MemoryEpisode) -> None:
    window = config.window
    points = choose_points(episode, 20, window, count=1250)
    again = choose_points(episode, 20, window, count=1250)
    other = choose_points(episode, 20, window, count=1250, seed=1)
    np.testing.assert_array_equal(points.uv, again.uv)
    assert (points.uv != other.uv).any()
    on_box = episode.body("static", 20) == 1
    moving = moving_pixels(episode, 20, window)
    assert points.moving.sum() == min(312, 4 * moving.sum())
    columns, rows = points.uv.astype(int).T
    np.testing.assert_array_equal(moving[rows, columns], points.moving)
    assert on_box[rows, columns][points.moving].all()
    _, times = np.unique(points.uv[points.moving], axis=0, return_counts=True)
    assert times.max() - times.min() <= 1
    assert choose_points(episode, 20, window, count=100).moving.sum() == 25


def test_few_moving_pixels_are_taken_four_times_at_most(config: PolicyConfig) -> None:
    recording = make_recording(length=30, size=(12, 12))
    episode = MemoryEpisode(recording)
    moving = moving_pixels(episode, 16, config.window).sum()
    assert 0 < moving < 40
    assert choose_points(episode, 16, config.window, count=1250).moving.sum() == 4 * moving


def test_nothing_moves_while_the_box_rests(config: PolicyConfig, episode: MemoryEpisode) -> None:
    """The box rests in the first fifth of the episode; the wrist camera moves, but that is not the box's motion."""
    short = replace(config.window, flow_steps=1, flow_stride=2)
    for view in config.views:
        assert not choose_points(episode, 0, short, view=view, count=100).moving.any()
        assert choose_points(episode, 30, short, view=view, count=100).moving.sum() == 25


def test_without_exact_flow_points_cover_the_image(config: PolicyConfig) -> None:
    full = make_recording(length=10, size=(16, 16))
    episode = MemoryEpisode(replace(full, info=replace(full.info, has_exact_flow=False)))
    points = choose_points(episode, 4, config.window, count=256)
    assert not points.moving.any()
    assert len(np.unique(points.uv, axis=0)) == 256


def test_no_valid_depth_is_an_error(config: PolicyConfig) -> None:
    full = make_recording(length=10, size=(8, 8), views=("static",))
    static = replace(full.views["static"], depth=np.full_like(full.views["static"].depth, np.nan))
    with pytest.raises(EpisodeError, match="no valid depth at step 4"):
        choose_points(MemoryEpisode(replace(full, views={"static": static})), 4, config.window)


def test_euler_angles_rebuild_the_rotation() -> None:
    wxyz = np.random.default_rng(0).normal(size=(50, 4))
    R = rotation_matrix(wxyz)
    np.testing.assert_allclose(R @ R.transpose(0, 2, 1), np.broadcast_to(np.eye(3), R.shape), atol=1e-12)
    a, b, c = euler_xyz(R).T
    quarter = [
        rotation_matrix(np.stack([np.cos(x / 2), *(np.sin(x / 2) * np.eye(3)[i][:, None])], -1))
        for i, x in ((2, c), (1, b), (0, a))
    ]
    np.testing.assert_allclose(quarter[0] @ quarter[1] @ quarter[2], R, atol=1e-9)


def test_relative_pose_does_not_depend_on_where_the_robot_stands() -> None:
    rng = np.random.default_rng(1)
    states = rng.normal(size=(6, 8))
    turn = rotation_matrix(np.array([0.3, 0.1, -0.5, 0.8]))
    turned = states.copy()
    turned[:, :3] = states[:, :3] @ turn.T + [1, 2, 3]
    w, x, y, z = np.array([0.3, 0.1, -0.5, 0.8]) / np.linalg.norm([0.3, 0.1, -0.5, 0.8])
    a, b, c, d = states[:, 3:7].T
    turned[:, 3:7] = np.stack(
        [
            w * a - x * b - y * c - z * d,
            w * b + x * a + y * d - z * c,
            w * c - x * d + y * a + z * b,
            w * d + x * c - y * b + z * a,
        ],
        1,
    )
    np.testing.assert_allclose(relative_pose(turned), relative_pose(states), atol=1e-9)

"""Out into a foreign format and back: what comes back is what went in, up to what the format says it loses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from model.cli import run_command
from model.errors import EpisodeError
from tests.factories import make_recording
from trainer.__main__ import COMMANDS
from trainer.episodes.episode import Episode
from trainer.episodes.export import export
from trainer.episodes.open import find_episodes, open_episode
from trainer.episodes.packed import save_packed
from trainer.episodes.rotations import from_axis_angle, rotation_matrix

LENGTH = 10


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for seed in range(2):
        recording = make_recording(
            length=LENGTH, frame_stride=1, size=(24, 32), seed=seed, instruction=f"lift box {seed}"
        )
        save_packed(recording, tmp_path / "source" / f"{seed}")
    return tmp_path / "source"


def written(source: Path, out: Path, format: str) -> list[Episode]:
    export(find_episodes(source), out, format)
    return [open_episode(name) for name in find_episodes(out)]


def same_images(one: Episode, other: Episode, steps: int, *, depth_tolerance: float) -> None:
    for view in one.info.views:
        for step in range(steps):
            np.testing.assert_array_equal(one.rgb(view, step), other.rgb(view, step))
            a, b = one.depth(view, step), other.depth(view, step)
            np.testing.assert_array_equal(np.isfinite(a), np.isfinite(b))
            np.testing.assert_allclose(a, b, atol=depth_tolerance)


def same_pose(a: np.ndarray, b: np.ndarray) -> None:
    np.testing.assert_allclose(a[:, :3], b[:, :3], atol=1e-9)
    np.testing.assert_allclose(rotation_matrix(a[:, 3:7]), rotation_matrix(b[:, 3:7]), atol=1e-7)
    np.testing.assert_allclose(a[:, 7], b[:, 7], atol=1e-9)


def commands(episode: Episode) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Metres, rotation matrices and gripper of all actions."""
    space = episode.info.action_space
    assert space is not None
    action = episode.action
    turns = from_axis_angle(action[:, 3:6] * space.radians_per_unit)
    return action[:, :3] * space.metres_per_unit, turns, action[:, 6]


def test_calvin(source: Path, tmp_path: Path) -> None:
    backs = written(source, tmp_path / "out" / "training", "calvin")
    assert [back.info.instruction for back in backs] == ["lift box 0", "lift box 1", "", ""]
    for name, back in zip(find_episodes(source), backs[:2], strict=True):
        episode = open_episode(name)
        same_images(episode, back, LENGTH, depth_tolerance=1e-6)
        same_pose(episode.state, back.state)
        for view in episode.info.views:
            np.testing.assert_allclose(back.intrinsics(view), episode.intrinsics(view), rtol=1e-9)
        np.testing.assert_allclose(back.T_world_camera("static"), episode.T_world_camera("static"), atol=1e-12)
        move, _, gripper = commands(episode)
        back_move, _, back_gripper = commands(back)
        np.testing.assert_allclose(back_move, np.clip(move, -0.02, 0.02), atol=1e-12)  # CALVIN clips
        np.testing.assert_array_equal(back_gripper, gripper)


def test_calvin_to_calvin_keeps_every_number(source: Path, tmp_path: Path) -> None:
    export(find_episodes(source), tmp_path / "a", "calvin")
    export(find_episodes(tmp_path / "a")[:2], tmp_path / "b", "calvin")
    for one, other in zip(find_episodes(tmp_path / "a"), find_episodes(tmp_path / "b"), strict=True):
        a, b = open_episode(one), open_episode(other)
        assert list(a.features) == list(b.features)
        for name in a.features:
            np.testing.assert_array_equal(a.features[name], b.features[name])
        np.testing.assert_array_equal(a.action, b.action)


def test_libero(source: Path, tmp_path: Path) -> None:
    backs = sorted(written(source, tmp_path / "out", "libero"), key=lambda back: back.info.instruction)
    assert len(backs) == 2
    for name, back in zip(find_episodes(source), backs, strict=True):
        episode = open_episode(name)
        assert back.info.length == LENGTH - 1  # the last observation has no action in that format
        assert (back.info.instruction, back.info.outcome) == (episode.info.instruction, "success")
        same_images(episode, back, LENGTH - 1, depth_tolerance=1e-4)
        same_pose(episode.state[:-1], back.state)
        for view in episode.info.views:
            np.testing.assert_allclose(back.intrinsics(view), episode.intrinsics(view), rtol=1e-9)
        np.testing.assert_allclose(back.T_world_camera("static"), episode.T_world_camera("static")[:-1], atol=1e-9)
        for before, after in zip(commands(episode), commands(back), strict=True):
            np.testing.assert_allclose(before[:-1], after, atol=1e-9)


def test_libero_files_have_the_habits_of_the_format(source: Path, tmp_path: Path) -> None:
    export(find_episodes(source)[:1], tmp_path / "out", "libero")
    episode = open_episode(find_episodes(source)[0])
    with h5py.File(next((tmp_path / "out").glob("*_demo.hdf5"))) as file:
        demo = file["data/demo_0"]
        np.testing.assert_array_equal(demo["obs/agentview_rgb"][4], episode.rgb("static", 4)[::-1])
        depth = demo["obs/agentview_depth"]
        assert depth.shape == (LENGTH, 24, 32, 1)
        assert 0 <= depth[...].min() <= depth[...].max() <= 1
        np.testing.assert_allclose(demo["actions"][5, :6], episode.action[4, :6], atol=1e-9)
        assert set(np.unique(demo["actions"][:, 6])) <= {-1.0, 1.0}
        assert demo["dones"][...].tolist() == [0] * (LENGTH - 1) + [1]
        assert json.loads(file["data"].attrs["problem_info"])["language_instruction"] == "lift box 0"


def test_lerobot(source: Path, tmp_path: Path) -> None:
    backs = written(source, tmp_path / "out", "lerobot")
    for name, back in zip(find_episodes(source), backs, strict=True):
        episode = open_episode(name)
        assert (back.info.instruction, back.info.length) == (episode.info.instruction, LENGTH)
        assert back.info.control_hz == 20
        same_images(episode, back, LENGTH, depth_tolerance=0.000501)  # whole millimetres
        same_pose(episode.state, back.state)
        np.testing.assert_array_equal(back.features["action"], episode.action)


def test_lerobot_files_follow_the_published_layout(source: Path, tmp_path: Path) -> None:
    export(find_episodes(source), tmp_path / "out", "lerobot")
    info = json.loads((tmp_path / "out" / "meta" / "info.json").read_text())
    assert (info["codebase_version"], info["total_episodes"], info["total_frames"]) == ("v3.0", 2, 2 * LENGTH)
    rows = pq.read_table(tmp_path / "out" / info["data_path"].format(chunk_index=0, file_index=0)).to_pydict()
    assert rows["index"] == list(range(2 * LENGTH))
    assert rows["frame_index"] == 2 * list(range(LENGTH))
    assert rows["task_index"] == [0] * LENGTH + [1] * LENGTH
    np.testing.assert_allclose(rows["timestamp"][:LENGTH], np.arange(LENGTH) / info["fps"], atol=1e-6)
    assert set(rows) == set(info["features"])
    episodes = pq.read_table(tmp_path / "out" / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    assert [(one["dataset_from_index"], one["dataset_to_index"]) for one in episodes] == [
        (0, LENGTH),
        (LENGTH, 2 * LENGTH),
    ]
    tasks = pq.read_table(tmp_path / "out" / "meta/tasks.parquet").to_pylist()
    assert tasks == [{"task_index": 0, "task": "lift box 0"}, {"task_index": 1, "task": "lift box 1"}]
    stats = json.loads((tmp_path / "out" / "meta" / "stats.json").read_text())
    actions = np.array(rows["action"])
    np.testing.assert_allclose(stats["action"]["mean"], actions.mean(0), atol=1e-9)
    np.testing.assert_allclose(stats["action"]["std"], actions.std(0), atol=1e-9)
    assert np.shape(stats["observation.images.static"]["mean"]) == (3, 1, 1)


@pytest.mark.parametrize("format", ["calvin", "libero", "lerobot"])
def test_what_the_source_lacks_stays_absent(tmp_path: Path, format: str) -> None:
    recording = make_recording(length=6, frame_stride=1, size=(16, 16), views=("static",))
    bare = dataclasses.replace(recording.views["static"], depth=None, body=None, K=None, T_world_camera=None)
    info = dataclasses.replace(
        recording.info, depth_scale=None, depth_origin=None, has_exact_flow=False, action_space=None, outcome=None
    )
    nothing = {"state": None, "action": None, "body_pose": None, "body_names": (), "simulator_state": None}
    save_packed(dataclasses.replace(recording, info=info, views={"static": bare}, **nothing), tmp_path / "source")
    back = written(tmp_path / "source", tmp_path / "out", format)[0]
    assert back.info.views == ("static",)
    assert not any(back.has(field) for field in ("state", "action"))
    assert not any(back.has(field, "static") for field in ("depth", "K", "T_world_camera", "tracks"))


def test_bad_input_leaves_nothing(source: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run: Callable[..., int] = lambda *a: run_command("trainer", COMMANDS, [str(x) for x in a])  # noqa: E731
    save_packed(make_recording(length=8, frame_stride=2), tmp_path / "sparse" / "0")
    (tmp_path / "taken").mkdir()
    for arguments, message in (
        (("export", tmp_path / "nowhere", tmp_path / "out", "--format", "calvin"), "does not exist"),
        (("export", source, tmp_path / "taken", "--format", "calvin"), "exists already"),
        (("export", tmp_path / "sparse", tmp_path / "out", "--format", "calvin"), "images at 4 of 8 steps"),
    ):
        assert run(*arguments) == 2
        assert message in capfd.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "sparse", "taken"]
    assert run("export", tmp_path / "sparse", tmp_path / "out", "--format", "calvin", "--drop-steps") == 0
    assert open_episode(tmp_path / "out").info.length == 4


def test_a_failure_half_way_leaves_nothing(source: Path, tmp_path: Path) -> None:
    stream = source / "1" / "static_rgb.delta.safetensors"
    stream.write_bytes(stream.read_bytes()[:-1] + b"?")
    with pytest.raises(EpisodeError, match="sha256"):
        export(find_episodes(source), tmp_path / "out", "libero")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]

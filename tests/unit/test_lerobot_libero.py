"""LIBERO converted to LeRobot: its mirrored images come back upright, once, and nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.foreign_factories import SIZE, lerobot_feature, plain_frames, png, write_lerobot
from trainer.episodes.export import main as export
from trainer.episodes.readers.lerobot import READER


def libero(root: Path, state: np.ndarray, action: np.ndarray) -> Path:
    """A LIBERO conversion as openpi publishes it: PNG in parquet, the left half of each image darker."""
    features = {
        "image": lerobot_feature("image", [*SIZE, 3], ["height", "width", "channel"]),
        "wrist_image": lerobot_feature("image", [*SIZE, 3], ["height", "width", "channel"]),
        "state": lerobot_feature("float32", [8], ["state"]),
        "actions": lerobot_feature("float32", [7], ["actions"]),
    }
    frames = plain_frames(0, 1, len(state))
    frames = np.where(np.arange(SIZE[1])[:, None] < SIZE[1] // 2, frames // 2, frames).astype(np.uint8)
    images = [png(frame) for frame in frames]
    rows = {"state": state, "actions": action, "image": images, "wrist_image": images}
    return write_lerobot(root, "v2.1", features, [rows], robot_type="panda")


def libero_numbers() -> tuple[np.ndarray, np.ndarray]:
    state = np.tile(np.array([0.1, 0.2, 1.0, 3.0, 0, 0, 0.04, -0.04], np.float32), (4, 1))
    action = np.tile(np.array([0.5, 0, -1, 0, 0, 0.1, -1], np.float32), (4, 1))
    action[3, 6] = 1
    state[3, 6:] = 0
    return state, action


def test_a_libero_conversion_is_mirrored_back_and_has_tool_poses(tmp_path: Path) -> None:
    episode = READER.open(libero(tmp_path, *libero_numbers()), 0)
    image = episode.rgb("static", 0)
    assert image[:, : SIZE[1] // 2].mean() > 1.8 * image[:, SIZE[1] // 2 :].mean()  # stored the other way round
    np.testing.assert_allclose(episode.state[0], [0.1, 0.2, 1.0, np.cos(1.5), np.sin(1.5), 0, 0, 1], atol=1e-6)
    assert episode.state[3, 7] == 0
    np.testing.assert_allclose(episode.action[:, 6], [1, 1, 1, 0])  # 1 = open
    space = episode.info.action_space
    assert space is not None
    assert (space.metres_per_unit, space.radians_per_unit) == (0.05, 0.5)
    assert episode.info.assumed == ("K.static", "K.wrist")
    assert any("mirror" in note for note in episode.info.notes)
    K = episode.intrinsics("static")
    assert K[0, 0] == pytest.approx(SIZE[0] / 2 / np.tan(np.radians(22.5)))
    assert K[0, 2] == SIZE[1] / 2


def test_a_conversion_is_mirrored_back_once_however_often_it_is_written(tmp_path: Path) -> None:
    source = READER.open(libero(tmp_path / "source", *libero_numbers()), 0)
    for number, name in enumerate(("source", "out0")):
        export([str(tmp_path / name), str(tmp_path / f"out{number}"), "--format", "lerobot"])
        back = READER.open(tmp_path / f"out{number}", 0)
        np.testing.assert_array_equal(back.rgb("wrist", 3), source.rgb("wrist", 3))
        np.testing.assert_allclose(back.state, source.state, atol=1e-9)
        np.testing.assert_allclose(back.features["action"], source.action, atol=1e-9)
        assert back.info.notes == ()


def test_a_named_pose_of_a_shut_gripper_is_no_libero_state(tmp_path: Path) -> None:
    """A tool that points down has qz 0: with a gripper that stays shut, the columns look like LIBERO's fingers."""
    state = np.tile(np.array([0.1, 0.2, 0.3, 0, 1, 0, 0, 0], np.float32), (3, 1))
    features = {
        "observation.state": lerobot_feature("float32", [8], ["x", "y", "z", "qw", "qx", "qy", "qz", "gripper"]),
        "action": lerobot_feature("float32", [7]),
        "observation.images.front": lerobot_feature("image", [*SIZE, 3]),
    }
    images = [png(frame) for frame in plain_frames(0, 0, 3)]
    rows = {"observation.state": state, "action": np.zeros((3, 7), np.float32), "observation.images.front": images}
    episode = READER.open(write_lerobot(tmp_path / "shut", "v2.1", features, [rows]), 0)
    assert episode.info.notes == ()
    np.testing.assert_allclose(episode.state, state, atol=1e-7)
    export([str(tmp_path / "shut"), str(tmp_path / "out"), "--format", "lerobot"])
    np.testing.assert_allclose(READER.open(tmp_path / "out", 0).state, state, atol=1e-7)


@pytest.mark.parametrize(("row", "column", "value"), [(1, 6, 0.02), (0, 7, 0.2), (2, 4, 9.0), (1, 0, np.nan)])
def test_eight_columns_that_are_no_libero_state_stay_features(
    tmp_path: Path, row: int, column: int, value: float
) -> None:
    state, action = libero_numbers()
    state[row, column] = value
    episode = READER.open(libero(tmp_path, state, action), 0)
    assert not episode.has("state")
    assert episode.info.notes == ()
    image = episode.rgb("static", 0)
    assert image[:, : SIZE[1] // 2].mean() < image[:, SIZE[1] // 2 :].mean()

"""Who writes on a topic of joints, and what a recording has beside images: shown, or named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from mcap.writer import Writer as PlainWriter
from mcap_ros2.writer import Writer

from model.errors import EpisodeError
from tests.foreign_factories import plain_frames
from tests.unit.test_read_mcap import HEADER, LENGTH, PERIOD, STAMP, TYPES, image
from trainer.episodes.episode import Episode
from trainer.episodes.readers.mcap import READER

IMAGE, JOINTS, FLOAT = "sensor_msgs/msg/Image", "sensor_msgs/msg/JointState", "std_msgs/msg/Float64"
Message = tuple[int, str, str, dict[str, object]]


def opened(path: Path, messages: Sequence[Message]) -> Episode:
    """One camera, and messages by nanoseconds after its first frame, topic and kind."""
    frames = [
        (at * PERIOD, "/front/image_raw", IMAGE, image(frame, "rgb8"))
        for at, frame in enumerate(plain_frames(0, 0, LENGTH))
    ]
    definitions = {kind: HEADER.format(fields=TYPES[kind]) for kind in (IMAGE, JOINTS)} | {FLOAT: "float64 data"}
    with path.open("wb") as file, Writer(file) as writer:
        kinds = {kind: writer.register_msgdef(kind, text) for kind, text in definitions.items()}
        for after, topic, kind, message in [*frames, *messages]:
            stamped, now = {"header": STAMP, **message}, 10**9 + after
            writer.write_message(topic, kinds[kind], stamped, log_time=now, publish_time=now)
    return READER.open(path, 0)


def joints(after: int, **positions: float) -> Message:
    names, values = list(positions), list(positions.values())
    return after, "/joint_states", JOINTS, {"name": names, "position": values, "velocity": [], "effort": []}


def column(episode: Episode, joint: str) -> list[float]:
    return episode.features[f"/joint_states/position/{joint}"][:, 0].tolist()


def test_an_arm_and_its_gripper_may_share_a_topic(tmp_path: Path) -> None:
    messages = [joints(at * PERIOD, arm=at) for at in range(LENGTH)]
    messages += [joints(at * PERIOD + PERIOD // 10, finger=10 * at) for at in range(LENGTH)]
    episode = opened(tmp_path / "trial.mcap", messages)
    assert column(episode, "arm") == list(range(LENGTH))
    assert column(episode, "finger") == [10 * at for at in range(LENGTH)]


def test_joints_are_known_by_name_in_whatever_order_they_come(tmp_path: Path) -> None:
    messages = [
        joints(at * PERIOD, arm=at, hand=-at) if at % 2 else joints(at * PERIOD, hand=-at, arm=at)
        for at in range(LENGTH)
    ]
    episode = opened(tmp_path / "trial.mcap", messages)
    np.testing.assert_array_equal(column(episode, "arm"), np.arange(LENGTH))
    np.testing.assert_array_equal(column(episode, "hand"), -np.arange(LENGTH))


def test_what_lags_behind_and_what_is_not_read_is_said(tmp_path: Path) -> None:
    late = [joints((at + 9) * PERIOD, arm=at) for at in range(LENGTH)]
    episode = opened(tmp_path / "trial.mcap", [*late, (0, "/gripper", FLOAT, {"data": 1.0})])
    notes = " ".join(episode.info.notes)
    assert "'/joint_states' is up to 900 ms away" in notes
    assert "/gripper (Float64)" in notes


def test_another_encoding_than_ros_2s_is_named(tmp_path: Path) -> None:
    path = tmp_path / "trial.mcap"
    with path.open("wb") as file:
        writer = PlainWriter(file)
        writer.start()
        schema = writer.register_schema("foxglove.CompressedImage", "jsonschema", b"{}")
        writer.add_message(writer.register_channel("/front", "json", schema), 1, b"{}", 1)
        writer.finish()
    with pytest.raises(EpisodeError, match="json is not read"):
        READER.open(path, 0)

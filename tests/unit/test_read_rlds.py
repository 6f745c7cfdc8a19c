"""RLDS: framing and checksums, the Example format, what is interpreted and what is not, damage and hostility."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import EpisodeError, UnsafeFileError
from tests.foreign_factories import example, plain_frames, png, rlds_features, shown_frame, tfrecord
from trainer.episodes.readers.example import parse_example
from trainer.episodes.readers.rlds import READER
from trainer.episodes.readers.rlds_conventions import convention_of
from trainer.episodes.readers.tfrecord import MAX_RECORD_BYTES, masked_crc

REAL = Path(__file__).parents[3] / "shared/data/real/octo_bridge_rlds"
STEPS = 4
IMAGE = ("image", (48, 64, 3), "uint8")


def record(episode: int, **changes: Any) -> bytes:
    """One episode in Bridge's layout."""
    state = np.zeros((STEPS, 7), np.float32)
    state[:, 0], state[:, 3], state[:, 6] = np.arange(STEPS), np.pi / 2, 1.002
    action = np.zeros((STEPS, 7), np.float32)
    action[:, 2], action[:, 6] = 0.01, 1
    features = {
        "steps/observation/image_0": [png(frame) for frame in plain_frames(episode, 0, STEPS)],
        "steps/observation/image_1": [png(frame) for frame in plain_frames(episode, 1, STEPS)],
        "steps/observation/state": state.ravel(),
        "steps/action": action.ravel(),
        "steps/is_first": np.array([1] + [0] * (STEPS - 1)),
        "steps/reward": np.array([0.0] * (STEPS - 1) + [1.0]),
        "steps/language_instruction": [f"task {episode}".encode()] * STEPS,
    }
    return example({**features, **changes})


def dataset(root: Path, name: str = "bridge_dataset", records: list[bytes] | None = None) -> Path:
    """Two shards of one episode each, or one of the given records."""
    tree = {
        "observation": {"image_0": IMAGE, "image_1": IMAGE, "state": ("tensor", (7,), "float32")},
        "action": ("tensor", (7,), "float32"),
        "is_first": ("tensor", (), "bool"),
        "reward": ("tensor", (), "float32"),
        "language_instruction": ("text", (), ""),
    }
    (root / "features.json").write_text(json.dumps(rlds_features(tree)))
    shards = [[record(0)], [record(1)]] if records is None else [records]
    for at, shard in enumerate(shards):
        (root / f"{name}-train.tfrecord-{at:05d}-of-{len(shards):05d}").write_bytes(tfrecord(shard))
    return root


def test_episodes_are_counted_over_the_shards(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    assert READER.recognise(root)
    assert [(s.name, s.instruction, s.length, s.outcome) for s in READER.episodes(root)] == [
        (f"{root}#{at}", f"task {at}", STEPS, "success") for at in (0, 1)
    ]
    for at in (0, 1):
        episode = READER.open(root, at)
        assert episode.info.instruction == f"task {at}"
        assert [shown_frame(episode.rgb("static", step)) for step in range(STEPS)] == list(range(STEPS))
        assert shown_frame(episode.others["image_1"].rgb(2)) == 2
        assert episode.info.views == ("static",)


def test_bridge_is_interpreted(tmp_path: Path) -> None:
    episode = READER.open(dataset(tmp_path), 0)
    half = np.sqrt(0.5)
    np.testing.assert_allclose(episode.state[2], [2, 0, 0, half, half, 0, 0, 1], atol=1e-6)
    np.testing.assert_allclose(episode.action[0], [0, 0, 0.01, 0, 0, 0, 1], atol=1e-6)
    assert episode.feature_names["observation/state"] == ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
    assert episode.info.control_hz == 5
    assert episode.info.assumed == ()


def test_a_record_without_flags_is_as_long_as_its_images(tmp_path: Path) -> None:
    bare = {"steps/observation/image_0": [png(frame) for frame in plain_frames(0, 0, STEPS)]}
    root = dataset(tmp_path, records=[example(bare | {"steps/action": np.zeros(7 * STEPS, np.float32)})])
    features = json.loads((root / "features.json").read_text())
    steps = features["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"]
    del steps["observation"]["featuresDict"]["features"]["image_1"]
    (root / "features.json").write_text(json.dumps(features))
    assert [summary.length for summary in READER.episodes(root)] == [STEPS]
    assert READER.open(root, 0).info.length == STEPS


def test_an_unknown_dataset_is_shown_but_not_interpreted(tmp_path: Path) -> None:
    episode = READER.open(dataset(tmp_path, name="somebodys_arm"), 0)
    assert not episode.has("state")
    assert episode.info.action_space is None
    assert episode.info.assumed == ("control_hz",)
    assert episode.features["observation/state"].shape == (STEPS, 7)


def test_a_sentence_in_numbers_and_numbers_in_bytes_cost_themselves_alone(tmp_path: Path) -> None:
    tree = {
        "observation": {"rgb": IMAGE, "instruction": ("tensor", (8,), "int32"), "pose": ("tensor", (1,), "float64")},
        "action": ("tensor", (2,), "float32"),
    }
    root = dataset(
        tmp_path,
        "language_table",
        records=[
            example(
                {
                    "steps/observation/rgb": [png(frame) for frame in plain_frames(0, 0, STEPS)],
                    "steps/observation/instruction": np.tile([112, 117, 115, 104, 0, 0, 0, 0], STEPS),
                    "steps/observation/pose": [np.array([1.0]).tobytes()] * STEPS,
                    "steps/action": np.zeros(2 * STEPS, np.float32),
                }
            )
        ],
    )
    (root / "features.json").write_text(json.dumps(rlds_features(tree)))
    assert [summary.length for summary in READER.episodes(root)] == [STEPS]
    episode = READER.open(root, 0)
    assert set(episode.features) == {"observation/instruction", "action"}
    assert shown_frame(episode.rgb("static", 2)) == 2
    assert any("'steps/observation/pose' is stored as bytes" in note for note in episode.info.notes)


def test_depth_images_count_millimetres(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    tree = json.loads((root / "features.json").read_text())
    observation = tree["featuresDict"]["features"]["steps"]["sequence"]["feature"]["featuresDict"]["features"][
        "observation"
    ]
    observation["featuresDict"]["features"]["depth_0"] = {
        "image": {"shape": {"dimensions": ["48", "64", "1"]}, "dtype": "uint16"}
    }
    (root / "features.json").write_text(json.dumps(tree))
    depth = np.full((48, 64), 1234, np.uint16)
    depth[0, 0] = 0
    for shard in root.glob("*.tfrecord*"):
        shard.write_bytes(tfrecord([record(0, **{"steps/observation/depth_0": [png(depth)] * STEPS})]))
    episode = READER.open(root, 1)
    read = episode.depth("static", 3)
    assert np.isnan(read[0, 0])
    np.testing.assert_allclose(read[1:], 1.234, rtol=1e-6)
    assert episode.info.assumed == ("depth.static",)


def test_crc_is_the_published_one() -> None:
    assert masked_crc(b"123456789") == (((0xE3069283 >> 15) | (0xE3069283 << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def test_lists_of_every_kind_come_back() -> None:
    integers = np.array([0, 1, 127, 128, 300, 2**40, 2**63 - 1, -1, -(2**63)], np.int64)
    features = parse_example(
        example({"i": integers, "f": np.array([1.5, -2], np.float32), "b": [b"", b"xy"], "none": []}), "here"
    )
    np.testing.assert_array_equal(features["i"].integers(), integers)
    np.testing.assert_array_equal(features["f"].floats(), [1.5, -2])
    assert [bytes(blob) for blob in features["b"].blobs()] == [b"", b"xy"]
    assert features["none"].blobs() == []
    with pytest.raises(EpisodeError, match="here: f: is no list of bytes"):
        features["f"].blobs()


@pytest.mark.parametrize("at", [0, 9, 40, 1200])
def test_a_flipped_bit_is_found_by_the_checksums(tmp_path: Path, at: int) -> None:
    root = dataset(tmp_path, records=[record(0)])
    path = next(root.glob("*.tfrecord*"))
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)
    with pytest.raises(EpisodeError, match="checksum"):
        READER.open(root, 0)


def test_a_cut_file_opens_up_to_its_last_whole_episode_and_says_so(tmp_path: Path) -> None:
    root = dataset(tmp_path, records=[record(0), record(1), record(2)])
    path = next(root.glob("*.tfrecord*"))
    path.write_bytes(path.read_bytes()[:-50])
    assert len(READER.episodes(root)) == 2
    assert READER.open(root, 0).info.notes == ()
    assert "cut off" in READER.open(root, 1).info.notes[0]
    with pytest.raises(
        EpisodeError, match=r"has 2 episodes, from #0; asked for #2; .*tfrecord.* ends early, .*cut off"
    ):
        READER.open(root, 2)


def test_a_record_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    length = struct.pack("<Q", MAX_RECORD_BYTES + 1)
    next(root.glob("*.tfrecord*")).write_bytes(length + struct.pack("<I", masked_crc(length)) + b"x" * 100)
    with pytest.raises(UnsafeFileError, match="bytes, at most"):
        READER.episodes(root)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps/observation/state": np.zeros(5, np.float32)},
        {"steps/observation/image_0": [b"no image"] * STEPS},
        {"steps/observation/image_0": [png(plain_frames(0, 0, 1)[0])]},
        {"steps/is_first": np.array([], np.int64)},
    ],
)
def test_contradictions_are_one_clear_error(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(EpisodeError):
        READER.open(dataset(tmp_path, records=[record(0, **changes)]), 0)


def test_mutated_examples_raise_nothing_but_our_error() -> None:
    rng, good = np.random.default_rng(0), record(0)[-2000:]
    header = bytearray(example({"i": np.arange(300), "f": np.zeros(9, np.float32), "b": [b"abc"] * 5}))
    read_values = refused = 0
    for _ in range(300):
        data = bytearray(header)
        for at in rng.integers(0, len(data), rng.integers(1, 6)):
            data[at] = rng.integers(256)
        try:
            for feature in parse_example(bytes(data) + good[: rng.integers(3)], "x").values():
                for read in (feature.blobs, feature.numbers):
                    try:
                        read_values += len(read())
                    except EpisodeError:
                        refused += 1
        except EpisodeError:
            refused += 1
    assert min(read_values, refused) > 100


@pytest.mark.skipif(
    not REAL.is_dir(), reason=f"{REAL} is not here: the real Bridge episodes are not part of the project"
)
def test_real_bridge_episodes_open_and_play() -> None:
    summaries = READER.episodes(REAL)
    assert len(summaries) == 25
    for at in range(25):
        episode = READER.open(REAL, at)
        assert episode.info.instruction == summaries[at].instruction != ""
        for step in range(episode.info.length):
            assert episode.rgb("static", step).shape == (64, 64, 3)
        assert (np.abs(np.linalg.norm(episode.state[:, 3:7], axis=1) - 1) < 1e-9).all()


@pytest.mark.parametrize(
    ("commands", "opening"),
    [
        ([0, 1, 0, -1, 0], [1, 0, 0, 1, 1]),
        ([0, 0, -1, 0, 1], [0, 0, 1, 1, 0]),  # what is first opened was shut: a trial that begins with a held object
        ([-1, 0, 0.05, 1, 0], [1, 1, 1, 0, 0]),
        ([0, 0.1, -0.1, 0, 0], [1, 1, 1, 1, 1]),  # no command at all
    ],
)
def test_rt1_says_how_the_gripper_changes_and_begins_as_its_first_command_needs_it(
    commands: list[float], opening: list[float]
) -> None:
    convention = convention_of("fractal20220817_data")
    assert convention is not None
    length = len(commands)
    pose = np.tile([0.5, 0, 1, 0, 0, 0, 1], (length, 1))  # xyz, quaternion xyzw
    numbers = convention.convert(
        {
            "observation/base_pose_tool_reached": pose,
            "observation/gripper_closed": np.full((length, 1), 0.25),
            "action/world_vector": np.full((length, 3), 0.01),
            "action/rotation_delta": np.zeros((length, 3)),
            "action/gripper_closedness_action": np.array(commands, float)[:, None],
        }
    )
    assert numbers is not None
    assert numbers.state is not None
    assert numbers.action is not None
    assert numbers.action[:, 6].tolist() == opening
    np.testing.assert_allclose(numbers.state[0], [0.5, 0, 1, 1, 0, 0, 0, 0.75])

"""LeRobot v2.1 and v3.0 as published: files, spans, images, depth, poses; and what a hostile one may not do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model.errors import EpisodeError, UnsafeFileError
from tests.foreign_factories import (
    FPS,
    SIZE,
    frame_colour,
    lerobot_feature,
    plain_frames,
    png,
    shown_frame,
    write_lerobot,
)
from trainer.episodes.convert import recording_of
from trainer.episodes.episode import Episode
from trainer.episodes.packed import PackedEpisode, save_packed
from trainer.episodes.readers.lerobot import READER
from trainer.episodes.readers.safe_parquet import ParquetTable
from workbench.charts.features import feature_figures

LENGTHS = (5, 8)
JOINTS = ["shoulder_pan.pos", "shoulder_lift.pos", "elbow_flex.pos", "wrist_flex.pos", "wrist_roll.pos", "gripper.pos"]
TOP, WRIST = "observation.images.top", "observation.images.wrist"


def joints(episode: int, length: int) -> np.ndarray:
    return np.arange(length * 6, dtype=np.float32).reshape(length, 6) + 100 * episode


def so101(root: Path, version: str, *, codec: Sequence[str] = ("libx264",), **changes: Any) -> Path:
    """A set of an SO-101 arm with two cameras."""
    features = {
        "observation.state": lerobot_feature("float32", [6], JOINTS),
        "action": lerobot_feature("float32", [6], JOINTS),
        TOP: lerobot_feature("video", [*SIZE, 3], ["height", "width", "channels"], **{"video.is_depth_map": False}),
        WRIST: lerobot_feature("video", [3, *SIZE], ["channels", "height", "width"]),
        "timestamp": lerobot_feature("float32", [1]),
        "index": lerobot_feature("int64", [1]),
    }
    rows = [{"observation.state": joints(at, n), "action": joints(at, n) + 1} for at, n in enumerate(LENGTHS)]
    videos = {
        key: [plain_frames(at, camera, n) for at, n in enumerate(LENGTHS)] for camera, key in enumerate((TOP, WRIST))
    }
    return write_lerobot(root, version, features, rows, videos, codec=codec, **changes)


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_each_episode_has_its_own_frames_numbers_and_task(tmp_path: Path, version: str) -> None:
    root = so101(tmp_path, version)
    assert READER.recognise(root)
    summaries = READER.episodes(root)
    assert [(s.name, s.length, s.instruction) for s in summaries] == [
        (f"{root}#{at}", n, f"task of episode {at}") for at, n in enumerate(LENGTHS)
    ]
    for at, length in enumerate(LENGTHS):
        episode = READER.open(root, at)
        assert isinstance(episode, Episode)
        assert (episode.info.length, episode.info.control_hz, episode.info.views) == (length, FPS, ("static", "wrist"))
        assert episode.info.source == summaries[at].source == "lerobot so101_follower"
        for camera, view in enumerate(("static", "wrist")):
            for step in reversed(range(length)):
                image = episode.rgb(view, step)
                assert np.abs(image.astype(int) - frame_colour(at, camera, step)).max() <= 6
        np.testing.assert_array_equal(episode.features["observation.state"], joints(at, length))


@pytest.mark.parametrize("codec", [("libsvtav1", "-g", "2"), ("libx265", "-x265-params", "log-level=none")])
def test_spans_of_a_shared_video_fit_in_other_codecs(tmp_path: Path, codec: tuple[str, ...]) -> None:
    episode = READER.open(so101(tmp_path, "v3.0", codec=codec), 1)
    assert [shown_frame(episode.rgb("static", step)) for step in range(LENGTHS[1])] == list(range(LENGTHS[1]))


def test_joint_positions_are_no_tool_pose(tmp_path: Path) -> None:
    episode = READER.open(so101(tmp_path, "v3.0"), 0)
    assert not episode.has("state")
    assert not episode.has("action")
    assert episode.info.action_space is None
    assert {"observation.state", "action"} <= set(episode.features)


def test_entries_and_cameras_keep_the_names_of_the_set(tmp_path: Path) -> None:
    episode = READER.open(so101(tmp_path / "set", "v2.1"), 0)
    assert episode.feature_names == {"observation.state": JOINTS, "action": JOINTS}
    assert (episode.camera_name("static"), episode.camera_name("wrist")) == (TOP, WRIST)
    save_packed(recording_of(episode), tmp_path / "packed")
    packed = PackedEpisode(tmp_path / "packed")
    assert packed.feature_names == {"observation.state": tuple(JOINTS), "action": tuple(JOINTS)}
    shown = {figure["name"]: figure["columns"] for figure in feature_figures(packed)}
    assert shown["observation.state"] == shown["action"] == ["step", *JOINTS]


def test_a_named_tool_pose_is_the_state(tmp_path: Path) -> None:
    names = ["gripper", "x", "y", "z", "qx", "qy", "qz", "qw"]
    state = np.tile(np.array([0.5, 1, 2, 3, 0, 0, 0, 1], np.float32), (3, 1))
    features = {
        "observation.state": lerobot_feature("float32", [8], {"motors": names}),
        "observation.images.front": lerobot_feature("image", [*SIZE, 3]),
    }
    images = [png(frame) for frame in plain_frames(0, 0, 3)]
    root = write_lerobot(tmp_path, "v2.1", features, [{"observation.state": state, "observation.images.front": images}])
    episode = READER.open(root, 0)
    np.testing.assert_allclose(episode.state, np.tile([1, 2, 3, 1, 0, 0, 0, 0.5], (3, 1)))
    assert [shown_frame(episode.rgb("static", step)) for step in range(3)] == [0, 1, 2]


def depth_video_codes(metres: np.ndarray) -> np.ndarray:
    """LeRobot's documented logarithmic 12-bit coding with its defaults."""
    share = (np.log(metres + 3.5) - np.log(0.01 + 3.5)) / (np.log(10 + 3.5) - np.log(0.01 + 3.5))
    return np.rint(share * 4095).clip(0, 4095).astype(np.uint16)


def test_depth_of_a_video_is_metres_and_its_zero_is_invalid(tmp_path: Path) -> None:
    metres = np.broadcast_to(np.linspace(0.3, 2.0, SIZE[1]), (4, *SIZE)) + 0.1 * np.arange(4)[:, None, None]
    codes = depth_video_codes(metres)
    codes[:, 0, 0] = 0
    features = {
        "action": lerobot_feature("float32", [6]),
        TOP: lerobot_feature("video", [*SIZE, 3]),
        f"{TOP}_depth": lerobot_feature("video", [*SIZE, 1], is_depth_map=True, **{"video.pix_fmt": "gray12le"}),
    }
    root = write_lerobot(tmp_path, "v3.0", features, [{"action": joints(0, 4)}], {TOP: [plain_frames(0, 0, 4)]})
    from tests.foreign_factories import write_video

    write_video(
        root / f"videos/{TOP}_depth/chunk-000/file-000.mp4",
        codes,
        codec=("libx265", "-x265-params", "lossless=1:log-level=none"),
    )
    add_video_columns(root, f"{TOP}_depth", 4)
    episode = READER.open(root, 0)
    assert (episode.info.depth_origin, episode.info.depth_scale) == ("true", "metric")
    for step in range(4):
        depth = episode.depth("static", step)
        assert np.isnan(depth[0, 0])
        np.testing.assert_allclose(depth[1:], metres[step, 1:], atol=2.5e-3)  # half of the coarsest quantum


def add_video_columns(root: Path, key: str, length: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = root / "meta/episodes/chunk-000/file-000.parquet"
    table = pq.read_table(path)
    values = {"chunk_index": 0, "file_index": 0, "from_timestamp": 0.0, "to_timestamp": length / FPS}
    for name, value in values.items():
        table = table.append_column(f"videos/{key}/{name}", pa.array([value]))
    pq.write_table(table, path)


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1000), ("m", 1)])
def test_depth_images_count_the_unit_they_state(tmp_path: Path, unit: str, scale: int) -> None:
    depth = np.full((2, *SIZE), 2 * scale, np.uint16)
    depth[1, 3, 4] = 0
    features = {
        "observation.images.cam": lerobot_feature("image", [*SIZE, 3]),
        "observation.depth.cam": lerobot_feature("image", [*SIZE, 1], is_depth_map=True, depth_unit=unit),
    }
    columns = {
        "observation.images.cam": [png(frame) for frame in plain_frames(0, 0, 2)],
        "observation.depth.cam": [png(frame) for frame in depth],
    }
    episode = READER.open(write_lerobot(tmp_path, "v3.0", features, [columns]), 0)
    read = episode.depth("static", 1)
    assert np.isnan(read[3, 4])
    assert read[0, 0] == 2.0


def cut_set(root: Path, version: str, share: float, *flags: str) -> tuple[Path, Episode]:
    """A set whose first camera's last video was cut off, and its last episode before that happened."""
    noise = np.random.default_rng(0).integers(0, 255, (2, 30, *SIZE, 3), np.uint8)
    features = {TOP: lerobot_feature("video", [*SIZE, 3]), "action": lerobot_feature("float32", [6], JOINTS)}
    rows = [{"action": joints(at, 30)} for at in range(2)]
    codec = ("libx264", "-g", "5", "-bf", "0", *flags)
    write_lerobot(root, version, features, rows, {TOP: list(noise)}, codec=codec)
    whole = READER.open(root, 1)
    whole.rgb("static", 29)
    path = max(root.glob("videos/**/*.mp4"))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return root, whole


@pytest.mark.parametrize(("version", "share"), [("v2.1", 0.6), ("v3.0", 0.8)])
def test_a_cut_video_ends_its_episode_at_the_last_good_frame_and_says_so(
    tmp_path: Path, version: str, share: float
) -> None:
    root, whole = cut_set(tmp_path, version, share, "-movflags", "+faststart")
    episode = READER.open(root, 1)
    length = episode.info.length
    assert 8 < length < 25
    assert f"ends at step {length} of 30: a video is cut off" in episode.info.notes
    assert len(episode.features["action"]) == len(episode.frame_steps) == length
    np.testing.assert_array_equal(episode.rgb("static", length - 1), whole.rgb("static", length - 1))
    assert READER.open(root, 0).info.length == 30  # what was written before is whole


def test_a_video_that_lost_its_list_of_frames_is_absent_and_said_so(tmp_path: Path) -> None:
    root, _ = cut_set(tmp_path, "v2.1", 0.7)  # the list stands at the end
    episode = READER.open(root, 1)
    assert (episode.info.length, episode.info.views) == (30, ())
    assert "nothing of it can be read" in episode.info.notes[0]
    np.testing.assert_array_equal(episode.features["action"], joints(1, 30))


def test_a_set_without_its_videos_says_so_and_keeps_its_numbers(tmp_path: Path) -> None:
    root = so101(tmp_path, "v3.0")
    (root / f"videos/{WRIST}/chunk-000/file-000.mp4").unlink()
    episode = READER.open(root, 0)
    assert episode.info.views == ("static",)
    assert f"videos/{WRIST}/chunk-000/file-000.mp4 is missing" in episode.info.notes[0]


@pytest.mark.parametrize(
    ("field", "template"),
    [
        ("data_path", "../secret/{file_index:03d}.parquet"),
        ("data_path", "/etc/passwd"),
        ("data_path", "data/{file_index.__class__}.parquet"),
        ("data_path", "data/{0}.parquet"),
        ("video_path", "videos/{video_key}/../../../{file_index:03d}.mp4"),
    ],
)
def test_templates_cannot_lead_out(tmp_path: Path, field: str, template: str) -> None:
    root = so101(tmp_path, "v3.0", **{field: template})
    with pytest.raises(UnsafeFileError, match=field):
        READER.open(root, 0)


def test_a_column_with_gaps_and_depth_of_another_kind_cost_themselves_alone(tmp_path: Path) -> None:
    features = {
        "observation.state": lerobot_feature("float32", [6], JOINTS),
        "force": lerobot_feature("float32", [1]),
        TOP: lerobot_feature("video", [*SIZE, 3]),
        f"{TOP}_depth": lerobot_feature("video", [*SIZE, 3], is_depth_map=True, **{"video.pix_fmt": "yuv420p"}),
    }
    rows = [{"observation.state": joints(0, 3), "force": [1.0, None, 2.0]}]
    clips = [plain_frames(0, 0, 3)]
    root = write_lerobot(tmp_path, "v2.1", features, rows, {TOP: clips, f"{TOP}_depth": clips})
    episode = READER.open(root, 0)
    assert set(episode.features) == {"observation.state"}
    assert shown_frame(episode.rgb("static", 2)) == 2
    assert not episode.has("depth", "static")
    assert "'force': has gaps; it is left out" in episode.info.notes
    assert any("depth is stored as 'yuv420p'" in note for note in episode.info.notes)


def test_a_camera_cannot_be_named_after_a_way_out(tmp_path: Path) -> None:
    root = so101(tmp_path, "v2.1")
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["../../.."] = info["features"].pop(TOP)
    (root / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(UnsafeFileError, match="video_path"):
        READER.open(root, 0)


def test_links_out_of_the_set_are_refused_but_the_hubs_cache_is_read(tmp_path: Path) -> None:
    root = so101(tmp_path / "hub/datasets--me--set/snapshots/abc", "v3.0")
    file = root / "data/chunk-000/file-000.parquet"
    blob = root.parent.parent / "blobs/123"
    blob.parent.mkdir()
    file.rename(blob)
    file.symlink_to(blob)
    assert READER.open(root, 0).info.length == LENGTHS[0]
    elsewhere = tmp_path / "elsewhere"
    blob.rename(elsewhere)
    file.unlink()
    file.symlink_to(elsewhere)
    with pytest.raises(UnsafeFileError, match="outside"):
        READER.open(root, 0)


@pytest.mark.parametrize("name", ["data/chunk-000/file-000.parquet", "meta/episodes/chunk-000/file-000.parquet"])
def test_damaged_parquet_is_one_clear_error(tmp_path: Path, name: str) -> None:
    root = so101(tmp_path, "v3.0")
    data = bytearray((root / name).read_bytes())
    for cut in (0, 3, len(data) // 2, len(data) - 5):
        (root / name).write_bytes(data[:cut])
        with pytest.raises(EpisodeError, match="parquet"):
            READER.open(root, 0)


def test_a_damaged_footer_never_ends_the_process(tmp_path: Path) -> None:
    """Findings of the fuzzer: Arrow aborts at some footers, and raises UnicodeDecodeError at others."""
    root = so101(tmp_path, "v3.0")
    path = root / "data/chunk-000/file-000.parquet"
    good, rng = path.read_bytes(), np.random.default_rng(0)
    footer = len(good) - 8 - int.from_bytes(good[-8:-4], "little")
    refused = 0
    for _ in range(60):
        data = bytearray(good)
        for at in rng.integers(footer, len(good) - 8, 3):
            data[at] = rng.integers(256)
        path.write_bytes(data)
        try:
            READER.open(root, 0)
        except (EpisodeError, UnsafeFileError) as error:
            refused += 1
            assert str(root) in str(error)  # noqa: PT017
    assert refused > 20


def test_columns_that_unpack_to_too_much_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"a": pa.array(np.zeros(40_000_000))}), path, use_dictionary=False, compression="zstd")
    assert path.stat().st_size < 1 << 20
    with pytest.raises(UnsafeFileError, match=r"bomb\.parquet: a unpack to"):
        ParquetTable(path, tmp_path).read(["a"])


def test_a_dictionary_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    """Each row names one long text; the footer counts it once."""
    path = tmp_path / "bomb.parquet"
    pq.write_table(pa.table({"a": pa.array(["x" * 100_000] * 10_000)}), path, compression="zstd")
    with pytest.raises(UnsafeFileError, match=r"bomb\.parquet: "):
        ParquetTable(path, tmp_path).read(["a"])


def test_an_unknown_version_or_index_is_named(tmp_path: Path) -> None:
    root = so101(tmp_path, "v3.0")
    with pytest.raises(EpisodeError, match="no episode #7"):
        READER.open(root, 7)
    info = (root / "meta/info.json").read_text()
    (root / "meta/info.json").write_text(info.replace("v3.0", "v1.6"))
    assert not READER.recognise(root)
    with pytest.raises(EpisodeError, match=r"v1\.6"):
        READER.open(root, 0)


def test_the_same_content_has_the_same_hash_wherever_it_lies(tmp_path: Path) -> None:
    hashes = {READER.open(so101(tmp_path / name, "v2.1"), at).content_hash for name in "ab" for at in (0, 1)}
    assert len(hashes) == 2

"""Every source goes out into every format: all its cameras, columns of any width; what has no place is named."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.calvin_factory import write_calvin_split
from tests.foreign_factories import SIZE, plain_frames, png, shown_frame
from trainer.episodes.export import export, main
from trainer.episodes.open import find_episodes, open_episode
from trainer.episodes.writers.lerobot_images import _feature_name

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared/data"
SAMPLES = (
    ROOT / "assets/episodes/libero_90-close-top-drawer-0",
    REAL / "calvin_mini/training#0",
    REAL / "real/octo_bridge_rlds#0",
    REAL / "real/rt1_coke.mp4",
)
LENGTH = 4


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A trial with three cameras, depth of the third, and one column of numbers."""
    root = tmp_path / "lab"
    images = {name: plain_frames(0, number, LENGTH) for number, name in enumerate(("static", "wrist", "side"))}
    images["side_depth"] = np.stack([np.full(SIZE, 500 + at, np.uint16) for at in range(LENGTH)])
    for name, frames in images.items():
        (root / name).mkdir(parents=True)
        for at, frame in enumerate(frames):
            (root / name / f"{at}.png").write_bytes(png(frame))
    (root / "state.csv").write_text("\n".join(["force", *map(str, range(LENGTH))]) + "\n")
    (root / "meta.yaml").write_text("depth_unit: mm\noutcome: failure\n")
    return root


def test_lerobot_takes_every_camera_and_a_single_column(lab: Path, tmp_path: Path) -> None:
    export([str(lab)], tmp_path / "out", "lerobot")
    back = open_episode(tmp_path / "out")
    assert back.info.views == ("static", "wrist")
    side = back.others["observation.images.side"]
    assert [shown_frame(side.rgb(at)) for at in range(LENGTH)] == list(range(LENGTH))
    assert side.depth is not None
    np.testing.assert_allclose(side.depth(3), np.full(SIZE, 0.503), atol=1e-6)
    np.testing.assert_array_equal(back.features["observation.state.force"], np.arange(LENGTH)[:, None])
    rows = pq.read_table(tmp_path / "out/data/chunk-000/file-000.parquet").to_pydict()
    assert rows["observation.state.force"] == [0, 1, 2, 3]  # numbers, as LeRobot keeps columns of shape [1]
    stats = json.loads((tmp_path / "out/meta/stats.json").read_text())
    assert stats["observation.state.force"]["mean"] == [1.5]
    assert back.info.outcome == "failure"


@pytest.mark.parametrize("cameras", [("a", "a_depth"), ("a_depth", "a")])
def test_no_camera_takes_the_place_of_anothers_depth(cameras: tuple[str, str]) -> None:
    taken = set[str]()
    for camera in cameras:
        name = _feature_name(camera, taken, has_depth=True)
        assert not {name, f"{name}_depth"} & taken
        taken |= {name, f"{name}_depth"}


def test_a_gap_in_a_column_stays_a_gap(lab: Path, tmp_path: Path) -> None:
    (lab / "state.csv").write_text("force\n0\nnan\n2\n4\n")
    export([str(lab)], tmp_path / "out", "lerobot")
    rows = pq.read_table(tmp_path / "out/data/chunk-000/file-000.parquet").to_pydict()
    np.testing.assert_array_equal(rows["observation.state.force"], [0, np.nan, 2, 4])
    stats = json.loads((tmp_path / "out/meta/stats.json").read_text())["observation.state.force"]
    assert (stats["mean"], stats["max"], stats["count"]) == ([2.0], [4.0], [3])


@pytest.mark.parametrize("format", ["calvin", "libero"])
def test_what_has_no_place_is_named(lab: Path, tmp_path: Path, format: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        export([str(lab)], tmp_path / "out", format)
    name = format.upper()
    assert f"{name} has no place for these cameras, left out: side" in caplog.text
    assert f"{name} keeps no rate: recorded at 10 Hz, it will be read as" in caplog.text
    assert f"{name} has no word for this outcome, left out: failure" in caplog.text


@pytest.mark.parametrize(
    ("format", "fields"),
    [
        ("calvin", "the wrist camera's pose, poses of moving cameras, exact flow"),
        ("libero", "poses of moving cameras, exact flow"),
        ("lerobot", "intrinsics, camera poses, the units and axes of actions, exact flow"),
    ],
)
def test_fields_without_a_place_are_named(
    format: str, fields: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        export([str(SAMPLES[0])], tmp_path / "out", format, drop_steps=True)
    assert f"has no place for these, left out: {fields}\n" in caplog.text
    assert ("larger ones are cut, in 1 episodes" in caplog.text) == (format == "calvin")


def test_a_pixel_without_depth_comes_back_without_one(lab: Path, tmp_path: Path) -> None:
    """Also where no camera is written, whose far plane would tell."""
    for at in range(LENGTH):
        (lab / "static_depth").mkdir(exist_ok=True)
        (lab / f"static_depth/{at}.png").write_bytes(png(np.eye(*SIZE, dtype=np.uint16)))
    export([str(lab)], tmp_path / "out", "calvin")
    back = open_episode(find_episodes(tmp_path / "out")[0]).depth("static", 1)
    np.testing.assert_allclose(back, np.where(np.eye(*SIZE), 0.001, np.nan), atol=1e-7)


def test_play_without_words_is_written_on_demand(tmp_path: Path) -> None:
    write_calvin_split(tmp_path / "calvin", windows=((0, 6), (2, 9)))
    for flags, count in (((), 2), (("--silent-play",), 3)):
        out = tmp_path / f"out{count}"
        assert main([str(tmp_path / "calvin"), str(out), "--format", "lerobot", *flags]) == 0
        assert len(find_episodes(out)) == count


@pytest.mark.parametrize("format", ["calvin", "libero", "lerobot"])
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_samples_go_out_and_come_back(sample: Path, format: str, tmp_path: Path) -> None:
    if not Path(str(sample).partition("#")[0]).exists():
        pytest.skip("real samples are not part of the project")
    source = open_episode(sample)
    export([str(sample)], tmp_path / "out", format, drop_steps=True)
    back = open_episode(find_episodes(tmp_path / "out")[0])
    assert back.info.instruction == source.info.instruction
    assert back.info.length == len(source.frame_steps) - (format == "libero")  # whose last row has no image after it
    first = int(source.frame_steps[0])
    np.testing.assert_array_equal(back.rgb("static", 0), source.rgb("static", first))

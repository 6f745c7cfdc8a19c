"""meta.yaml and camera.yaml as people and calibration tools write them: what is not used is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.errors import EpisodeError
from tests.foreign_factories import plain_frames, png
from trainer.episodes.episode import Episode
from trainer.episodes.readers.folder import READER

LENGTH = 3
K = "K: [[60, 0, 32], [0, 50, 24], [0, 0, 1]]"
ROS = """
image_width: 64
image_height: 48
camera_name: d435
camera_matrix: {rows: 3, cols: 3, data: [60, 0, 31.5, 0, 50, 23.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [BENT, 0, 0, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
"""
INFO = "{height: 48, width: 64, distortion_model: plumb_bob, d: [0, 0], k: [60, 0, 31.5, 0, 50, 23.5, 0, 0, 1]}\n"


def opened(root: Path, name: str, content: str, views: tuple[str, ...] = ("static",)) -> Episode:
    """A recording of three images a view with one file beside them."""
    for view in views:
        (root / view).mkdir(exist_ok=True)
        for at, pixels in enumerate(plain_frames(0, 0, LENGTH)):
            (root / view / f"{at}.png").write_bytes(png(pixels))
    (root / name).write_text(content)
    return READER.open(root, 0)


@pytest.mark.parametrize(
    ("content", "outcome", "notes"),
    [
        ("outcome: Success\n", "success", 0),
        ("outcome: FAILURE\n", "failure", 0),
        ("outcome: true\n", "success", 0),
        ("outcome: partly\n", None, 1),
        ("operator: bob\noutcome: success\n", "success", 1),
        ("", None, 0),
        ("# later\n", None, 0),
    ],
)
@pytest.mark.parametrize("name", ["meta.yaml", "meta.yml", "META.YAML"])
def test_what_a_person_writes_is_read_or_named(
    tmp_path: Path, name: str, content: str, outcome: str | None, notes: int
) -> None:
    episode = opened(tmp_path, name, content)
    assert (episode.info.outcome, len(episode.info.notes)) == (outcome, notes)
    if notes:
        assert name in episode.info.notes[0]
        assert "operator" in episode.info.notes[0] or "partly" in episode.info.notes[0]


@pytest.mark.parametrize(("unit", "metres"), [("MM", 0.001), ("millimeters", 0.001), ("m", 1), ('"0.0001"', 0.0001)])
def test_units_of_depth(tmp_path: Path, unit: str, metres: float) -> None:
    np.save(tmp_path / "static_depth.npy", np.full((LENGTH, 48, 64), 7, np.uint16))
    episode = opened(tmp_path, "meta.yaml", f"depth_unit: {unit}\nfps: '5'\n")
    np.testing.assert_allclose(episode.depth("static", 1), 7 * metres, rtol=1e-6)
    assert episode.info.control_hz == 5


@pytest.mark.parametrize(
    "content",
    [
        f"static: {{{K}}}\n",
        f"STATIC: {{{K}}}\n",
        f"{K}\n",
        "static: {K: [60, 0, 32, 0, 50, 24, 0, 0, 1]}\n",
        "static: {fx: 60, fy: 50, cx: 32, cy: 24}\n",
        ROS.replace("BENT", "0"),
        f"static: {INFO}",
        INFO,
    ],
)
def test_a_camera_is_the_same_however_it_is_written(tmp_path: Path, content: str) -> None:
    episode = opened(tmp_path, "camera.yml", content)
    assert episode.info.notes == ()
    np.testing.assert_allclose(episode.intrinsics("static"), [[60, 0, 32], [0, 50, 24], [0, 0, 1]])


@pytest.mark.parametrize(
    ("content", "views", "says"),
    [
        (f"front: {{{K}}}\n", ("static",), "'front' is not used: the views are static"),
        (f"static: {{{K}, focal: 3, exposure: 2}}\n", ("static",), "of 'static', not used: exposure, focal"),
        (ROS.replace("BENT", "0.1"), ("static",), "the distortion is not used"),
        (ROS.replace("BENT", "0"), ("static", "wrist"), "'d435' is not used: the views are static, wrist"),
        (f"static: {{T_world_camera: {[np.eye(4).tolist()] * 2}}}\n", ("static",), "poses of 'static' are not read"),
    ],
)
def test_what_is_not_used_of_a_camera_is_named(tmp_path: Path, content: str, views: tuple[str, ...], says: str) -> None:
    assert says in opened(tmp_path, "camera.yaml", content, views).info.notes[0]


@pytest.mark.parametrize("given", ["size: [0, 3]", "K: [1, 2]", f"K: [[1{'0' * 400}, 0, 1], [0, 1, 1], [0, 0, 1]]"])
def test_a_camera_that_cannot_be_is_one_error(tmp_path: Path, given: str) -> None:
    with pytest.raises(EpisodeError, match=r"camera\.yaml: 'static'"):
        opened(tmp_path, "camera.yaml", f"static: {{{given}}}\n")

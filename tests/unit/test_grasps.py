"""Where to grasp: shapes measured from points, and columns over a grasp that something may stand in."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.simulation.attempts import read_list
from trainer.simulation.place import Grasp, _blocked
from trainer.simulation.shapes import Shape, horizontal


def box(centre: tuple[float, float, float], size: tuple[float, float, float], yaw: float = 0.0) -> Shape:
    corners = np.array(np.meshgrid([-0.5, 0.5], [-0.5, 0.5], np.linspace(-0.5, 0.5, 9))).reshape(3, -1).T * size
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1.0]])
    return Shape(points=corners @ turn.T + centre)


@pytest.mark.parametrize("degrees", [0, 30, 75, 120])
def test_a_box_is_narrowest_across_its_short_side(degrees: int) -> None:
    angle, width = box((1, 2, 3), (0.04, 0.10, 0.2), np.radians(degrees)).narrowest()
    assert np.degrees(angle) % 180 == pytest.approx(degrees % 180)
    assert width == pytest.approx(0.04)


def test_a_band_is_a_part_and_never_empty() -> None:
    shape = box((0, 0, 0.1), (0.1, 0.1, 0.2))
    assert shape.between(0.1, 0.2).bottom >= 0.1
    assert len(shape.between(5.0, 6.0).points) == len(shape.points)
    assert shape.extent(horizontal(0.0)) == pytest.approx((-0.05, 0.05))


def test_what_stands_beside_the_fingers_blocks_a_grasp() -> None:
    down = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]])  # fingers close along y
    grasp = Grasp(position=np.array([0.5, 0.0, 0.1]), rotation=down)
    assert _blocked(grasp, box((0.5, 0.05, 0.1), (0.02, 0.02, 0.1)))  # at a finger
    assert not _blocked(grasp, box((0.5, 0.09, 0.05), (0.02, 0.02, 0.1)))  # low, beside the finger
    assert _blocked(grasp, box((0.5, 0.09, 0.1), (0.02, 0.02, 0.2)))  # tall, under the hand
    assert not _blocked(grasp, box((0.6, 0.0, 0.1), (0.02, 0.02, 0.2)))  # beside the hand's narrow side
    assert not _blocked(grasp, box((0.5, 0.05, 0.03), (0.02, 0.02, 0.06)))  # lower than the fingertips


def test_a_list_of_recordings_is_read(tmp_path) -> None:
    path = tmp_path / "list.json"
    path.write_text('{"train": {"libero_object": {"3": [[4, 0], [5, 1]]}}}')
    assert [(folder, attempt.folder) for folder, attempt in read_list(path)] == [
        ("train", "libero_object-3/4-0"),
        ("train", "libero_object-3/5-1"),
    ]

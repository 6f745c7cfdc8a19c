"""The tree of coordinate frames of a ROS 2 recording: where one frame is in another, from /tf and /tf_static.

A transform that changes is interpolated between its neighbours in time (positions linearly, rotations by normalised
linear interpolation, which differs from slerp by less than a thousandth of the angle at the usual rates); before its
first and after its last message it stands still. Times are those of the log, as everywhere in this reader.

Dimensions: t time, m message of one transform.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from model.errors import EpisodeError

from ..rotations import rotation_matrix
from .mcap_file import McapFile, schema_name

_MAX_TRANSFORMS = 2_000_000
_MAX_DEPTH = 100
_UNIT_ERROR = 0.01


@dataclass(frozen=True)
class _Edge:
    """A frame in its parent: position and quaternion wxyz at increasing times; static ones have one time."""

    parent: str
    times: Integer[np.ndarray, " m"]
    rows: Float[np.ndarray, "m 7"]

    def at(self, times: Integer[np.ndarray, " t"]) -> Float[np.ndarray, "t 4 4"]:
        after = np.clip(np.searchsorted(self.times, times), 1, max(1, len(self.times) - 1))
        last, first = np.minimum(after, len(self.times) - 1), after - 1
        span = np.maximum(self.times[last] - self.times[first], 1)
        share = np.clip((times - self.times[first]) / span, 0.0, 1.0)[:, None]
        one, other = self.rows[first], self.rows[last]
        near = np.where((one[:, 3:] * other[:, 3:]).sum(1, keepdims=True) < 0, -1.0, 1.0)
        turned = (1 - share) * one[:, 3:] + share * near * other[:, 3:]
        poses = np.zeros((len(times), 4, 4))
        poses[:, :3, :3] = rotation_matrix(turned / np.linalg.norm(turned, axis=1, keepdims=True))
        poses[:, :3, 3] = (1 - share) * one[:, :3] + share * other[:, :3]
        poses[:, 3, 3] = 1.0
        return poses


class FrameTree:
    """All frames of a file.

    Args:
        file: Its topics of type tf2_msgs/TFMessage are read whole.

    Raises:
        EpisodeError: More transforms than this program reads, or a message that cannot be decoded.

    Attributes:
        notes: What was left out.
    """

    def __init__(self, file: McapFile) -> None:
        self.notes: list[str] = []
        self._path = file.path
        self._edges = _edges(file, self.notes)

    def __contains__(self, frame: str) -> bool:
        return frame in self._edges or any(edge.parent == frame for edge in self._edges.values())

    @property
    def names(self) -> list[str]:
        """All frames."""
        return sorted({*self._edges, *(edge.parent for edge in self._edges.values())})

    def root(self, frame: str) -> str:
        """The frame at the top of the tree that a frame is in."""
        return self._way_up(frame)[-1]

    def pose(self, frame: str, world: str, times: Integer[np.ndarray, " t"]) -> Float[np.ndarray, "t 4 4"] | None:
        """The pose of `frame` in `world`, metres; None where no transforms connect them."""
        up, down = self._way_up(frame), self._way_up(world)
        shared = next((name for name in up if name in down), None)
        if shared is None:
            return None
        return np.linalg.inv(self._chain(down, shared, times)) @ self._chain(up, shared, times)

    def _way_up(self, frame: str) -> list[str]:
        way = [frame]
        while way[-1] in self._edges:
            way.append(self._edges[way[-1]].parent)
            if len(way) > _MAX_DEPTH:
                raise EpisodeError(f"{self._path}: /tf: the frames above '{frame:.60}' form a circle")
        return way

    def _chain(self, way: Sequence[str], end: str, times: Integer[np.ndarray, " t"]) -> Float[np.ndarray, "t 4 4"]:
        pose = np.broadcast_to(np.eye(4), (len(times), 4, 4))
        for name in way[: way.index(end)]:
            pose = self._edges[name].at(times) @ pose
        return pose


def _edges(file: McapFile, notes: list[str]) -> dict[str, _Edge]:
    found: dict[str, tuple[str, list[int], list[list[float]]]] = {}
    static: set[str] = set()
    wrong: set[str] = set()
    for time, name, item in _transforms(file):
        parent, child = str(item.header.frame_id).lstrip("/"), str(item.child_frame_id).lstrip("/")
        row = _row(item.transform)
        if row is None:
            wrong.add(child)
            continue
        if name.endswith("tf_static"):
            static.add(child)
        if child not in found or found[child][0] != parent:  # a frame that changes its parent: the newest counts
            found[child] = (parent, [], [])
        found[child][1].append(time)
        found[child][2].append(row)
    notes += [f"/tf: what is said of frame '{child:.60}' is not always a pose; that is left out" for child in wrong]
    return {child: _edge(*parts, static=child in static) for child, parts in found.items()}


def _transforms(file: McapFile) -> Iterator[tuple[int, str, Any]]:
    """Time, topic and message of every transform, topic by topic."""
    count = 0
    for name, topic in sorted(file.topics.items()):
        if schema_name(topic) != "TFMessage":
            continue
        for index, time in enumerate(topic.times):
            for item in file.message(topic, index).transforms:
                count += 1
                if count > _MAX_TRANSFORMS:
                    raise EpisodeError(f"{file.path}: '{name}' has more than {_MAX_TRANSFORMS} transforms")
                yield time, name, item


def _edge(parent: str, times: list[int], rows: list[list[float]], *, static: bool) -> _Edge:
    order = np.argsort(np.array(times, np.int64), kind="stable")
    if static:
        order = order[-1:]
    return _Edge(parent, np.array(times, np.int64)[order], np.array(rows, np.float64)[order])


def _row(transform: Any) -> list[float] | None:
    """Position and unit quaternion wxyz; None if it is no rigid motion."""
    t, q = transform.translation, transform.rotation
    row = [t.x, t.y, t.z, q.w, q.x, q.y, q.z]
    length = float(np.linalg.norm(row[3:]))
    if not np.isfinite(row).all() or abs(length - 1) > _UNIT_ERROR:
        return None
    return [*row[:3], *(part / length for part in row[3:])]

"""Whether the tool is where something moves: a hand that is seen elsewhere means that the camera is elsewhere.

A flat table hides a sideways shift of the camera: depth, tilt and speeds stay as they were. But where the tool should
be, either a part of the moving robot is seen, or something nearer hides the place. A picture in which neither holds
contradicts the pose. With depth, what moves is what stands before the farthest surface that its pixel ever showed;
without depth, it is where the picture changed, and nearness is measured at the tool's own distance.

Dimensions: t control step, h w pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .measured import Measured, from_world, project, unproject

NEAR = 0.05  # metres from the tool's centre; open fingers are 4 cm from it
_NEAR_FLAT = 0.08  # metres across the line of sight, where there is no depth
FRAMES = 12
_BEFORE = 0.02  # metres before the farthest surface
_HIDDEN = 0.04  # metres before the tool
_TRAVEL = 0.1  # metres that the hand must be away from its place at some time, so that what lies behind it is known
_LEAST = 4  # pictures
_SHARE = 0.35  # of them


@dataclass(frozen=True, kw_only=True)
class ToolSeen:
    """In how many pictures the tool's place could be judged, and in how many nothing that moves was there.

    Attributes:
        judged: Pictures in which the place of the tool is in the image and nothing hides it.
        empty: Those of them in which nothing that moves is near the tool.
    """

    judged: int
    empty: int

    @property
    def contradicts(self) -> bool:
        """Whether that many empty places speak against the camera."""
        return self.judged >= _LEAST and self.empty > _SHARE * self.judged

    @property
    def words(self) -> str:
        """The same, a few words; "" if too few pictures could be judged."""
        if self.judged < _LEAST:
            return ""
        return f"nothing moves where the tool is in {self.empty} of {self.judged} pictures"


def tool_seen(measured: Measured, K: Float[np.ndarray, "3 3"], T: Float[np.ndarray, "t 4 4"]) -> ToolSeen:
    """Judges the static view under some K and pose; needs a state."""
    if not measured.has_tool:
        return ToolSeen(judged=0, empty=0)
    found = _by_depth(measured, K, T) if measured.episode.has("depth", "static") else _by_change(measured, K, T)
    return ToolSeen(judged=len(found), empty=sum(not near for near in found))


def _by_depth(measured: Measured, K: np.ndarray, T: np.ndarray) -> list[bool]:
    episode, far = measured.episode, measured.farthest("static")
    steps = measured.spread(FRAMES)
    where = measured.tool[:, :3, 3]
    found: list[bool] = []
    for step in steps:
        away = np.linalg.norm(where[steps] - where[step], axis=1).max() > _TRAVEL
        at, depth = from_world(where[step], T[step]), episode.depth("static", step)
        patch = _around(depth, project(at, K))
        if not away or not np.isfinite(patch).any() or np.nanmedian(patch) < at[2] - _HIDDEN:
            continue
        distance = np.linalg.norm(unproject(depth, K) - at, axis=-1)
        found.append(bool(((depth < far - _BEFORE) & (distance < NEAR)).any()))
    return found


def _by_change(measured: Measured, K: np.ndarray, T: np.ndarray) -> list[bool]:
    found: list[bool] = []
    for pair in measured.pairs("static"):
        at = from_world(measured.tool[pair.start, :3, 3], T[pair.start])
        u, v = project(at, K)
        height, width = pair.moving.shape
        rows, columns = np.nonzero(pair.moving)
        if not (0 <= u < width and 0 <= v < height) or len(rows) < 20:
            continue
        across = np.hypot((columns + 0.5 - u) / K[0, 0], (rows + 0.5 - v) / K[1, 1]) * at[2]
        found.append(bool(across.min() < _NEAR_FLAT))
    return found


def _around(depth: Float[np.ndarray, "h w"], pixel: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "a b"]:
    """The three by three pixels around a place; none where it is not in the image."""
    height, width = depth.shape
    u, v = pixel
    if not (0 <= u < width and 0 <= v < height):
        return np.zeros((0, 0))
    row, column = int(v), int(u)
    return depth[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]

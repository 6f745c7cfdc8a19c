"""Pixels whose true depth is known without a depth network: what fixes the scale of pseudo-depth.

- sensor: the episode's own true depth, where it has some (a sparse or noisy camera, a simulator).
- plane: a plane z = height of the world that most of the image shows (a table), from K and the camera's pose.
- tip: the gripper's tip, from K, the camera's pose and the recorded tool position. What hides the tip makes an outlier.

Dimensions: n anchor, h w pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Integer

from model.errors import ConfigError, EpisodeError
from trainer.episodes.episode import Episode, View

AnchorSource = Literal["sensor", "plane", "tip"]
_PER_FRAME = 400
_FAR = 10.0  # metres: a plane's points beyond this are near its horizon


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Pixels of a clip, in the order of their frames.

    Attributes:
        frame: Frame index of each.
        rows, columns: Pixel of each.
    """

    frame: Integer[np.ndarray, " n"]
    rows: Integer[np.ndarray, " n"]
    columns: Integer[np.ndarray, " n"]


@dataclass(frozen=True, kw_only=True)
class Anchors(Pixels):
    """Pixels of known depth.

    Attributes:
        z: Metres along the optical axis.
    """

    z: Float[np.ndarray, " n"]


def find_anchors(episode: Episode, view: View, source: AnchorSource, *, plane_height: float | None = None) -> Anchors:
    """The anchors that a source gives for a clip.

    Args:
        episode: The clip.
        view: Whose pixels.
        source: See the module.
        plane_height: z of the plane in the world, metres; for `plane`.

    Raises:
        EpisodeError: The episode lacks what the source needs.
        ConfigError: `plane` without its height.
    """
    if source == "sensor":
        return _sensor(episode, view)
    for field in ("intrinsics", "T_world_camera"):
        if not episode.has("K" if field == "intrinsics" else "T_world_camera", view):
            raise EpisodeError(f"{episode.name}: has no {field} of '{view}', which anchors from '{source}' need")
    if source == "plane":
        if plane_height is None:
            raise ConfigError("anchors from a plane need --plane-height, its z in the world in metres")
        return _plane(episode, view, plane_height)
    return _tip(episode, view)


def _sensor(episode: Episode, view: View) -> Anchors:
    if not episode.has("depth", view) or episode.info.depth_origin != "true":
        raise EpisodeError(f"{episode.name}: has no true depth of '{view}' to align to")
    rng = np.random.default_rng(0)
    parts: list[Float[np.ndarray, "n 4"]] = []
    for frame, step in enumerate(episode.frame_steps):
        depth = episode.depth(view, int(step))
        rows, columns = np.nonzero(np.isfinite(depth))
        some = rng.permutation(len(rows))[:_PER_FRAME]
        rows, columns = rows[some], columns[some]
        parts.append(np.stack([np.full(len(rows), frame), rows, columns, depth[rows, columns]], 1))
    return _anchors(parts)


def _plane(episode: Episode, view: View, height: float) -> Anchors:
    rng = np.random.default_rng(0)
    image_height, width = episode.image_size(view)
    K, poses = episode.intrinsics(view), episode.T_world_camera(view)
    parts: list[Float[np.ndarray, "n 4"]] = []
    for frame, step in enumerate(episode.frame_steps):
        rows, columns = rng.integers(0, image_height, _PER_FRAME), rng.integers(0, width, _PER_FRAME)
        pixels = np.stack([columns + 0.5, rows + 0.5, np.ones(_PER_FRAME)], 1)
        rays = pixels @ np.linalg.inv(K).T  # z = 1 along the axis
        R, eye = poses[step][:3, :3], poses[step][:3, 3]
        with np.errstate(divide="ignore"):
            z = (height - eye[2]) / (rays @ R[2])
        kept = (z > 0) & (z < _FAR)
        parts.append(np.stack([np.full(kept.sum(), frame), rows[kept], columns[kept], z[kept]], 1))
    return _anchors(parts)


def _tip(episode: Episode, view: View) -> Anchors:
    if not episode.has("state"):
        raise EpisodeError(f"{episode.name}: has no tool positions, which anchors from the tip need")
    height, width = episode.image_size(view)
    steps = np.asarray(episode.frame_steps)
    K, poses = episode.intrinsics(view), episode.T_world_camera(view)[steps]
    tip = episode.state[steps, :3]
    camera = np.einsum("fji,fj->fi", poses[:, :3, :3], tip - poses[:, :3, 3])
    uv = camera @ K.T
    uv = uv[:, :2] / uv[:, 2:]
    inside = (camera[:, 2] > 0) & ((uv >= 0) & (uv < (width, height))).all(1)
    columns, rows = uv[inside].astype(np.int64).T
    return _anchors([np.stack([np.flatnonzero(inside), rows, columns, camera[inside, 2]], 1)])


def _anchors(parts: list[Float[np.ndarray, "n 4"]]) -> Anchors:
    found = np.concatenate(parts) if parts else np.zeros((0, 4))
    frame, rows, columns = found[:, :3].astype(np.int64).T
    return Anchors(frame=frame, rows=rows, columns=columns, z=found[:, 3])

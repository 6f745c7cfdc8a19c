"""An episode whose cameras are supplied by a person who knows their field of view and nothing else.

The pixels are square and the principal point is the middle. A camera of unknown pose stands in the origin and looks
level along the world's x axis, so that 3D can be drawn; it says nothing about where the robot is. Whatever was supplied
stands in `EpisodeInfo.assumed`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from typing import Any

import numpy as np
from jaxtyping import Float

from model.errors import ConfigError

from .camera import Camera
from .episode import Episode, View
from .lazy import LazyEpisode

_LEVEL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # OpenCV axes, looking along x, z up


def with_field_of_view(episode: Episode, degrees: float) -> Episode:
    """The episode with intrinsics for every camera that has none; itself where nothing is missing.

    Args:
        episode: As opened.
        degrees: Horizontal field of view of those cameras.

    Raises:
        ConfigError: No angle of a pinhole camera.
    """
    if not 1 <= degrees <= 170:
        raise ConfigError(f"a field of view of {degrees:g} degrees is none of a pinhole camera; give 1 to 170")
    lacking: tuple[View, ...] = tuple(view for view in episode.info.views if not episode.has("K", view))
    if not lacking or not isinstance(episode, LazyEpisode):
        return episode
    return _Assuming(episode, lacking, degrees)


class _Assuming(LazyEpisode):
    """A lazy episode with intrinsics, and a pose of the static camera, that its source does not have."""

    def __init__(self, episode: LazyEpisode, lacking: tuple[View, ...], degrees: float) -> None:
        self._original, self._degrees = episode, degrees
        cameras: dict[View, Camera] = dict(episode.cameras)
        assumed = list(episode.info.assumed)
        for view in lacking:
            camera = cameras[view]
            changes: dict[str, Any] = {"K": _intrinsics(camera.size, degrees)}
            assumed.append(f"K.{view}")
            if view == "static" and camera.T_world_camera is None:
                changes["T_world_camera"] = np.broadcast_to(_LEVEL, (episode.info.length, 4, 4))
                assumed.append(f"T_world_camera.{view}")
            cameras[view] = dataclasses.replace(camera, **changes)
        super().__init__(
            name=episode.name,
            info=dataclasses.replace(episode.info, assumed=tuple(assumed)),
            content_hash=hashlib.sha256(f"{episode.content_hash} fov {degrees!r}".encode()).hexdigest(),
            frame_steps=episode.frame_steps,
            cameras=cameras,
            others=episode.others,
            numbers=lambda: episode.numbers,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return with_field_of_view, (self._original, self._degrees)


def _intrinsics(size: tuple[int, int], degrees: float) -> Float[np.ndarray, "3 3"]:
    height, width = size
    focal = 0.5 * width / math.tan(math.radians(degrees) / 2)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])

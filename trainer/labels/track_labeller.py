"""Labels with 2D tracks: the classical recipe, or the user's own tracker.

Dimensions: f frame, p grid point, l later frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from model.errors import ConfigError, EpisodeError
from trainer.episodes.episode import Episode, View

from .frames import check_length, frames_of
from .labeller import Label, LabelKind
from .plugin import load_plugin
from .tracks import ClipTracks, classical_tracks, plugin_tracks

_VERSION = 1
_BYTES_PER_POINT = 2 * 2 + 1  # displacement in float16, and whether it is seen


@dataclass(frozen=True, kw_only=True)
class TrackLabeller:
    """Follows a grid of points from every frame of a camera that stands still.

    Attributes:
        grid: Points along each axis of the image.
        reach: Frames that each start is followed for.
        tracker: FILE.py:FUNCTION of a `tracks.Tracker`, None = the classical recipe.
        view: Whose frames.
        still_camera: The camera stands still (the classical recipe holds what has not changed).
    """

    grid: int = 28
    reach: int = 20
    tracker: str | None = None
    view: View = "static"
    still_camera: bool = True

    def __post_init__(self) -> None:
        for name in ("grid", "reach"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name} must be at least 1, got {getattr(self, name)}")

    def __getstate__(self) -> dict[str, Any]:
        """The parameters alone: every process loads its own tracker."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @property
    def kind(self) -> LabelKind:
        """Tracks."""
        return "tracks"

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides the result."""
        return {
            "name": "classical" if self._plugin is None else "plugin",
            "version": _VERSION,
            "plugin_sha256": None if self._plugin is None else self._plugin[1],
            "plugin_function": None if self.tracker is None else self.tracker.rpartition(":")[2],
            "grid": self.grid,
            "reach": self.reach,
            "view": self.view,
            "still_camera": self.still_camera,
        }

    def label(self, episode: Episode) -> Label:
        """Tracks from every frame of the view."""
        if not episode.has("rgb", self.view):
            raise EpisodeError(f"{episode.name}: has no camera '{self.view}' whose frames could be followed")
        count = len(episode.frame_steps)
        if count < 2:
            raise EpisodeError(f"{episode.name}: has {count} frames, tracks need two")
        check_length(count, self.grid**2 * self.reach * _BYTES_PER_POINT, "--grid or --reach")
        frames, size = frames_of(episode, self.view), {"grid": self.grid, "reach": self.reach}
        if self._plugin is None:
            tracks = classical_tracks(frames, count, still_camera=self.still_camera, **size)
        else:
            tracks = plugin_tracks(frames, count, self._plugin[0], **size)
        return tracks_label(tracks, self.view, self.identity)

    @property
    def wants_gpu(self) -> bool:
        """The user's own tracker may; the classical recipe does not."""
        return self.tracker is not None

    @cached_property
    def _plugin(self) -> tuple[Any, str] | None:
        return None if self.tracker is None else load_plugin(self.tracker, "--tracker")


def tracks_label(tracks: ClipTracks, view: View, identity: Mapping[str, Any]) -> Label:
    """Tracks as they are stored."""
    return Label(
        arrays={f"{view}.displacement": tracks.displacement, f"{view}.visible": tracks.visible},
        facts={"labeller": dict(identity), "view": view, "size": list(tracks.size), "grid": tracks.grid},
    )


def tracks_of(label: Label, view: View) -> ClipTracks:
    """Tracks from a stored label.

    Raises:
        EpisodeError: The label is of another view, or its arrays contradict each other.
    """
    try:
        displacement, visible = label.arrays[f"{view}.displacement"], label.arrays[f"{view}.visible"]
        height, width = label.facts["size"]
        grid = int(label.facts["grid"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise EpisodeError(f"the label has no tracks of '{view}'; label again") from None
    alike = (displacement.dtype, visible.dtype) == (np.float16, bool) and displacement.shape == (*visible.shape, 2)
    if not alike or visible.ndim != 3 or not visible.size or visible.shape[1] != grid * grid:
        raise EpisodeError(f"the label's tracks are {displacement.shape} and {visible.shape}; damaged, label again")
    return ClipTracks(size=(int(height), int(width)), grid=grid, displacement=displacement, visible=visible)

"""An episode with the labels of a store laid over what its source lacks, never over what it has.

- Depth: metric pseudo-depth, where the episode has no true depth in any view (its origin is said once an episode).
- Tracks: where the episode has no exact flow. The image tracks are lifted by the depth of the later frame, true or
  pseudo; without depth they stay in the image (`image_tracks`), and the notes say what is absent and what supplies it.

Dimensions: f frame, h w pixels, p point, l later step, t control step, n entries of a feature.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from model.errors import AbsentError, ConfigError, EpisodeError
from trainer.episodes.cache import mapped
from trainer.episodes.camera import Camera
from trainer.episodes.episode import Episode, EpisodeInfo, Field, Tracks, View

from .depth_codes import depth_of
from .found import FoundLabels, find_labels
from .store import LabelStore
from .track_labeller import tracks_of
from .tracks import ClipTracks, grid_points


def with_labels(episode: Episode, root: Path | None) -> Episode:
    """The episode with its labels; itself where the store has none that it lacks.

    Args:
        episode: As opened.
        root: The store of `python -m trainer label`; None = no labels.

    Raises:
        ConfigError: No such folder.
    """
    if root is None:
        return episode
    check_store(root)
    found = find_labels(episode, root)
    return episode if found.nothing else Labelled(episode, root, found)


def with_random_access(episode: Episode) -> Episode:
    """`mapped`, below the labels where there are some."""
    return episode.over(mapped(episode.base)) if isinstance(episode, Labelled) else mapped(episode)


def check_store(root: Path | None) -> None:
    """Says early that there is no such store.

    Raises:
        ConfigError: A store is named and is no folder.
    """
    if root is not None and not root.is_dir():
        raise ConfigError(f"--labels {root}: no such folder; `python -m trainer label` makes one")


class Labelled(Episode):
    """Implements `Episode` over another one and its labels; see the module for what is laid over what."""

    def __init__(self, episode: Episode, root: Path, found: FoundLabels) -> None:
        self._base, self._root, self._found = episode, root, found
        pseudo = bool(found.depth)
        self._info = dataclasses.replace(
            episode.info,
            depth_scale="metric" if pseudo else episode.info.depth_scale,
            depth_origin="pseudo" if pseudo else episode.info.depth_origin,
            notes=(*episode.info.notes, *found.notes),
        )
        keys = [episode.content_hash, *sorted(found.depth.values()), *sorted(found.tracks.values())]
        self._content_hash = hashlib.sha256(" ".join(keys).encode()).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        return Labelled, (self._base, self._root, self._found)

    @property
    def base(self) -> Episode:
        """The episode below the labels."""
        return self._base

    def over(self, base: Episode) -> Labelled:
        """The same labels over the same episode that is stored in another way (memory-mapped)."""
        return Labelled(base, self._root, self._found)

    @property
    def name(self) -> str:
        """The one string PATH#INDEX that names the episode everywhere."""
        return self._base.name

    @property
    def info(self) -> EpisodeInfo:
        """As the source says, with the origin of the depth and what the labels are in the notes."""
        return self._info

    @property
    def content_hash(self) -> str:
        """sha256 hex over the episode's content hash and the names of its labels."""
        return self._content_hash

    @property
    def frame_steps(self) -> Integer[np.ndarray, " f"]:
        """The control steps that have images, increasing."""
        return self._base.frame_steps

    @property
    def others(self) -> Mapping[str, Camera]:
        """Cameras that are neither static nor wrist; no label is about them."""
        return self._base.others

    @property
    def features(self) -> Mapping[str, Float[np.ndarray, "t n"]]:
        """Every numeric feature at every control step, under the name its source gives it."""
        return self._base.features

    @property
    def feature_names(self) -> Mapping[str, Sequence[str]]:
        """What the entries of a feature are called, where its source or its format says so."""
        return self._base.feature_names

    def camera_name(self, view: View) -> str:
        """What the source calls the camera of a view."""
        return self._base.camera_name(view)

    @property
    def state(self) -> Float[np.ndarray, "t 8"]:
        """Tool position (metres, world), quaternion wxyz, gripper opening 0 shut .. 1 open."""
        return self._base.state

    @property
    def action(self) -> Float[np.ndarray, "t 7"]:
        """Commanded action, see `EpisodeInfo.action_space`."""
        return self._base.action

    def has(self, field: Field, view: View | None = None) -> bool:
        """Whether asking for a field can succeed. Tracks are in space: they need depth and intrinsics too."""
        if field == "depth" and view in self._found.depth:
            return True
        if field == "tracks" and view in self._found.tracks:
            return self.has("depth", view) and self._base.has("K", view)
        return self._base.has(field, view)

    def image_size(self, view: View) -> tuple[int, int]:
        """(height, width) of the stored images, pixels."""
        return self._base.image_size(view)

    def rgb(self, view: View, step: int) -> UInt8[np.ndarray, "h w 3"]:
        """The upright image at a control step that has one."""
        return self._base.rgb(view, step)

    def depth(self, view: View, step: int) -> Float[np.ndarray, "h w"]:
        """Float32 metres along the optical axis, NaN = invalid; pseudo where `info.depth_origin` says so."""
        if view not in self._found.depth:
            return self._base.depth(view, step)
        label = LabelStore(self._root, "depth").read(self._found.depth[view], self._frame(step))
        return depth_of(label, view, 0, self.image_size(view))

    def intrinsics(self, view: View) -> Float[np.ndarray, "3 3"]:
        """K in pixels of the stored image size."""
        return self._base.intrinsics(view)

    def T_world_camera(self, view: View) -> Float[np.ndarray, "t 4 4"]:  # noqa: N802 - the field's name for the transform
        """Camera-to-world transform at each control step, metres."""
        return self._base.T_world_camera(view)

    def tracks(self, view: View, step: int, uv: Float[np.ndarray, "p 2"], later: Integer[np.ndarray, " l"]) -> Tracks:
        """The tracker's, lifted by the depth of the later frame; exact where the source has them.

        A point is known where the tracker sees it on a pixel of known depth: what it loses is unknown, not guessed.
        """
        if view not in self._found.tracks:
            return self._base.tracks(view, step, uv, later)
        if not self.has("tracks", view):
            raise AbsentError(f"{self.name}: '{view}' has tracks in the image only: no depth, or no intrinsics")
        height, width = self.image_size(view)
        moved, seen = self.image_tracks(view, step, uv, later)
        seen = seen & ((moved >= 0) & (moved < (width, height))).all(-1)
        z = np.full(seen.shape, np.nan)
        for at, when in enumerate(later):
            columns, rows = moved[seen[:, at], at].astype(np.int64).T
            if len(rows):
                z[seen[:, at], at] = self.depth(view, int(when))[rows, columns]
        known = seen & np.isfinite(z)
        uvz = np.where(known[..., None], np.concatenate([moved, z[..., None]], -1), np.nan)
        return Tracks(uvz=uvz, visible=known, known=known)

    def has_image_tracks(self, view: View) -> bool:
        """Whether a tracker followed the points of this view."""
        return view in self._found.tracks

    def grid(self, view: View) -> int:
        """Points along each axis of the image that the tracker followed.

        Raises:
            AbsentError: No tracker looked at this view.
        """
        return self._tracks_from(view, 0).grid

    def image_tracks(
        self, view: View, step: int, uv: Float[np.ndarray, "p 2"], later: Integer[np.ndarray, " l"]
    ) -> tuple[Float[np.ndarray, "p l 2"], Bool[np.ndarray, "p l"]]:
        """Where pixels of frame `step` are at later steps, and whether they are seen there (false without an image).

        Raises:
            AbsentError: No tracker looked at this view.
        """
        first = self._frame(step)
        ahead = [self._frames.get(int(when), -1) - first for when in later]
        return self._tracks_from(view, first).follow(0, uv, ahead)

    def own_motion(self, view: View, step: int, later: int) -> Float[np.ndarray, "h w 2"]:
        """How far pixels move in the image, as the grid point next to each; the camera is taken to stand still.

        Motion along the axis is 0: the error of pseudo-depth would make everything move.
        """
        if view not in self._found.tracks:
            return self._base.own_motion(view, step, later)
        first = self._frame(step)
        clip = self._tracks_from(view, first)
        ahead = int(np.searchsorted(self.frame_steps, later, side="right")) - 1 - first
        ahead = min(ahead, clip.displacement.shape[2])
        height, width = clip.size
        motion = np.zeros((height, width, 2))
        if ahead > 0:
            points = grid_points(clip.size, clip.grid)
            moved, seen = clip.follow(0, points, [ahead])
            far = np.where(seen[:, 0], np.linalg.norm(moved[:, 0] - points, axis=1), 0.0)
            rows = (np.arange(height) * clip.grid // height)[:, None]
            motion[..., 0] = far.reshape(clip.grid, clip.grid)[rows, np.arange(width) * clip.grid // width]
        return motion

    def _tracks_from(self, view: View, frame: int) -> ClipTracks:
        """The tracks of one start alone, as frame 0 of what is returned."""
        if view not in self._found.tracks:
            raise AbsentError(f"{self.name}: no tracker looked at '{view}'")
        return tracks_of(LabelStore(self._root, "tracks").read(self._found.tracks[view], frame), view)

    @cached_property
    def _frames(self) -> dict[int, int]:
        return {int(step): index for index, step in enumerate(self.frame_steps)}

    def _frame(self, step: int) -> int:
        if step not in self._frames:
            raise EpisodeError(f"{self.name}: no image at step {step}")
        return self._frames[step]

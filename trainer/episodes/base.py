"""What every episode of our own schema does, whether its images lie in memory, in compressed files or in memory maps.

Dimensions: t control step, f rendered frame, h w pixels, p point, l later step, n body.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property, partial

import numpy as np
from jaxtyping import Float, Integer, UInt8

from model.errors import AbsentError, EpisodeError

from .camera import Camera
from .codecs import metres
from .episode import ACTION_NAMES, STATE_NAMES, Episode, EpisodeInfo, Field, Tracks, View
from .rigid_flow import DepthAt, own_motion, rigid_tracks
from .schema import FEATURE, EpisodeMeta, StreamKind
from .streams import Stream

# Poses closer than this (metres, or entries of the rotation) are the same: a resting body of a simulator still quivers.
_STILL = 1e-5


class StreamEpisode(Episode, ABC):
    """Implements `Episode` on top of three things a subclass brings: meta data, small arrays, streams of images."""

    def __init__(self, name: str, meta: EpisodeMeta, content_hash: str) -> None:
        self._name, self._meta, self._content_hash = name, meta, content_hash

    @cached_property
    @abstractmethod
    def _arrays(self) -> dict[str, np.ndarray]: ...

    @abstractmethod
    def stream(self, view: View, kind: StreamKind) -> Stream:
        """Frames by index in the stored dtype (depth in 0.1 mm where it comes from a file)."""
        ...

    @property
    def name(self) -> str:
        """The one string PATH#INDEX that names the episode everywhere."""
        return self._name

    @property
    def info(self) -> EpisodeInfo:
        """What is known without decoding a frame."""
        return self._meta.info

    @property
    def content_hash(self) -> str:
        """sha256 hex of the recording, see `content.content_hash`."""
        return self._content_hash

    @property
    def body_names(self) -> tuple[str, ...]:
        """Names of the bodies that `body` images index; entry 0 is the static world. Empty where unknown."""
        return self._meta.body_names

    @property
    def frame_steps(self) -> Integer[np.ndarray, " f"]:
        """The control steps that have images, increasing."""
        return self._arrays["frame_steps"]

    @property
    def state(self) -> Float[np.ndarray, "t 8"]:
        """Tool position (metres, world), quaternion wxyz, gripper opening 0 shut .. 1 open."""
        return self._array("state")

    @property
    def action(self) -> Float[np.ndarray, "t 7"]:
        """Commanded action, see `EpisodeInfo.action_space`."""
        return self._array("action")

    @property
    def body_pose(self) -> Float[np.ndarray, "t n 4 4"]:
        """World pose of every body at every control step."""
        return self._array("body_pose")

    @property
    def simulator_state(self) -> Float[np.ndarray, "t q"]:
        """The simulator's flattened state at every control step."""
        return self._array("simulator_state")

    @property
    def others(self) -> Mapping[str, Camera]:
        """Empty: an episode of our own schema has the policy's views only."""
        return {}

    @property
    def features(self) -> Mapping[str, Float[np.ndarray, "t n"]]:
        """State and action; the source's own features where the episode was packed from one that has them."""
        own = {name: self._arrays[name] for name in ("state", "action") if name in self._arrays}
        return {**own, **{n.removeprefix(FEATURE): array for n, array in self._arrays.items() if n.startswith(FEATURE)}}

    @property
    def feature_names(self) -> Mapping[str, Sequence[str]]:
        """Ours of state and action, the source's of what it was packed from."""
        own = {"state": STATE_NAMES, "action": ACTION_NAMES}
        return {**{name: names for name, names in own.items() if name in self._arrays}, **self._meta.feature_names}

    def camera_name(self, view: View) -> str:
        """The view's own name."""
        self._check(view, "rgb")
        return view

    def has(self, field: Field, view: View | None = None) -> bool:
        """Whether asking for a field can succeed. Images, cameras and tracks need the view."""
        if field in ("state", "action"):
            return field in self._arrays
        if view is None or view not in self._meta.views:
            return False
        if field == "tracks":
            return self.info.has_exact_flow
        return field in self._meta.views[view].streams or f"{field}.{view}" in self._arrays

    def image_size(self, view: View) -> tuple[int, int]:
        """(height, width) of the stored images, pixels."""
        self._check(view, "rgb")
        return self._meta.views[view].height, self._meta.views[view].width

    def rgb(self, view: View, step: int) -> UInt8[np.ndarray, "h w 3"]:
        """A fresh copy of the upright image at a control step that has one."""
        return np.array(self._frame(view, "rgb", step))

    def depth(self, view: View, step: int) -> Float[np.ndarray, "h w"]:
        """Float32 metres along the optical axis, NaN = invalid."""
        return self._metres(self._frame(view, "depth", step))

    def body(self, view: View, step: int) -> UInt8[np.ndarray, "h w"]:
        """The body every pixel shows: an index into `body_pose` and `body_names`."""
        return np.array(self._frame(view, "body", step))

    def intrinsics(self, view: View) -> Float[np.ndarray, "3 3"]:
        """K in pixels of the stored image size."""
        return self._array(f"K.{view}")

    def T_world_camera(self, view: View) -> Float[np.ndarray, "t 4 4"]:  # noqa: N802 - the field's name for the transform
        """Camera-to-world transform at each control step, metres."""
        return self._array(f"T_world_camera.{view}")

    def tracks(self, view: View, step: int, uv: Float[np.ndarray, "p 2"], later: Integer[np.ndarray, " l"]) -> Tracks:
        """Exact tracks of pixels of frame `step` at the steps `later`; `uvz` is NaN where a point is not known."""
        self._check_exact_flow()
        height, width = self.image_size(view)
        if not ((uv >= 0) & (uv < (width, height))).all():  # false for NaN
            raise EpisodeError(f"{self.name}: tracks of '{view}' were asked for pixels outside {width} x {height}")
        if (later < 0).any():
            raise EpisodeError(f"{self.name}: tracks were asked for the negative step {int(later.min())}")
        frame = self._frame_index(step)
        columns, rows = uv.astype(np.int64).T
        body = self.stream(view, "body").pick(frame, rows, columns)
        self._check_bodies(view, body)
        exists = later < self.info.length
        clipped = np.minimum(later, self.info.length - 1)
        camera = self.T_world_camera(view)
        tracks = rigid_tracks(
            uv=uv.astype(np.float64),
            depth=self._depth_at(view, frame, rows, columns),
            body=body,
            K=self.intrinsics(view),
            camera_start=camera[step],
            camera_later=camera[clipped],
            pose_start=self.body_pose[step],
            pose_later=self.body_pose[clipped],
            size=(height, width),
            depth_later=[self._depth_sampler(view, int(at)) for at in clipped],
        )
        if exists.all():
            return tracks
        uvz = np.where(exists[:, None], tracks.uvz, np.nan)
        return Tracks(uvz=uvz, visible=tracks.visible & exists, known=tracks.known & exists)

    def own_motion(self, view: View, step: int, later: int) -> Float[np.ndarray, "h w 2"]:
        """How far what each pixel shows moves by itself: pixels and metres along the axis, see `rigid_flow`."""
        self._check_exact_flow()
        frame = self._frame_index(step)
        body = self.stream(view, "body").frame(frame)
        self._check_bodies(view, body)
        start, after = self.body_pose[step], self.body_pose[min(later, self.info.length - 1)]
        moves = np.abs(after - start).max((1, 2)) > _STILL
        motion = np.zeros((2, *body.shape))
        rows, columns = np.divmod(np.flatnonzero(moves[body]), body.shape[1])
        if len(rows):
            motion[:, rows, columns] = own_motion(
                np.stack([columns, rows], 1) + 0.5,
                self._depth_at(view, frame, rows, columns),
                body[rows, columns],
                self.intrinsics(view),
                self.T_world_camera(view)[step],
                start,
                after,
            ).T
        return motion.transpose(1, 2, 0)

    def _check_exact_flow(self) -> None:
        if not self.info.has_exact_flow:
            raise EpisodeError(f"{self.name}: has no exact flow; its source does not say how bodies moved")

    def _check_bodies(self, view: View, body: np.ndarray) -> None:
        if body.size and body.max() >= self.body_pose.shape[1]:
            raise EpisodeError(f"{self.name}: '{view}.body' names body {body.max()} of {self.body_pose.shape[1]}")

    def _array(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            raise AbsentError(f"{self.name}: has no '{name}'; its source does not provide it")
        return self._arrays[name]

    def _metres(self, stored: np.ndarray) -> Float[np.ndarray, "*s"]:
        return metres(stored)

    def _check(self, view: View, kind: StreamKind) -> None:
        if view not in self._meta.views:
            raise EpisodeError(f"{self.name}: has no camera '{view}', only {', '.join(self._meta.views)}")
        if kind not in self._meta.views[view].streams:
            raise EpisodeError(f"{self.name}: camera '{view}' has no {kind}")

    @cached_property
    def _frames(self) -> dict[int, int]:
        return {int(step): index for index, step in enumerate(self.frame_steps)}

    def _frame_index(self, step: int) -> int:
        index = self._frames.get(step)
        if index is None:
            steps = self.frame_steps
            raise EpisodeError(
                f"{self.name}: no image at step {step}; there are {len(steps)}, from step {steps[0]} to {steps[-1]}, "
                f"every {self.info.frame_stride}"
            )
        return index

    def _frame(self, view: View, kind: StreamKind, step: int) -> np.ndarray:
        self._check(view, kind)
        return self.stream(view, kind).frame(self._frame_index(step))

    def _depth_at(
        self, view: View, frame: int, rows: Integer[np.ndarray, " p"], columns: Integer[np.ndarray, " p"]
    ) -> Float[np.ndarray, " p"]:
        self._check(view, "depth")
        return self._metres(self.stream(view, "depth").pick(frame, rows, columns))

    def _depth_sampler(self, view: View, step: int) -> DepthAt | None:
        frame = self._frames.get(step)
        return None if frame is None else partial(self._depth_at, view, frame)

"""MCAP files of ROS 2: one file, one episode. Steps are the frames of the static camera (else of the first one).

Everything else is what was logged nearest to each step. See `mcap_topics` for which topic is what, `mcap_images` for
the images, `mcap_joints` for joints, `mcap_frames` for camera poses and tool pose from /tf, `mcap_lens` for calibration
and distortion.

Dimensions: t control step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from model.errors import EpisodeError, UnsafeFileError

from ..camera import Camera
from ..episode import STATE_NAMES, Episode, EpisodeInfo
from ..identity import content_hash
from ..lazy import LazyEpisode, Numbers
from ..rotations import quaternion
from ..schema import MAX_SIDE
from .mcap_file import MAGIC, McapFile, Topic, is_image, open_mcap, schema_name
from .mcap_frames import FrameTree
from .mcap_images import colours, depth
from .mcap_joints import joint_columns
from .mcap_lens import Lens, lens_of
from .mcap_topics import Gripper, TopicMap, map_topics
from .reader import EpisodeSummary, Reader
from .views import split_views, words_of

_NANO = 1e-9
_LAG = 2.0  # periods of the static camera; more is said
_NUMBERS = frozenset({"JointState", "Pose", "PoseStamped"})
_READ = _NUMBERS | {"TFMessage", "CameraInfo"}
_OF_ROS = frozenset({"rosout", "parameter_events", "diagnostics", "clock"})  # what every recording has: nobody asks
_POSE = STATE_NAMES[:7]


class McapReader:
    """Reads ROS 2 recordings in MCAP files."""

    format = "mcap"
    looks_for = "an MCAP file with ROS 2 images"

    def recognise(self, path: Path) -> bool:
        """Whether a file begins like MCAP."""
        try:
            if not path.is_file():
                return False
            with path.open("rb") as file:
                return file.read(len(MAGIC)) == MAGIC
        except OSError:
            return False

    def episodes(self, path: Path) -> Sequence[EpisodeSummary]:
        """The one episode; walks through the file."""
        opening = _Opening(path)
        topics = opening.topics
        summary = EpisodeSummary(
            name=f"{path}#0",
            source="mcap",
            instruction=topics.instruction,
            length=opening.length,
            views=tuple(topics.views),
            depth=("true", "metric") if opening.has_depth else None,
            outcome=topics.outcome,
        )
        return (summary,)

    def open(self, path: Path, index: int) -> Episode:
        """The episode; only index 0 exists."""
        if index != 0:
            raise EpisodeError(f"{path}: has one episode, #0; asked for #{index}")
        return _Opening(path).lazy()


class _Opening:
    """One file on its way to a `LazyEpisode`."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, open_mcap(path)
        self._sizes, unreadable = _looked_at(self._file)
        self.topics = map_topics(path, self._file.topics, unreadable)
        clock = _clock(self._file, self.topics, unreadable)
        self._times = np.sort(np.array(clock.times, np.int64))
        self._period = float(np.median(np.diff(self._times))) if len(self._times) > 1 else 1 / _NANO
        if not self._period:
            raise EpisodeError(f"{path}: '{clock.name}': most images were logged at one time; their rate is not known")
        self._notes = [f"the file is {self._file.complaint}"] if self._file.complaint else []
        self._notes += [_why_unused(name, unreadable, f"{path}: ") for name in self.topics.unused]
        cameras = [*self.topics.views.values(), *self.topics.others]
        self._depths = {name: topic for name in cameras if (topic := self._depth_topic(name)) is not None}

    @property
    def length(self) -> int:
        return len(self._times)

    @property
    def has_depth(self) -> bool:
        return any(name in self._depths for name in self.topics.views.values())

    def lazy(self) -> LazyEpisode:
        views, names = self.topics.views, [*self.topics.views.values(), *self.topics.others]
        cameras = {name: self._camera(name) for name in names}
        own, others = split_views(cameras, views)
        self._note_numbers()
        info = EpisodeInfo(
            source="mcap",
            instruction=self.topics.instruction,
            length=self.length,
            control_hz=1 / (self._period * _NANO),
            views=tuple(own),
            depth_scale="metric" if self.has_depth else None,
            depth_origin="true" if self.has_depth else None,
            has_exact_flow=False,
            outcome=self.topics.outcome,
            action_space=None,
            notes=tuple(self._notes),
        )
        sidecar = self._path.with_suffix(".topics.yaml")
        files = [self._path, *([sidecar] if sidecar.is_file() else [])]
        return LazyEpisode(
            name=f"{self._path}#0",
            info=info,
            content_hash=content_hash(self._path.parent, files, salt="mcap-3"),
            frame_steps=np.arange(len(self._times)),
            cameras=own,
            others=others,
            numbers=self._numbers,
        )

    def _camera(self, name: str) -> Camera:
        file, topic, size = self._file, self._file.topics[name], self._sizes[name]
        self._note_lag(topic)
        nearest = self._nearest(topic)
        where = f"{self._path}: '{name}'"
        lens = self._lens(name, size)
        straighten = None if lens is None else lens.straighten

        def rgb(step: int) -> np.ndarray:
            image = colours(file.message(topic, int(nearest[step])), f"{where} step {step}")
            return image if straighten is None else straighten(image, False)

        frame = str(file.message(topic, int(nearest[0])).header.frame_id).lstrip("/")
        return Camera(
            source_name=name,
            size=size,
            rgb=rgb,
            depth=self._depth(name, lens),
            K=None if lens is None else lens.K,
            T_world_camera=self._camera_pose(name, frame),
        )

    def _depth_topic(self, name: str) -> Topic | None:
        """The depth that belongs to a camera, if it can be read and is of the same size."""
        topic = self._file.topics.get(self.topics.depth.get(name, ""))
        if topic is None:
            return None
        try:
            size = depth(self._file.message(topic, 0), f"'{topic.name}'").shape
        except (EpisodeError, UnsafeFileError) as error:
            self._notes.append(f"{error}; it is left out")
            return None
        if size != self._sizes[name]:
            self._notes.append(
                f"'{topic.name}' is {size}, its camera {self._sizes[name]}: not aligned, so it is not read"
            )
            return None
        return topic

    def _depth(self, name: str, lens: Lens | None) -> Callable[[int], np.ndarray] | None:
        """How to read the depth that belongs to a camera."""
        topic = self._depths.get(name)
        if topic is None:
            return None
        self._note_lag(topic)
        file, nearest, where = self._file, self._nearest(topic), f"{self._path}: '{topic.name}'"
        straighten = None if lens is None else lens.straighten

        def read(step: int) -> np.ndarray:
            image = depth(file.message(topic, int(nearest[step])), f"{where} step {step}")
            return image if straighten is None else straighten(image, True)

        return read

    def _lens(self, name: str, size: tuple[int, int]) -> Lens | None:
        topic = self._file.topics.get(self.topics.camera_info.get(name, ""))
        if topic is None or not topic.times:
            return None
        lens = lens_of(self._file.message(topic, 0), name, size)
        if lens is None:
            self._notes.append(f"'{topic.name}' holds no calibration")
        elif lens.note:
            self._notes.append(lens.note)
        return lens

    @cached_property
    def _frames(self) -> FrameTree:
        tree = FrameTree(self._file)
        self._notes += tree.notes
        return tree

    def _camera_pose(self, name: str, frame: str) -> Float[np.ndarray, "t 4 4"] | None:
        """The camera in the world by /tf; its frame is the one its images are stamped with, or that of the map."""
        named = self.topics.frames
        view = next((view for view, topic in self.topics.views.items() if topic == name), "")
        frame = named.get(view, frame)
        if frame not in self._frames:
            if view in named:
                raise EpisodeError(
                    f"{self._path}: no frame '{frame:.60}'; /tf has {', '.join(self._frames.names)[:400]}"
                )
            return None
        world = named.get("world") or self._frames.root(frame)
        poses = self._frames.pose(frame, world, self._times)
        if poses is None:
            self._notes.append(f"'{name}': /tf does not connect its frame '{frame}' with '{world}'; it has no pose")
        elif "optical" not in frame:
            self._notes.append(
                f"'{name}': its frame '{frame}' is taken for an optical one (x right, y down, z forward)"
            )
        return poses

    def _nearest(self, topic: Topic) -> Integer[np.ndarray, " t"]:
        """For each step the index of the topic's message that was logged nearest to it."""
        times = np.array(topic.times, np.int64)
        order = np.argsort(times, kind="stable")
        after = np.clip(np.searchsorted(times[order], self._times), 1, max(1, len(times) - 1))
        before = after - 1
        closer = np.abs(times[order][before] - self._times) <= np.abs(
            times[order][np.minimum(after, len(times) - 1)] - self._times
        )
        return order[np.where(closer, before, np.minimum(after, len(times) - 1))]

    def _note_lag(self, topic: Topic) -> None:
        """Says how far away from the steps a topic's messages are, if that is far."""
        lag = float(np.abs(np.array(topic.times, np.int64)[self._nearest(topic)] - self._times).max())
        if lag > _LAG * self._period:
            self._notes.append(f"'{topic.name}' is up to {lag * 1e-6:.0f} ms away from the steps it is shown at")

    def _note_numbers(self) -> None:
        """Says which topics are not shown, and which lag behind; without decoding a message of them."""
        unread: list[str] = []
        for name, topic in sorted(self._file.topics.items()):
            kind = schema_name(topic)
            if kind in _NUMBERS and topic.times:
                self._note_lag(topic)
            elif topic.times and kind not in _READ and not is_image(topic) and name.lstrip("/") not in _OF_ROS:
                unread.append(f"{name} ({kind})")
        if unread:
            self._notes.append(f"not read, for they are neither images nor joints nor poses: {', '.join(unread)[:300]}")

    def _numbers(self) -> Numbers:
        features: dict[str, np.ndarray] = {}
        names: dict[str, Sequence[str]] = {}
        for name, topic in sorted(self._file.topics.items()):
            kind = schema_name(topic)
            if kind == "JointState" and topic.times:
                features |= joint_columns(self._file, topic, self._nearest)
            elif kind in ("Pose", "PoseStamped") and topic.times:
                features[name], names[name] = self._poses(topic), _POSE
        return Numbers(state=self._state(), features=features, names=names)

    def _poses(self, topic: Topic) -> Float[np.ndarray, "t 7"]:
        """Position and quaternion wxyz, as `_POSE` names them."""
        messages = [self._file.message(topic, int(index)) for index in self._nearest(topic)]
        poses = [getattr(message, "pose", message) for message in messages]
        return np.array([_pose_row(pose) for pose in poses], np.float64)

    def _state(self) -> Float[np.ndarray, "t 8"] | None:
        gripper, pose = self.topics.gripper, self.topics.pose
        if gripper is None:
            return None
        if pose is None:
            poses = self._tool_by_tf(self.topics.frames["tool"])
        else:
            poses = self._poses(self._file.topics[pose])
            length = np.linalg.norm(poses[:, 3:], axis=1, keepdims=True)
            if not np.isfinite(poses).all() or (np.abs(length - 1) > 0.01).any():
                raise EpisodeError(f"{self._path}: '{pose}' holds something that is no pose")
            poses[:, 3:] /= length
        return np.concatenate([poses, self._opening(gripper)[:, None]], axis=1)

    def _tool_by_tf(self, frame: str) -> Float[np.ndarray, "t 7"]:
        """Position and quaternion wxyz of the tool's frame in the world."""
        known = frame in self._frames
        world = self.topics.frames.get("world") or self._frames.root(frame)
        poses = self._frames.pose(frame, world, self._times) if known else None
        if poses is None:
            names = ", ".join(self._frames.names)[:400] or "none"
            raise EpisodeError(
                f"{self._path}: /tf does not say where '{frame:.60}' is in '{world:.60}'; it has {names}"
            )
        return np.concatenate([poses[:, :3, 3], quaternion(poses[:, :3, :3])], axis=1)

    def _opening(self, gripper: Gripper) -> Float[np.ndarray, " t"]:
        """0 shut .. 1 open."""
        joints = joint_columns(self._file, self._file.topics[gripper.topic], self._nearest)
        position = joints.get(f"{gripper.topic}/position/{gripper.joint}")
        if position is None:
            raise EpisodeError(f"{self._path}: '{gripper.topic}' has no position of joint '{gripper.joint:.40}'")
        return np.clip((position[:, 0] - gripper.shut) / (gripper.open - gripper.shut), 0.0, 1.0)


def _looked_at(file: McapFile) -> tuple[dict[str, tuple[int, int]], dict[str, EpisodeError | UnsafeFileError]]:
    """(height, width) of the first image of every topic that can be read as colours; why not, of the others."""
    sizes: dict[str, tuple[int, int]] = {}
    unreadable: dict[str, EpisodeError | UnsafeFileError] = {}
    for name, topic in file.topics.items():
        if not is_image(topic):
            continue
        where = f"{file.path}: '{name}'"
        try:
            height, width = colours(file.message(topic, 0), where).shape[:2]
            if max(height, width) > MAX_SIDE:
                raise EpisodeError(f"{where}: images of {width} x {height} pixels, at most {MAX_SIDE} a side")
            sizes[name] = height, width
        except (EpisodeError, UnsafeFileError) as error:
            unreadable[name] = error
    return sizes, unreadable


def _why_unused(name: str, unreadable: Mapping[str, Exception], prefix: str) -> str:
    words = words_of(name)
    if "depth" in words:
        return f"'{name}' is the depth of no camera here; it is left out"
    if name in unreadable:
        return f"{str(unreadable[name]).removeprefix(prefix)}; it is left out"
    return f"'{name}' is infrared; it is left out unless the .topics.yaml names it"


def _clock(file: McapFile, topics: TopicMap, unreadable: Mapping[str, Exception]) -> Topic:
    """The topic whose messages are the steps."""
    names = [*topics.views.values(), *topics.others]
    if names:
        return file.topics[names[0]]
    for name in topics.unused:
        if name in unreadable and "depth" not in words_of(name):
            raise unreadable[name]
    others = sorted({topic.message_encoding for topic in file.topics.values()} - {"cdr", ""})
    why = f" ({', '.join(others)[:60]} is not read, ROS 2's cdr is)" if others else ""
    raise EpisodeError(
        f"{file.path}: has no topic of colour images; it has {', '.join(sorted(file.topics))[:400]}{why}"
    )


def _pose_row(pose: Any) -> list[float]:
    p, q = pose.position, pose.orientation
    return [p.x, p.y, p.z, q.w, q.x, q.y, q.z]


READER: Reader = McapReader()

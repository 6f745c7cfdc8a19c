"""LeRobot datasets v2.x and v3.0: one folder, many episodes, named by their `episode_index`.

See `lerobot_meta` for the layout, `lerobot_cameras` for images and depth, `lerobot_numbers` for what of state and
action is interpreted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import EpisodeError

from ..camera import Camera
from ..episode import Episode, EpisodeInfo, Outcome
from ..identity import content_hash
from ..lazy import LazyEpisode
from ..media.video import Video, is_cut_off
from ..safe_path import plain_file
from .lerobot_cameras import (
    ParquetImages,
    Read,
    depth_pixels,
    image_size_of,
    is_depth,
    read_depth_images,
    read_depth_video,
    read_images,
    read_video,
    readable_frames,
)
from .lerobot_meta import INFO, EpisodeEntry, LeRobotMeta
from .lerobot_numbers import interpret
from .libero_style import NOTE, mirrored_back, with_libero_intrinsics
from .reader import EpisodeSummary, Reader
from .safe_parquet import ParquetTable, numbers_of
from .views import assign_views, split_views, words_of

_MAX_VIDEO = 64 << 30
_WIDEST = 128  # entries; wider features are not shown
_VERSION = re.compile(rb'"codebase_version"\s*:\s*"v[23]')
_MAX_INFO = 4 << 20
_DEPTH_WORDS = {"depth", "observation", "observations", "images", "image", "rgb", "color"}


class LeRobotReader:
    """Reads datasets of huggingface/lerobot, v2.0 to v3.x, as they lie on disk or in the hub's cache."""

    format = "lerobot"
    looks_for = f"a LeRobot dataset v2 or v3 ({INFO})"

    def recognise(self, path: Path) -> bool:
        """Whether a folder has a meta/info.json that names a codebase_version of 2 or 3."""
        info = path / INFO
        try:
            if not info.is_file() or info.stat().st_size > _MAX_INFO:
                return False
            return _VERSION.search(info.read_bytes()) is not None
        except OSError:
            return False

    def episodes(self, path: Path) -> Sequence[EpisodeSummary]:
        """All episodes; reads meta data only."""
        meta = LeRobotMeta(path)
        cameras = _camera_keys(meta)
        views = tuple(assign_views(cameras))
        depth = ("true", "metric") if len(cameras) < len(_image_keys(meta)) else None
        return [
            EpisodeSummary(
                name=f"{path}#{entry.index}",
                source=_source(meta),
                instruction=entry.tasks[0] if entry.tasks else "",
                length=entry.length,
                views=views,
                depth=depth,
                outcome=None,
            )
            for entry in meta.episodes.values()
        ]

    def open(self, path: Path, index: int) -> Episode:
        """One episode by its `episode_index`; reads its numbers, no image."""
        meta = LeRobotMeta(path)
        entry = meta.episodes.get(index)
        if entry is None:
            raise EpisodeError(f"{path}: has no episode #{index}; its {len(meta.episodes)} are {_range(meta)}")
        return _Opening(meta, entry).lazy()


class _Opening:
    """One episode on its way to a `LazyEpisode`."""

    def __init__(self, meta: LeRobotMeta, entry: EpisodeEntry) -> None:
        self._meta, self._entry = meta, entry
        self._name = f"{meta.root}#{entry.index}"
        self._path = meta.data_file(entry)
        self._table = ParquetTable(self._path, meta.allowed)
        self._notes: list[str] = []
        self._files = [self._path]

    def lazy(self) -> LazyEpisode:
        features = self._features()
        numbers, space, mirrored = interpret(features, self._meta.features, _camera_keys(self._meta))
        cameras = self._cameras(mirrored)
        views = assign_views(cameras)
        second = next((key for key in cameras if key not in views.values()), None)
        if mirrored and second is not None:  # LIBERO's image and image2
            views |= {"wrist": second}
        own, others = split_views(cameras, views)
        if mirrored:
            own = with_libero_intrinsics(own)
            self._notes.append(NOTE)
        has_depth = any(camera.depth is not None for camera in own.values())
        info = EpisodeInfo(
            source=_source(self._meta),
            instruction=self._entry.tasks[0] if self._entry.tasks else "",
            length=self._length,
            control_hz=self._meta.fps,
            views=tuple(own),
            depth_scale="metric" if has_depth else None,
            depth_origin="true" if has_depth else None,
            has_exact_flow=False,
            outcome=_outcome(features),
            action_space=space,
            assumed=tuple(f"K.{view}" for view in own if mirrored),
            notes=tuple(self._notes),
        )
        root = self._meta.root
        salt = f"lerobot-1 {self._entry.index}"
        return LazyEpisode(
            name=self._name,
            info=info,
            content_hash=content_hash(root, [root / INFO, *dict.fromkeys(self._files)], salt=salt),
            frame_steps=np.arange(self._length),
            cameras=own,
            others=others,
            numbers=lambda: numbers,
        )

    @cached_property
    def _rows(self) -> tuple[int, int]:
        """The rows that are shown, from .. to: all of the episode's, or as many as a video that was cut off has."""
        start, stop = self._all_rows
        left = min((count for count in self._left.values() if count), default=stop - start)
        if left < stop - start:
            self._notes.append(f"ends at step {left} of {stop - start}: a video is cut off")
        return start, start + min(left, stop - start)

    @cached_property
    def _left(self) -> dict[str, int]:
        """For each video that was cut off, how many of the episode's frames can be read."""
        found: dict[str, int] = {}
        for key, feature in _image_keys(self._meta).items():
            path = self._meta.video(self._entry, key).path if feature.get("dtype") == "video" else None
            if path is not None and path.is_file() and is_cut_off(path):
                plain_file(path, self._meta.allowed, max_bytes=_MAX_VIDEO)
                found[key] = self._readable(key, self._all_rows[1] - self._all_rows[0])
                if not found[key]:
                    name = path.relative_to(self._meta.root)
                    self._notes.append(f"'{key}' is absent: {name} is cut off, and nothing of it can be read here")
        return found

    def _readable(self, key: str, count: int) -> int:
        span = self._meta.video(self._entry, key)
        pixels = "gray12le" if is_depth(self._meta.features[key]) else "rgb24"
        video = Video(span.path, span=span.span, pixels=pixels)
        return readable_frames(video, self._times(key, count), self._tolerance)

    @property
    def _tolerance(self) -> float:
        return 0.6 / self._meta.fps

    def _times(self, key: str, count: int) -> np.ndarray:
        span = self._meta.video(self._entry, key).span
        return (span[0] if span else 0.0) + np.arange(count) / self._meta.fps

    @cached_property
    def _all_rows(self) -> tuple[int, int]:
        """The episode's rows of its file, from .. to: its `episode_index` says which."""
        column = numbers_of(self._table.read(["episode_index"]).column(0), f"{self._path}: 'episode_index'")[:, 0]
        rows = np.flatnonzero(column == self._entry.index)
        if not len(rows) or rows[-1] - rows[0] + 1 != len(rows):
            raise EpisodeError(f"{self._path}: has no unbroken stretch of rows of episode {self._entry.index}")
        if len(rows) != self._entry.length:
            self._notes.append(f"has {len(rows)} of the {self._entry.length} steps that its meta data announce")
        return int(rows[0]), int(rows[-1]) + 1

    @property
    def _length(self) -> int:
        return self._rows[1] - self._rows[0]

    def _features(self) -> dict[str, np.ndarray]:
        """Every column of numbers, but the bookkeeping ones."""
        found: dict[str, np.ndarray] = {}
        for key, feature in self._meta.features.items():
            dtype = str(feature.get("dtype"))
            if key not in self._table.columns or not dtype.startswith(("float", "int", "uint", "bool")):
                continue
            if key in ("index", "episode_index", "frame_index", "task_index") or _width(feature) > _WIDEST:
                continue
            column = self._table.read([key], rows=self._rows).column(0)
            try:
                found[key] = numbers_of(column, f"'{key}'")
            except EpisodeError as error:
                self._notes.append(f"{error}; it is left out")
        return found

    def _cameras(self, mirrored: bool) -> dict[str, Camera]:
        cameras: dict[str, Camera] = {}
        depth = {key: feature for key, feature in _image_keys(self._meta).items() if is_depth(feature)}
        for key in _camera_keys(self._meta):
            read = self._read(key)
            if read is None:
                continue
            own = next((name for name in depth if _bare(name) == _bare(key)), None)
            if own is None and len(depth) == 1 and len(_camera_keys(self._meta)) == 1:
                own = next(iter(depth))
            cameras[key] = Camera(
                source_name=key,
                size=image_size_of(self._meta.features[key], f"{self._meta.root / INFO}: '{key}'"),
                rgb=(lambda frame, read=read: mirrored_back(read(frame))) if mirrored else read,
                depth=None if own is None else self._depth(own),
            )
        return cameras

    def _depth(self, key: str) -> Read | None:
        """How to read depth, None where its video is not there or is of a kind that is not read."""
        feature = self._meta.features[key]
        if feature.get("dtype") == "video":
            try:
                depth_pixels(feature, f"'{key}'")
            except EpisodeError as error:
                self._notes.append(f"{error}; it is left out")
                return None
        return self._read(key)

    def _read(self, key: str) -> Read | None:
        """How to read the frames of a camera, None where its video is not there."""
        feature = self._meta.features[key]
        where = f"{self._name}: '{key}'"
        if feature.get("dtype") == "image":
            images = ParquetImages(self._table, key, self._rows[0])
            return read_depth_images(images, feature, where) if is_depth(feature) else read_images(images, where)
        found = self._meta.video(self._entry, key)
        if not found.path.is_file():  # a set downloaded without its videos
            self._notes.append(f"'{key}' is absent: {found.path.relative_to(self._meta.root)} is missing")
            return None
        plain_file(found.path, self._meta.allowed, max_bytes=_MAX_VIDEO)
        self._files.append(found.path)
        if self._left.get(key) == 0:
            return None
        times, tolerance = self._times(key, self._length), self._tolerance
        if not is_depth(feature):
            return read_video(Video(found.path, span=found.span), times, where, tolerance)
        video = Video(found.path, span=found.span, pixels="gray12le")
        return read_depth_video(read_video(video, times, where, tolerance), feature, where)


def _source(meta: LeRobotMeta) -> str:
    robot = meta.info.get("robot_type")
    return f"lerobot {robot}" if isinstance(robot, str) and 0 < len(robot) < 60 else "lerobot"


def _range(meta: LeRobotMeta) -> str:
    indices = list(meta.episodes)
    return f"#{indices[0]} to #{indices[-1]}"


def _image_keys(meta: LeRobotMeta) -> dict[str, dict[str, Any]]:
    """Features that are images or videos, depth included."""
    return {key: feature for key, feature in meta.features.items() if feature.get("dtype") in ("image", "video")}


def _camera_keys(meta: LeRobotMeta) -> list[str]:
    return [key for key, feature in _image_keys(meta).items() if not is_depth(feature)]


def _width(feature: Mapping[str, Any]) -> int:
    shape = feature.get("shape")
    return math.prod(shape) if isinstance(shape, list) and all(isinstance(length, int) for length in shape) else 1


def _bare(key: str) -> list[str]:
    return [word for word in words_of(key) if word not in _DEPTH_WORDS]


def _outcome(features: Mapping[str, np.ndarray]) -> Outcome | None:
    """What `next.success` says at the end; nothing where it is not recorded."""
    success = features.get("next.success")
    if success is None or not len(success):
        return None
    return "success" if success.any() else "failure"


READER: Reader = LeRobotReader()

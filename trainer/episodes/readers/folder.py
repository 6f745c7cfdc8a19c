"""What a lab with a camera has: a folder with a video or images of each view, and whatever else is known; or one video.

See `folder_views` for images, `folder_depth`, `folder_facts` for meta.yaml, `folder_cameras`. State and actions:

    state.csv | .json | .npz | .npy     any columns of numbers; x y z qw qx qy qz gripper (any order): the tool's pose
    actions.csv | .json | .npz | .npy   any columns; seven of them, and an `action_space` in meta.yaml, are the command:
                                        xyz, axis-angle, gripper 0 shut .. 1 open, in this order

A lone video file is an episode too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from model.errors import EpisodeError, UnsafeFileError

from ..camera import Camera
from ..episode import Episode, EpisodeInfo, View
from ..identity import content_hash
from ..lazy import LazyEpisode, Numbers
from .folder_cameras import CameraFacts, read_cameras
from .folder_depth import DepthClip, depth_clip
from .folder_facts import Facts, fact_files, read_facts
from .folder_numbers import Placed, frame_numbers
from .folder_tables import find_table, flat, read_table
from .folder_views import Clip, FoundView, find_views, image_clip, looks_like_video, unused_beside, video_clip
from .reader import EpisodeSummary, Reader
from .tool_pose import tool_pose
from .views import assign_views, split_views

_ASSUMED_HZ = 10.0
_READ = (
    "views are MP4, MOV, MKV, WebM, AVI, or folders of PNG or JPEG, named cam, front, wrist, ... or beside a meta.yaml"
)
# What is shorter than the images by more than this share is not of this episode; what is so much longer than all of
# them, and none of them is damaged, came at another rate, and its first rows are not those of the frames.
_TOLERATED = 0.1


class FolderReader:
    """Reads folders of videos or images, and lone videos."""

    format = "folder"
    looks_for = (
        "a video (mp4, mov, mkv, webm, avi), or a folder with static.mp4 or static/*.png (and wrist, front, ...; "
        "any names beside a meta.yaml), or with numbered images"
    )

    def recognise(self, path: Path) -> bool:
        """Whether it is a video, or a folder with a video or images named after a view."""
        if path.is_file():
            return looks_like_video(path)
        try:
            found = find_views(path)
        except UnsafeFileError:
            return True  # opening it says why it is refused
        return any(view.images or view.unread or looks_like_video(view.video or path) for view in found)

    def episodes(self, path: Path) -> Sequence[EpisodeSummary]:
        """The one episode; reads no video."""
        if path.is_file():
            return [_summary(path, "video", Facts(), None, {"static": ""}, depth=False)]
        found, facts = [view for view in find_views(path) if view.video or view.images], read_facts(path)
        views = assign_views(view.name for view in found)
        depth = facts.depth_unit is not None and any(view.depth for view in found)
        lengths = [len(view.images) for view in found]
        length = min(lengths) if lengths and all(lengths) else None
        return [_summary(path, "folder", facts, length, views, depth=depth)]

    def open(self, path: Path, index: int) -> Episode:
        """The episode; only index 0 exists. Reads the index of each video, and its first images for their size."""
        if index != 0:
            raise EpisodeError(f"{path}: has one episode, #0; asked for #{index}")
        return _open_video(path) if path.is_file() else _Opening(path).lazy()


def _open_video(named: Path) -> LazyEpisode:
    path = named.resolve()  # whoever names a link means what it leads to; links found below a root were looked at
    clip = video_clip(path, path.parent)
    info = EpisodeInfo(
        source="video",
        instruction="",
        length=clip.length,
        control_hz=clip.rate or _ASSUMED_HZ,
        views=("static",),
        depth_scale=None,
        depth_origin=None,
        has_exact_flow=False,
        outcome=None,
        action_space=None,
        notes=(clip.note,) if clip.note else (),
    )
    return LazyEpisode(
        name=f"{named}#0",
        info=info,
        content_hash=content_hash(path.parent, [path], salt="video-1"),
        frame_steps=np.arange(clip.length),
        cameras={"static": Camera(source_name=path.name, size=clip.size, rgb=clip.rgb)},
    )


class _Opening:
    """One folder on its way to a `LazyEpisode`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        found = find_views(path)
        self._found = [view for view in found if view.video or view.images]
        if not self._found:
            raise EpisodeError(f"{found[0].unread if found else path}: such images are not read; {_READ}")
        self._facts = read_facts(path)
        self._known, of_cameras = read_cameras(path, [view.name for view in self._found])
        self._frames = self._frame_numbers()
        self._notes: list[str] = []
        self._clips = {view.name: self._clip(view) for view in self._found}
        self._notes += [*self._facts.notes, *of_cameras]
        if unused := unused_beside(path, self._found):
            self._notes.append(f"not read: {', '.join(unused)[:300]}; {_READ}")
        self._tables: list[Path] = []
        self._length = min(clip.length for clip in self._clips.values())
        if any(clip.length != self._length for clip in self._clips.values()):
            counts = ", ".join(f"{name} {clip.length}" for name, clip in self._clips.items())
            self._notes.append(f"its views have different lengths ({counts} frames): ends with the shortest")
        rates = {name: clip.rate for name, clip in self._clips.items() if clip.rate is not None}
        if rates and max(rates.values()) > (1 + _TOLERATED) * min(rates.values()):
            told = ", ".join(f"{name} {rate:g}" for name, rate in rates.items())
            self._notes.append(f"its views have different rates ({told} a second) and are paired frame by frame")
        self._depths = {view.name: self._depth(view) for view in self._found}

    def lazy(self) -> LazyEpisode:
        facts = self._facts
        numbers = self._numbers()
        cameras = {view.name: self._camera(view) for view in self._found}
        own, others = split_views(cameras, assign_views(cameras))
        rates = [clip.rate for clip in self._clips.values() if clip.rate is not None]
        hz = facts.fps or (rates[0] if rates else _ASSUMED_HZ)
        has_depth = any(camera.depth is not None for camera in own.values())
        info = EpisodeInfo(
            source="folder",
            instruction=facts.instruction,
            length=self._length,
            control_hz=hz,
            views=tuple(own),
            depth_scale=facts.depth_scale if has_depth else None,
            depth_origin=facts.depth_origin if has_depth else None,
            has_exact_flow=False,
            outcome=facts.outcome,
            action_space=facts.action_space if numbers.action is not None else None,
            assumed=() if facts.fps or rates else ("control_hz",),
            notes=tuple(self._notes),
        )
        files = [*(path for view in self._found for path in view.files), *fact_files(self._path), *self._tables]
        return LazyEpisode(
            name=f"{self._path}#0",
            info=info,
            content_hash=content_hash(self._path, files, salt="folder-2"),
            frame_steps=np.arange(self._length),
            cameras=own,
            others=others,
            numbers=lambda: numbers,
        )

    def _frame_numbers(self) -> list[int] | None:
        """The numbers of all frames, where images that were dropped can be told by them."""
        has_depth = self._facts.depth_unit is not None
        sequences = [images for view in self._found for images in (view.images, view.depth if has_depth else [])]
        return frame_numbers(images for images in sequences if len(images) > 1)

    def _clip(self, view: FoundView) -> Clip:
        """The frames of a view; notes say what is wrong with them."""
        clip = video_clip(view.video, self._path) if view.video else image_clip(view.images, self._path)
        self._notes += filter(None, [clip.note])
        if self._frames is None or not view.images:
            return clip

        def absent(number: int) -> NoReturn:
            raise EpisodeError(f"{view.images[0].parent}: has no image of number {number}")

        placed = Placed(view.images[: clip.length], self._frames)
        self._notes += [f"'{view.name}' {note}" for note in placed.notes]
        return replace(clip, length=len(placed), rgb=placed.reader(clip.rgb, absent))

    def _depth(self, view: FoundView) -> DepthClip | None:
        """The depth of a view; where it cannot be used, a note says why."""
        what = f"the depth of '{view.name}'"
        if not view.depth:
            return None
        if self._facts.depth_unit is None:
            self._notes.append(f"{what} is not read: meta.yaml states no depth_unit")
            return None
        try:
            depth = depth_clip(view.depth, self._path, self._facts.depth_unit, self._clips[view.name].size)
        except EpisodeError as error:
            self._notes.append(f"{what} is not read: {error}")
            return None
        if self._frames is not None and len(view.depth) > 1:
            placed, size = Placed(view.depth[: depth.length], self._frames), self._clips[view.name].size
            read = placed.reader(depth.read, lambda _: np.full(size, np.nan, np.float32))
            depth = replace(depth, length=len(placed), read=read, notes=(*depth.notes, *placed.notes))
        self._notes += [f"{what}: {note}" for note in depth.notes]
        return depth if self._fits(what, depth.length, "images") else None

    def _fits(self, what: str, count: int, entries: str) -> bool:
        """Whether something that has so many entries is of this episode; what is a little shorter ends it."""
        longest = max(clip.length for clip in self._clips.values())
        whole = not any(clip.note for clip in self._clips.values())
        is_long = whole and count - longest > max(1, _TOLERATED * longest)
        if is_long or self._length - count > max(1, _TOLERATED * self._length):
            self._notes.append(f"{what} is not read: it has {count} {entries} for {self._length} frames")
            return False
        if count != self._length:
            self._notes.append(f"{what} has {count} {entries} for {self._length} frames: ends with the shorter")
        self._length = min(self._length, count)
        return True

    def _camera(self, view: FoundView) -> Camera:
        clip, known, depth = self._clips[view.name], self._known.get(view.name), self._depths[view.name]
        return Camera(
            source_name=view.name,
            size=clip.size,
            rgb=clip.rgb,
            depth=None if depth is None else depth.read,
            K=None if known is None else _intrinsics(known, clip.size),
            T_world_camera=None if known is None else self._poses(known, view.name),
        )

    def _poses(self, known: CameraFacts, name: str) -> np.ndarray | None:
        poses = known.T_world_camera
        if poses is None:
            return None
        if poses.ndim == 2:
            return np.broadcast_to(poses, (self._length, 4, 4))
        if len(poses) < self._length:
            self._notes.append(f"the poses of '{name}' are not read: {len(poses)} for {self._length} steps")
            return None
        return poses[: self._length]

    def _numbers(self) -> Numbers:
        features: dict[str, np.ndarray] = {}
        state, action = self._table(features, "state", "states"), self._table(features, "actions", "action")
        pose = None if state is None else tool_pose(state[0], [name.lower() for name in state[1]])
        command = None
        if action is not None and self._facts.action_space is not None and action[0].shape[1] == 7:
            command = action[0] if np.isfinite(action[0]).all() else None
        end = self._length  # the second table may have been the shorter one
        return Numbers(
            state=None if pose is None else pose[:end],
            action=None if command is None else command[:end],
            features={name: column[:end] for name, column in features.items()},
        )

    def _table(self, features: dict[str, np.ndarray], *stems: str) -> tuple[np.ndarray, list[str]] | None:
        """One table cut to the episode's length, its columns added to the features."""
        path = find_table(self._path, *stems)
        if path is None:
            return None
        self._tables.append(path)
        try:
            read = read_table(path, self._path)
        except EpisodeError as error:
            self._notes.append(f"{path.name} is not read: {str(error).removeprefix(f'{path}: ')}")
            return None
        self._notes += [f"{path.name}: {note}" for note in read.notes]
        table, rows = read.columns, len(next(iter(read.columns.values())))
        if not self._fits(path.name, rows, "rows"):
            return None
        features |= {f"{stems[0]}/{name}": column for name, column in table.items()}
        return flat(table)


def _intrinsics(known: CameraFacts, size: tuple[int, int]) -> np.ndarray | None:
    """K in pixels of the images, whatever size it was measured at."""
    if known.K is None or known.size is None:
        return known.K
    return np.diag([size[1] / known.size[1], size[0] / known.size[0], 1.0]) @ known.K


def _summary(
    path: Path, source: str, facts: Facts, length: int | None, views: dict[View, str], *, depth: bool
) -> EpisodeSummary:
    return EpisodeSummary(
        name=f"{path}#0",
        source=source,
        instruction=facts.instruction,
        length=length,
        views=tuple(views),
        depth=(facts.depth_origin, facts.depth_scale) if depth else None,
        outcome=facts.outcome,
    )


READER: Reader = FolderReader()

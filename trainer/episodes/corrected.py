"""An episode as its source setting says it should have been: `corrected(episode, setting)`.

Frames, poses and numbers are changed when they are asked for; nothing is copied or decoded before. The geometry is
computed from corrected parts: exact tracks of an episode of our own schema start at corrected pixels, of corrected
depth, through corrected intrinsics.

A static camera of unknown pose that gets intrinsics stands in the origin and looks level along the world's x axis, so
that 3D can be drawn; it says nothing about where the robot is. What was supplied stands in `EpisodeInfo.assumed`, what
was changed in `EpisodeInfo.corrected`.

Dimensions: t control step, h w pixels, p picked pixel.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, UInt8

from model.errors import ConfigError

from .base import StreamEpisode
from .camera import Camera
from .corrections import metric, stored_pixels, turned, view_intrinsics, view_pose
from .episode import VIEWS, ActionSpace, Episode, EpisodeInfo, View
from .lazy import LazyEpisode, Numbers
from .schema import StreamKind
from .source_settings import SourceSetting, Turn, ViewSetting
from .streams import Stream

_Convert = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def corrected(episode: Episode, setting: SourceSetting) -> Episode:
    """The episode with a setting applied; itself where the setting changes nothing of it.

    Raises:
        ConfigError: The setting needs something that this episode does not have; says what to give.
    """
    setting = _relevant(setting, episode)
    if setting.empty:
        return episode
    if isinstance(episode, LazyEpisode):
        return CorrectedLazyEpisode(episode, setting)
    if isinstance(episode, StreamEpisode):
        return CorrectedStreamEpisode(episode, setting)
    raise ConfigError(f"{episode.name}: a source setting is for episodes as they are read")


class CorrectedLazyEpisode(LazyEpisode):
    """A corrected episode of a foreign format.

    Attributes:
        original: As it was read.
        setting: What corrects it.
    """

    def __init__(self, original: LazyEpisode, setting: SourceSetting) -> None:
        self.original, self.setting = original, setting
        super().__init__(
            name=original.name,
            info=_info(original, setting),
            content_hash=_content_hash(original, setting),
            frame_steps=original.frame_steps,
            cameras={view: _corrected_camera(original, view, setting.view(view)) for view in original.cameras},
            others=original.others,
            numbers=self._corrected_numbers,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return corrected, (self.original, self.setting)

    def _corrected_numbers(self) -> Numbers:
        numbers = self.original.numbers
        if numbers.state is not None and self.setting.invert_gripper_state:
            numbers = dataclasses.replace(numbers, state=_inverted(numbers.state))
        if numbers.action is not None and self.setting.invert_gripper_action:
            numbers = dataclasses.replace(numbers, action=_inverted(numbers.action))
        return numbers


class CorrectedStreamEpisode(StreamEpisode):
    """A corrected episode of our own schema, with its exact flow.

    Attributes:
        original: As it was read.
        setting: What corrects it.
    """

    def __init__(self, original: StreamEpisode, setting: SourceSetting) -> None:
        self.original, self.setting = original, setting
        meta = dataclasses.replace(original._meta, info=_info(original, setting))
        super().__init__(original.name, meta, _content_hash(original, setting))

    def __reduce__(self) -> tuple[Any, ...]:
        return corrected, (self.original, self.setting)

    def stream(self, view: View, kind: StreamKind) -> Stream:
        """Frames by index; depth is float metres here."""
        self._check(view, kind)
        setting = self.setting.view(view)
        K = self.intrinsics(view) if kind == "depth" and setting.ray_length else None

        def convert(stored: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
            if kind == "depth":
                return metric(self.original._metres(stored), rows, columns, setting, K)
            return stored[..., ::-1] if kind == "rgb" and setting.swap_red_blue else stored

        return _CorrectedStream(self.original.stream(view, kind), self.image_size(view), setting.turn, convert)

    def _metres(self, stored: np.ndarray) -> Float[np.ndarray, "*s"]:
        return stored

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = dict(self.original._arrays)
        if "state" in arrays and self.setting.invert_gripper_state:
            arrays["state"] = _inverted(arrays["state"])
        if "action" in arrays and self.setting.invert_gripper_action:
            arrays["action"] = _inverted(arrays["action"])
        for view in self.info.views:
            K, pose = _camera(self.original, view, self.setting.view(view))
            arrays |= {f"K.{view}": K} if K is not None else {}
            arrays |= {f"T_world_camera.{view}": pose} if pose is not None else {}
        return arrays


class _CorrectedStream:
    """Frames of another stream, turned and converted. What is returned must not be written to."""

    def __init__(self, stream: Stream, size: tuple[int, int], turn: Turn, convert: _Convert) -> None:
        self._stream, self._size, self._convert = stream, size, convert
        self._turn: Turn = turn

    def frame(self, index: int) -> np.ndarray:
        """One frame."""
        return self._convert(turned(self._stream.frame(index), self._turn), *np.indices(self._size, sparse=True))

    def pick(self, index: int, rows: Integer[np.ndarray, " p"], columns: Integer[np.ndarray, " p"]) -> np.ndarray:
        """The values of some pixels of one frame."""
        stored = stored_pixels(rows, columns, self._size, self._turn)
        return self._convert(self._stream.pick(index, *stored), rows, columns)


def _relevant(setting: SourceSetting, episode: Episode) -> SourceSetting:
    """The setting without what this episode lacks altogether: a source may mix episodes with and without a camera."""
    absent = {view: ViewSetting() for view in VIEWS if view not in episode.info.views}
    return dataclasses.replace(setting, **absent)


def _content_hash(original: Episode, setting: SourceSetting) -> str:
    return hashlib.sha256(f"{original.content_hash} setting {setting.fingerprint}".encode()).hexdigest()


def _info(original: Episode, setting: SourceSetting) -> EpisodeInfo:
    info = original.info
    supplied: list[str] = []
    said = list(setting.clauses())
    for view in info.views:
        mine = setting.view(view)
        if mine.gives_camera:
            supplied.append(f"K.{view}")
            if not original.has("K", view):  # nothing was wrong: it was missing
                said = [clause for clause in said if clause not in (f"{view} {words}" for words in _camera_words(mine))]
                if view == "static" and not original.has("T_world_camera", view):
                    supplied.append(f"T_world_camera.{view}")
        if mine.changes_depth and original.has("depth", view):
            supplied.append(f"depth.{view}")
    supplied += ["control_hz"] if setting.control_hz is not None else []
    return dataclasses.replace(
        info,
        control_hz=setting.control_hz or info.control_hz,
        action_space=_action_space(original, setting),
        assumed=tuple(dict.fromkeys((*info.assumed, *supplied))),
        corrected=tuple(said),
        notes=(*info.notes, *(f"Set for this source: {reason}" for reason in setting.why)),
    )


def _camera_words(setting: ViewSetting) -> list[str]:
    return ViewSetting(fov_degrees=setting.fov_degrees, K=setting.K).clauses()


def _action_space(original: Episode, setting: SourceSetting) -> ActionSpace | None:
    stored = original.info.action_space
    metres = setting.metres_per_unit or (stored and stored.metres_per_unit)
    radians = setting.radians_per_unit or (stored and stored.radians_per_unit)
    frame = setting.action_frame or (stored and stored.frame)
    if metres is None or radians is None or frame is None:
        return None  # what the action means is still not known
    return ActionSpace(metres_per_unit=metres, radians_per_unit=radians, frame=frame)


def _camera(original: Episode, view: View, setting: ViewSetting) -> tuple[np.ndarray | None, np.ndarray | None]:
    """K and pose of a corrected camera.

    Raises:
        ConfigError: Ray lengths cannot become depth without intrinsics.
    """
    stored = original.intrinsics(view) if original.has("K", view) else None
    K = view_intrinsics(stored, original.image_size(view), setting)
    if K is None and setting.ray_length and original.has("depth", view):
        raise ConfigError(
            f"{original.name}: the source setting '{view}.ray_length' needs intrinsics and the source has none; "
            "give the camera's field of view as well"
        )
    stands = view == "static" and setting.gives_camera  # 3D can only be drawn of a camera that stands somewhere
    pose = original.T_world_camera(view) if original.has("T_world_camera", view) else None
    return K, view_pose(pose, setting, level=original.info.length if stands else None)


def _corrected_camera(original: LazyEpisode, view: View, setting: ViewSetting) -> Camera:
    camera = original.cameras[view]
    read_rgb, read_depth = camera.rgb, camera.depth
    K, pose = _camera(original, view, setting)

    def rgb(index: int) -> UInt8[np.ndarray, "h w 3"]:
        image = turned(read_rgb(index), setting.turn)
        return np.ascontiguousarray(image[..., ::-1] if setting.swap_red_blue else image)

    camera = dataclasses.replace(camera, rgb=rgb, K=K, T_world_camera=pose)
    if read_depth is None:
        return camera

    def depth(index: int) -> Float[np.ndarray, "h w"]:
        stored = read_depth(index)  # a frame of another size is refused by whoever shows it
        rows, columns = np.ogrid[: stored.shape[0], : stored.shape[1]]
        return metric(turned(stored, setting.turn), rows, columns, setting, K)

    return dataclasses.replace(camera, depth=depth)


def _inverted(numbers: Float[np.ndarray, "t n"]) -> Float[np.ndarray, "t n"]:
    """With the last column, the gripper's 0 shut .. 1 open, the other way round."""
    numbers = numbers.copy()
    numbers[:, -1] = 1.0 - numbers[:, -1]
    numbers.flags.writeable = False
    return numbers

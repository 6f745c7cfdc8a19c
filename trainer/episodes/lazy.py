"""An episode of a foreign format: the reader says what there is, frames are decoded when they are asked for.

Dimensions: t control step, f frame, h w pixels, n entries of a feature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Integer, UInt8

from model.errors import AbsentError, EpisodeError

from .camera import Camera
from .episode import Episode, EpisodeInfo, Field, Tracks, View
from .media.kept import KeptArrays

_KEPT = KeptArrays(64 << 20)


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """Everything low-dimensional, at every control step; what the source does not have is None or not in `features`.

    Attributes:
        state: Tool position (metres, world), quaternion wxyz, gripper opening 0 shut .. 1 open.
        action: Command in the units of `EpisodeInfo.action_space`.
        features: Every numeric feature under the name its source gives it, unconverted.
        names: What the entries of a feature are called, where its source or its format says so.
    """

    state: Float[np.ndarray, "t 8"] | None = None
    action: Float[np.ndarray, "t 7"] | None = None
    features: Mapping[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    names: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])


class LazyEpisode(Episode):
    """Implements `Episode` from callables that a reader brings; it has no exact flow.

    The last decoded frames are kept, within one budget for all episodes of the process. Safe across threads.

    Args:
        name: PATH#INDEX; `open_as_recorded(name)` must give this episode again: so it travels between processes.
        info: What is known without decoding a frame. `info.views` must be the keys of `cameras`.
        content_hash: See `identity.content_hash`.
        frame_steps: Control steps that have images, increasing.
        cameras: The cameras that the policy's views stand for.
        others: Further cameras, by their source's name; shown, never fed to a policy.
        numbers: Loads everything low-dimensional; called once, when first needed.
    """

    def __init__(
        self,
        *,
        name: str,
        info: EpisodeInfo,
        content_hash: str,
        frame_steps: Integer[np.ndarray, " f"],
        cameras: Mapping[View, Camera],
        others: Mapping[str, Camera] | None = None,
        numbers: Callable[[], Numbers] = Numbers,
    ) -> None:
        if info.has_exact_flow or set(info.views) != set(cameras):
            raise ValueError(f"{name}: info contradicts the cameras {sorted(cameras)}")
        self._name, self._info, self._content_hash = name, info, content_hash
        self._frame_steps, self._cameras, self._others = frame_steps, dict(cameras), dict(others or {})
        self._load_numbers = numbers
        self._frames = {int(step): index for index, step in enumerate(frame_steps)}

    def __reduce__(self) -> tuple[Any, ...]:
        from .open import open_as_recorded  # open knows all readers, which know this class

        return open_as_recorded, (self._name,)

    @property
    def name(self) -> str:
        """The one string PATH#INDEX that names the episode everywhere."""
        return self._name

    @property
    def info(self) -> EpisodeInfo:
        """What is known without decoding a frame."""
        return self._info

    @property
    def content_hash(self) -> str:
        """sha256 hex of the files it is read from, see `identity`."""
        return self._content_hash

    @property
    def frame_steps(self) -> Integer[np.ndarray, " f"]:
        """The control steps that have images, increasing."""
        return self._frame_steps

    @property
    def others(self) -> Mapping[str, Camera]:
        """Cameras that are neither static nor wrist, by their source's name; their frames are asked for by index."""
        return self._others

    @property
    def cameras(self) -> Mapping[View, Camera]:
        """The cameras that the policy's views stand for, as the reader gave them."""
        return self._cameras

    @cached_property
    def numbers(self) -> Numbers:
        """Everything low-dimensional; loaded when first asked for."""
        return self._load_numbers()

    @property
    def features(self) -> Mapping[str, Float[np.ndarray, "t n"]]:
        """Every numeric feature at every control step, under the name its source gives it."""
        return self.numbers.features

    @property
    def feature_names(self) -> Mapping[str, Sequence[str]]:
        """What the entries of a feature are called, where its source or its format says so."""
        return self.numbers.names

    def camera_name(self, view: View) -> str:
        """What the source calls the camera of a view."""
        return self._camera(view).source_name

    @property
    def state(self) -> Float[np.ndarray, "t 8"]:
        """Tool position (metres, world), quaternion wxyz, gripper opening 0 shut .. 1 open."""
        return self._present(self.numbers.state, "state")

    @property
    def action(self) -> Float[np.ndarray, "t 7"]:
        """Commanded action, see `EpisodeInfo.action_space`."""
        return self._present(self.numbers.action, "action")

    def has(self, field: Field, view: View | None = None) -> bool:
        """Whether asking for a field can succeed. Images, cameras and tracks need the view."""
        if field in ("state", "action"):
            return getattr(self.numbers, field) is not None
        camera = None if view is None else self._cameras.get(view)
        if camera is None or field == "tracks":
            return False
        return field == "rgb" or getattr(camera, field) is not None

    def image_size(self, view: View) -> tuple[int, int]:
        """(height, width) of the stored images, pixels."""
        return self._camera(view).size

    def rgb(self, view: View, step: int) -> UInt8[np.ndarray, "h w 3"]:
        """A fresh copy of the upright image at a control step that has one."""
        return self._frame(view, "rgb", self._camera(view).rgb, step, np.dtype(np.uint8))

    def depth(self, view: View, step: int) -> Float[np.ndarray, "h w"]:
        """Float32 metres along the optical axis, NaN = invalid."""
        read = self._present(self._camera(view).depth, f"{view}.depth")
        return self._frame(view, "depth", read, step, np.dtype(np.float32))

    def intrinsics(self, view: View) -> Float[np.ndarray, "3 3"]:
        """K in pixels of the stored image size."""
        return self._present(self._camera(view).K, f"K.{view}")

    def T_world_camera(self, view: View) -> Float[np.ndarray, "t 4 4"]:  # noqa: N802 - the field's name for the transform
        """Camera-to-world transform at each control step, metres."""
        return self._present(self._camera(view).T_world_camera, f"T_world_camera.{view}")

    def tracks(self, view: View, step: int, uv: Float[np.ndarray, "p 2"], later: Integer[np.ndarray, " l"]) -> Tracks:
        """Always raises: no foreign format says how things moved."""
        raise self._no_flow()

    def own_motion(self, view: View, step: int, later: int) -> Float[np.ndarray, "h w 2"]:
        """Always raises: no foreign format says how things moved."""
        raise self._no_flow()

    def _camera(self, view: View) -> Camera:
        if view not in self._cameras:
            raise EpisodeError(f"{self.name}: has no camera '{view}', only {', '.join(self._cameras) or 'none'}")
        return self._cameras[view]

    def _frame(
        self, view: View, kind: str, read: Callable[[int], np.ndarray], step: int, dtype: np.dtype
    ) -> np.ndarray:
        index = self._frame_index(step)
        key = (id(self), view, kind, index)
        kept = _KEPT.get(key)
        if kept is None:
            kept = read(index)
            shape = (*self._camera(view).size, *((3,) if kind == "rgb" else ()))
            if kept.shape != shape or kept.dtype != dtype:
                raise EpisodeError(
                    f"{self.name}: '{view}.{kind}' at step {step} is {kept.dtype} {kept.shape}, not {dtype} {shape}"
                )
            if not _is_part_of_more(kept):
                _KEPT.put(self, key, kept)
        return kept.copy()

    def _frame_index(self, step: int) -> int:
        index = self._frames.get(step)
        if index is None:
            steps = self.frame_steps
            span = f"there are {len(steps)}, from step {steps[0]} to {steps[-1]}" if len(steps) else "there are none"
            raise EpisodeError(f"{self.name}: no image at step {step}; {span}")
        return index

    def _present(self, value: Any, name: str) -> Any:
        if value is None:
            raise AbsentError(f"{self.name}: has no '{name}'; its source does not provide it")
        return value

    def _no_flow(self) -> EpisodeError:
        return EpisodeError(f"{self.name}: has no exact flow; its source does not say how bodies moved")


def _is_part_of_more(frame: np.ndarray) -> bool:
    """Whether it is a view of something larger, such as a video's run of frames, which its maker keeps as it can."""
    return isinstance(frame.base, np.ndarray) and frame.base.nbytes > frame.nbytes

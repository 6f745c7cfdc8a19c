"""The episode: one recorded trajectory in the project's own vocabulary, whatever format it came from.

Dimensions: t control step, f rendered frame, h w pixels, p tracked point, l flow step, n body.

Time is counted in control steps. Images may be rendered at every `frame_stride`-th step only; poses, states and actions
exist at every step. Pixels are continuous: the centre of pixel (0, 0) is (0.5, 0.5). Depth is z along the optical axis
in metres, NaN where it is not known. Cameras are OpenCV (x right, y down, z forward).

numpy only: the page browses episodes without loading torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from .camera import Camera

View = Literal["static", "wrist"]
VIEWS: tuple[View, ...] = get_args(View)
DepthScale = Literal["metric", "relative"]
DepthOrigin = Literal["true", "pseudo"]
Outcome = Literal["success", "failure"]
Field = Literal["rgb", "depth", "K", "T_world_camera", "tracks", "state", "action"]
STATE_NAMES = ("x", "y", "z", "qw", "qx", "qy", "qz", "gripper")
"""The entries of `Episode.state`."""
ACTION_NAMES = ("x", "y", "z", "rx", "ry", "rz", "gripper")
"""The entries of `Episode.action`, and of every format's that has a translation, a rotation and the gripper."""


@dataclass(frozen=True, kw_only=True)
class ActionSpace:
    """How to read `Episode.action`: xyz, then axis-angle, each in units of a scale, then the gripper 0 shut .. 1 open.

    Attributes:
        metres_per_unit: Translation in metres that an action entry of 1.0 commands.
        radians_per_unit: Rotation in radians that an entry of 1.0 commands.
        frame: The axes the deltas are expressed in.
    """

    metres_per_unit: float
    radians_per_unit: float
    frame: Literal["base", "tool"]


@dataclass(frozen=True, kw_only=True)
class EpisodeInfo:
    """All that is known without decoding a frame. `None` means the source does not say.

    Attributes:
        source: Where it comes from, such as "libero" or "calvin".
        instruction: "" where the source has none.
        assumed: What the source does not record and somebody supplied, such as "K.static".
        corrected: What a source setting changed of it, a few words each ("static rotated by 180°").
        notes: What a person should know about the recording, a sentence each ("ends at step 40 of 64: ... is missing").
    """

    source: str
    instruction: str
    length: int
    control_hz: float
    frame_stride: int = 1
    views: tuple[View, ...]
    depth_scale: DepthScale | None
    depth_origin: DepthOrigin | None
    has_exact_flow: bool
    outcome: Outcome | None
    action_space: ActionSpace | None
    task: str | None = None
    initial_state: int | None = None
    seed: int | None = None
    renderer: str | None = None
    assumed: tuple[str, ...] = ()
    corrected: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """3D tracks of points of one view from one start step.

    Attributes:
        uvz: Pixel coordinates (u right, v down) and depth in metres, in the camera at each later step.
        visible: In front of the camera, inside the image, and not hidden (depth-tested).
        known: False where the step lies beyond the episode, the start depth was invalid, or the point came to lie
            behind the camera; `uvz` is NaN there.
    """

    uvz: Float[np.ndarray, "p l 3"]
    visible: Bool[np.ndarray, "p l"]
    known: Bool[np.ndarray, "p l"]


@runtime_checkable  # so that the tests can check annotations
class Episode(Protocol):
    """A lazy trajectory. Asking for something absent raises `model.errors.EpisodeError`, naming the field."""

    @property
    def name(self) -> str:
        """The one string PATH#INDEX that names the episode everywhere."""
        ...

    @property
    def info(self) -> EpisodeInfo:
        """What is known without decoding a frame."""
        ...

    @property
    def content_hash(self) -> str:
        """sha256 hex over the content; keys every cache of predictions."""
        ...

    @property
    def frame_steps(self) -> Integer[np.ndarray, " f"]:
        """The control steps that have images, increasing."""
        ...

    @property
    def others(self) -> Mapping[str, Camera]:
        """Cameras that are neither static nor wrist, by their source's name; their frames are asked for by index."""
        ...

    @property
    def features(self) -> Mapping[str, Float[np.ndarray, "t n"]]:
        """Every numeric feature at every control step, under the name its source gives it."""
        ...

    @property
    def feature_names(self) -> Mapping[str, Sequence[str]]:
        """What the n entries of a feature are called, where its source or its format says so."""
        ...

    def camera_name(self, view: View) -> str:
        """What the source calls the camera of a view; the view's own name in our own schema."""
        ...

    def has(self, field: Field, view: View | None = None) -> bool:
        """Whether asking for a field can succeed. Images, cameras and tracks need the view."""
        ...

    def image_size(self, view: View) -> tuple[int, int]:
        """(height, width) of the stored images, pixels."""
        ...

    def rgb(self, view: View, step: int) -> UInt8[np.ndarray, "h w 3"]:
        """The upright image at a control step that has one."""
        ...

    def depth(self, view: View, step: int) -> Float[np.ndarray, "h w"]:
        """Float32 metres along the optical axis, NaN = invalid."""
        ...

    def intrinsics(self, view: View) -> Float[np.ndarray, "3 3"]:
        """K in pixels of the stored image size."""
        ...

    def T_world_camera(self, view: View) -> Float[np.ndarray, "t 4 4"]:  # noqa: N802 - the field's name for the transform
        """Camera-to-world transform at each control step, metres."""
        ...

    @property
    def state(self) -> Float[np.ndarray, "t 8"]:
        """Tool position (metres, world), quaternion wxyz, gripper opening 0 shut .. 1 open."""
        ...

    @property
    def action(self) -> Float[np.ndarray, "t 7"]:
        """Commanded action, see `EpisodeInfo.action_space`."""
        ...

    def tracks(self, view: View, step: int, uv: Float[np.ndarray, "p 2"], later: Integer[np.ndarray, " l"]) -> Tracks:
        """Exact tracks of pixels `uv` of frame `step` at the control steps `later`; only where `has_exact_flow`.

        The depth test needs an image at that step: where none was rendered, `visible` is geometry only (in frame).
        `uvz` is NaN where a point is not known.
        """
        ...

    def own_motion(self, view: View, step: int, later: int) -> Float[np.ndarray, "h w 2"]:
        """How far what each pixel shows moves by itself, seen by a camera that stands still: pixels, metres along z.

        A step `later` beyond the end counts as the last one. Only where `has_exact_flow`.
        """
        ...

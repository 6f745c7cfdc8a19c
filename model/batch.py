"""What goes into the policy and what comes out: the one place where the tensors of a batch are named.

Dimensions: b batch, t observation step (frame of the window), a supervised frame (a subset of t), v camera view,
h w pixels, p tracked point, l flow step, k action step in the chunk, s text token.

Frames are right-padded: `frame_mask` is true for a prefix of every window and the last valid frame is "now". Images of
absent views and of padded frames hold zeros, never NaN (a masked NaN still poisons attention).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

T = TypeVar("T", bound="_Batch")


class _Batch:
    """Dataclass of tensors that moves between devices as one."""

    def to(self: T, device: torch.device | str, *, non_blocking: bool = False) -> T:
        """Returns a copy on `device`; dtypes stay."""
        moved = {
            field.name: value.to(device, non_blocking=non_blocking) if isinstance(value, Tensor) else value
            for field in dataclasses.fields(self)  # pyright: ignore[reportArgumentType]
            for value in [getattr(self, field.name)]
        }
        return dataclasses.replace(self, **moved)  # pyright: ignore[reportArgumentType]

    def rows(self: T, index: Tensor | slice) -> T:
        """Returns some windows of the batch; what has no batch dimension (`Targets.frames`) stays."""
        chosen = {
            field.name: value[index] if isinstance(value, Tensor) and field.name != "frames" else value
            for field in dataclasses.fields(self)  # pyright: ignore[reportArgumentType]
            for value in [getattr(self, field.name)]
        }
        return dataclasses.replace(self, **chosen)  # pyright: ignore[reportArgumentType]

    def pin_memory(self: T) -> T:
        """Returns a page-locked copy; `DataLoader(pin_memory=True)` calls this by name."""
        pinned = {
            field.name: getattr(self, field.name).pin_memory()
            for field in dataclasses.fields(self)  # pyright: ignore[reportArgumentType]
            if isinstance(getattr(self, field.name), Tensor)
        }
        return dataclasses.replace(self, **pinned)  # pyright: ignore[reportArgumentType]


@dataclass(frozen=True, kw_only=True)
class Observation(_Batch):
    """Everything the policy may see. Nothing here is later than the last valid frame of the window.

    Attributes:
        rgb: Images at model size, 0..255, views in the order of `PolicyConfig.views`.
        view_mask: False where the episode has no such camera.
        text: Token ids of the instruction from `Policy.tokenize`, 0 = padding.
        state_arm: Tool pose relative to the first frame of the window: metres, then Euler xyz radians.
        state_gripper: 0 shut, 1 open.
        frame_mask: True for real frames, a prefix of each row; frame 0 is always real.
        goal_rgb: A picture of the goal from the static camera, at model size, 0..255; only for policies with
            `goal_image`, and the only thing here that may be later than the newest frame.
    """

    rgb: UInt8[Tensor, "b t v 3 h w"]
    view_mask: Bool[Tensor, "b v"]
    text: Int64[Tensor, "b s"]
    state_arm: Float[Tensor, "b t 6"]
    state_gripper: Int64[Tensor, "b t"]
    frame_mask: Bool[Tensor, "b t"]
    goal_rgb: UInt8[Tensor, "b 3 h w"] | None = None


@dataclass(frozen=True, kw_only=True)
class Frame(_Batch):
    """What is new at one control step, for `model.inference.Engine`.

    Attributes:
        rgb: Images at model size, 0..255, views in the order of `PolicyConfig.views`; absent cameras are zeros.
        T_base_tool: Pose of the tool in any frame that stays fixed during an episode, metres; best in float64.
        gripper: 0 shut, 1 open.
    """

    rgb: UInt8[Tensor, "b v 3 h w"]
    T_base_tool: Float[Tensor, "b 4 4"]
    gripper: Int64[Tensor, " b"]


@dataclass(frozen=True, kw_only=True)
class SharedObservation(Observation):
    """Windows that overlap: every image and instruction is encoded once for all windows it is part of.

    The extra fields only say what is equal; a reader who ignores them computes the same numbers, slower.

    Attributes:
        images: Positions of images in `rgb` with (b, t, v) flattened; every other image equals one of them.
        image_of: For every image, the row of `images` that it equals.
        texts: Rows of `text`; every other row equals one of them.
        text_of: For every window, the row of `texts` that its instruction equals.
    """

    images: Int64[Tensor, " n"]
    image_of: Int64[Tensor, "b t v"]
    texts: Int64[Tensor, " u"]
    text_of: Int64[Tensor, " b"]

    def rows(self, index: Tensor | slice) -> Observation:
        """Returns some windows, which share nothing any more."""
        names = [field.name for field in dataclasses.fields(Observation)]
        return Observation(**{name: getattr(self, name) for name in names}).rows(index)


@dataclass(frozen=True, kw_only=True)
class Targets(_Batch):
    """What really came. Image and flow targets stand for the frames `frames` only; a subset keeps a step cheap.

    Attributes:
        frames: Indices into t of the supervised frames, shared by the batch, increasing.
        depth: Depth along the optical axis at each supervised frame, metres; 0 where invalid.
        depth_valid: Finite, measured pixels of a present view and a real frame.
        future_rgb: Image `future_offset` control steps later, 0..255.
        future_depth: Its depth, metres; 0 where invalid.
        future_depth_valid: As `depth_valid`, false beyond the end of the episode.
        future_mask: True where the future frame lies inside the episode and the view exists.
        flow_start: Start points in the flow view: x, y in [0, 1] of image width and height, then depth in metres. With
            two flow views the points of the first, then as many of the second; so wherever p stands.
        flow_delta: Displacement from the start after each flow step: x, y in image fractions, depth in metres.
        flow_weight: 1 visible, 0.1 occluded but tracked, 0 unknown (beyond the episode, invalid depth).
        flow_visible: Depth-tested and inside the image.
        flow_moving: The point's own motion exceeds the moving threshold (trainer.data.points says which).
        action: Chunk of actions in the data set's units; the last is the gripper, 0 shut .. 1 open.
        action_mask: False beyond the episode's end, in padded frames and for data without actions.
        progress: Share of the episode that has passed at each frame, 0..1; only for policies with `progress`.
        flow_camera: Intrinsics of each flow view (f), image width and height being 1; only for policies whose flow is
            in metres of the camera.
        depth_trust: What the errors of the window's depth count: 1 recorded, less where it is estimated; None = 1.
        flow_trust: The same for its flow.
    """

    frames: Int64[Tensor, " a"]
    depth: Float[Tensor, "b a v h w"]
    depth_valid: Bool[Tensor, "b a v h w"]
    future_rgb: UInt8[Tensor, "b a v 3 h w"]
    future_depth: Float[Tensor, "b a v h w"]
    future_depth_valid: Bool[Tensor, "b a v h w"]
    future_mask: Bool[Tensor, "b a v"]
    flow_start: Float[Tensor, "b a p 3"]
    flow_delta: Float[Tensor, "b a p l 3"]
    flow_weight: Float[Tensor, "b a p l"]
    flow_visible: Bool[Tensor, "b a p l"]
    flow_moving: Bool[Tensor, "b a p"]
    action: Float[Tensor, "b t k 7"]
    action_mask: Bool[Tensor, "b t k"]
    progress: Float[Tensor, "b t"] | None = None
    flow_camera: Float[Tensor, "b f 3 3"] | None = None
    depth_trust: Float[Tensor, " b"] | None = None
    flow_trust: Float[Tensor, " b"] | None = None


@dataclass(frozen=True, kw_only=True)
class Prediction(_Batch):
    """What the policy foresaw, in the units of `Targets`. A field is None when its decoder was not asked for.

    Attributes:
        depth: Current depth of the chosen frames, metres.
        future_rgb: Predicted image, 0..1 (not clipped, so that the loss has a gradient).
        future_depth: Predicted depth of that image, metres.
        flow_delta: Predicted displacement of each given start point, units as in `Targets.flow_delta`; in metres along
            the camera's axes with `flow.coordinates = "camera"` (`geometry.flow_in_image` converts).
        flow_visible_logit: Logit of visibility after each flow step.
        action: Predicted chunk for every frame; the gripper entry is a logit, > 0 means open.
        progress: Predicted share of the task that is done at every frame, 0..1.
        latent_mean, latent_logvar: Posterior of the action CVAE, only when true actions were given.
        attention: Captured probabilities by layer, float32, rows as asked (see model.attention.Capture).
    """

    depth: Float[Tensor, "b a v h w"] | None = None
    future_rgb: Float[Tensor, "b a v 3 h w"] | None = None
    future_depth: Float[Tensor, "b a v h w"] | None = None
    flow_delta: Float[Tensor, "b a p l 3"] | None = None
    flow_visible_logit: Float[Tensor, "b a p l"] | None = None
    action: Float[Tensor, "b t k 7"] | None = None
    progress: Float[Tensor, "b t"] | None = None
    latent_mean: Float[Tensor, "b t z"] | None = None
    latent_logvar: Float[Tensor, "b t z"] | None = None
    attention: dict[str, Tensor] | None = None

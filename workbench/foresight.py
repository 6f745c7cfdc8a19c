"""What the policy foresaw at one time of one episode, as plain arrays: the value every view of the page is drawn from.

Dimensions: h w pixels of the model's image, p tracked point, l flow step, k action step, m layer, n head, g group.
All pixel coordinates are in the MODEL's image (e.g. 128 x 128); `predict` holds the scaled cameras that go with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from trainer.episodes.episode import View

from .attention.maps import AttentionMaps

REMARKS = {
    "no_depth": "this policy predicts no depth",
    "no_future": "this policy predicts no future image",
    "no_future_depth": "this policy predicts no future depth",
    "no_flow": "this policy predicts no flow",
    "flat_flow": "this policy predicts lateral flow only",
    "wrist_flow": "this policy predicts the flow of the wrist camera: in the numbers, not drawn",
    "also_wrist_flow": "the flow of the wrist camera is in the numbers, not drawn",
    "patch_colours": "colours by mean and contrast of the current patches",
    "given_goal": "goal given: a later true frame",
    "pseudo_depth": "depth is pseudo: estimated from the images, figures against it are no errors",
    "pseudo_tracks": "tracks beside the prediction are a tracker's, not exact",
}


@dataclass(frozen=True, kw_only=True)
class ViewForesight:
    """One camera at one time.

    True values are None where the episode has none or ends before the future frame, predicted ones where the policy
    predicts nothing of the kind.
    """

    rgb: UInt8[np.ndarray, "h w 3"]
    depth: Float[np.ndarray, "h w"] | None
    depth_true: Float[np.ndarray, "h w"] | None
    future_rgb: UInt8[np.ndarray, "h w 3"] | None
    future_rgb_true: UInt8[np.ndarray, "h w 3"] | None
    future_depth: Float[np.ndarray, "h w"] | None
    future_depth_true: Float[np.ndarray, "h w"] | None
    K: Float[np.ndarray, "3 3"] | None
    T_world_camera: Float[np.ndarray, "4 4"] | None


@dataclass(frozen=True, kw_only=True)
class FlowForesight:
    """Tracks of a raster of the static image, the same at every time. Index 0 of the step axis is the start itself.

    The figures are of other points (`trainer.data.points`). A policy that predicts no flow has no points (p = 0).

    Attributes:
        uvz: Predicted pixel and depth from the TRUE start depth where there is one, else from the predicted depth; NaN
            where neither is known.
        uvz_true: Exact tracks, None without ground truth.
        known: Truth exists for this point and step.
        visible_true: Depth-tested visibility of the truth.
        moving: The point moves by more than the threshold of `trainer.data.points` (false without truth).
        start_depth: "true" or "predicted": which depth the tracks start from.
        steps: The control step of each entry of the step axis; the first is the time of the prediction.
    """

    uvz: Float[np.ndarray, "p l 3"]
    visible_probability: Float[np.ndarray, "p l"]
    uvz_true: Float[np.ndarray, "p l 3"] | None
    known: Bool[np.ndarray, "p l"] | None
    visible_true: Bool[np.ndarray, "p l"] | None
    moving: Bool[np.ndarray, " p"]
    start_depth: Literal["true", "predicted"]
    steps: Integer[np.ndarray, " l"]


@dataclass(frozen=True, kw_only=True)
class AttentionForesight:
    """Attention of the action query at this time. Without FLOW tokens, what is on them is 0 and so are their maps.

    Attributes:
        maps: All that was captured, for roll-ups of other layers, heads, frames and queries.
        to_flow: Mass on the FLOW tokens of the same frame, by layer and head.
        uniform: The share those tokens would get if attention were uniform over all allowed keys.
        to_group: Mass by token group (names in `groups`), by layer and head; groups are of the current frame
            unless the name says "earlier".
        groups: Names that go with `to_group`.
        group_uniform: The share of each group if attention were uniform over all allowed keys.
        entropy: Of the action query by layer and head, over the log of the number of allowed keys: 0 one key, 1 even.
        flow_points: Weight per start point (sums to 1): action -> FLOW token -> flow-decoder cross attention.
        through_flow: The same, spread over the pixels of the flow view (sums to 1).
        through_resampler: Action -> image latents -> resampler -> pixels of the current images, by view (sums to the
            mass on those latents).
    """

    maps: AttentionMaps
    to_flow: Float[np.ndarray, "m n"]
    uniform: float
    to_group: Float[np.ndarray, "m n g"]
    groups: tuple[str, ...]
    group_uniform: Float[np.ndarray, " g"]
    entropy: Float[np.ndarray, "m n"]
    flow_points: Float[np.ndarray, " p"]
    through_flow: Float[np.ndarray, "h w"]
    through_resampler: dict[View, Float[np.ndarray, "h w"]]

    @property
    def has_flow(self) -> bool:
        """The action query may look at FLOW tokens at all."""
        return self.uniform > 0

    @property
    def lift(self) -> Float[np.ndarray, "m n"]:
        """`to_flow` in multiples of the uniform share; NaN without FLOW tokens."""
        return self.to_flow / self.uniform if self.has_flow else np.full_like(self.to_flow, np.nan)


@dataclass(frozen=True, kw_only=True)
class Foresight:
    """Everything predicted at control step `step`, beside what really came.

    Attributes:
        action: Chunk in the data set's units, gripper as probability of open.
        action_true: The recorded chunk, NaN beyond the end.
        metrics: Numbers at this time by name, with the trivial baseline under `<name>.baseline`; see trainer.metrics.
        remarks: What to know about this policy and this truth to read the predictions, as keys of `REMARKS`.
    """

    step: int
    future_step: int
    views: dict[View, ViewForesight]
    flow: FlowForesight
    attention: AttentionForesight
    action: Float[np.ndarray, "k 7"]
    action_true: Float[np.ndarray, "k 7"] | None
    metrics: dict[str, float]
    remarks: tuple[str, ...] = ()

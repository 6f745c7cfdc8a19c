"""A whole recorded trajectory in memory: what a recorder hands to the packer. One schema, see `packed`.

Dimensions: t control step, f rendered frame, h w pixels, n body, q simulator state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Integer, UInt8

from .episode import EpisodeInfo, View


@dataclass(frozen=True, kw_only=True)
class ViewRecording:
    """The streams of one camera.

    Attributes:
        rgb: Upright images at the rendered steps.
        depth: Float32 metres along the optical axis at the rendered steps, NaN = invalid; None if absent.
        body: Index into `Recording.body_pose` for each pixel at the rendered steps; 0 is the static world.
        K: Intrinsics in pixels, centre of pixel (0, 0) at (0.5, 0.5).
        T_world_camera: Camera pose at every control step (OpenCV axes, metres).
    """

    rgb: UInt8[np.ndarray, "f h w 3"]
    depth: Float[np.ndarray, "f h w"] | None
    body: UInt8[np.ndarray, "f h w"] | None
    K: Float[np.ndarray, "3 3"] | None
    T_world_camera: Float[np.ndarray, "t 4 4"] | None


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One trajectory, complete. `body_pose[t, i]` maps body i's frame to the world; entry 0 is the identity.

    `features` are a source's own numeric features by its names, as they are; `feature_names` those of their entries.
    What is absent is None.
    """

    info: EpisodeInfo
    frame_steps: Integer[np.ndarray, " f"]
    views: dict[View, ViewRecording]
    state: Float[np.ndarray, "t 8"] | None
    action: Float[np.ndarray, "t 7"] | None
    body_pose: Float[np.ndarray, "t n 4 4"] | None
    body_names: tuple[str, ...]
    simulator_state: Float[np.ndarray, "t q"] | None
    features: Mapping[str, Float[np.ndarray, "t _"]] = field(default_factory=dict[str, np.ndarray])
    feature_names: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])

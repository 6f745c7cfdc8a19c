"""LIBERO after conversion to RLDS or LeRobot, as OpenVLA, openpi and LeRobot publish it.

Every such set stores the same three things, and none of them says so in its meta data:
- state (8): tool position (m), axis-angle (rad), the two fingers (m, equal and opposite, at most 4 cm each);
- action (7): translation and axis-angle in units of 5 cm and 0.5 rad, gripper -1 open .. 1 shut, or 0 shut .. 1 open;
- images turned by 180 degrees. The simulator's images were upside down, so turned ones are upright and MIRRORED: the
  scene is not the one the robot acted in. The pixels are mirrored back here, so that a pinhole camera fits again.

Sources: `libero_dataset_transform` of openvla/openvla (state 6 + 2; "gripper action is in -1 (open) ... 1 (close)") and
the `[::-1, ::-1]` that its and openpi's LIBERO evaluation apply to the simulator's images, as was done for training.

The numbers are looked at before a set is believed to be one of these: many others have eight and seven columns.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from ..camera import Camera
from ..episode import ActionSpace, View
from ..rotations import from_axis_angle, quaternion

ACTION_SPACE = ActionSpace(metres_per_unit=0.05, radians_per_unit=0.5, frame="base")
NOTE = "a LIBERO conversion: its images are turned by 180 degrees, which mirrors the scene; they are mirrored back here"
CONTROL_HZ = 20.0
STATE_NAMES = ("x", "y", "z", "rx", "ry", "rz", "finger 1", "finger 2")
"""The entries of such a set's state; those of its action are `episode.ACTION_NAMES`."""
# Degrees, vertical: MuJoCo's default, which LIBERO's agentview keeps, and `eye_in_hand` in robosuite 1.4's Panda model.
_FIELD_OF_VIEW: dict[View, float] = {"static": 45.0, "wrist": 75.0}
_FINGER = 0.041
_FINGER_MISMATCH = 0.01
_MAX_ANGLE = 1.1 * math.pi
_REACH = 3.0


@dataclass(frozen=True)
class LiberoNumbers:
    """State and action in the project's vocabulary."""

    state: Float[np.ndarray, "t 8"]
    action: Float[np.ndarray, "t 7"]


def read_libero_style(state: np.ndarray, action: np.ndarray) -> LiberoNumbers | None:
    """The conversion of (t, 8) and (t, 7) numbers, or None where they cannot be LIBERO's."""
    if state.ndim != 2 or state.shape[1:] != (8,) or action.shape != (len(state), 7) or not len(state):
        return None
    first, second = state[:, 6], state[:, 7]
    believable = (
        np.isfinite(state).all()
        and (np.abs(action) <= 1.001).all()  # false for NaN
        and (np.abs(first + second) < _FINGER_MISMATCH).all()
        and (np.abs(first) < _FINGER).all()
        and (np.linalg.norm(state[:, 3:6], axis=1) < _MAX_ANGLE).all()
        and (np.abs(state[:, :3]) < _REACH).all()
    )
    if not believable:
        return None
    opening = np.clip((first - second) / 0.08, 0.0, 1.0)
    gripper = action[:, 6]
    signed = bool((gripper < -0.5).any())  # an episode begins with an open gripper: -1 before any remapping
    command = (1 - gripper) / 2 if signed else gripper
    rotation = quaternion(from_axis_angle(state[:, 3:6]))
    return LiberoNumbers(
        state=np.concatenate([state[:, :3], rotation, opening[:, None]], 1).astype(np.float64),
        action=np.concatenate([action[:, :6], np.clip(command, 0.0, 1.0)[:, None]], 1).astype(np.float64),
    )


def mirrored_back(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """Left and right exchanged; a principal point cx becomes width - cx, which for a centred one is the same."""
    return np.ascontiguousarray(image[:, ::-1])


def with_libero_intrinsics(cameras: Mapping[View, Camera]) -> dict[View, Camera]:
    """The cameras with the K of the simulator's, whose field of view is known; the sets themselves have none."""
    return {view: dataclasses.replace(camera, K=_intrinsics(view, camera.size)) for view, camera in cameras.items()}


def _intrinsics(view: View, size: tuple[int, int]) -> Float[np.ndarray, "3 3"]:
    height, width = size
    focal = 0.5 * height / math.tan(math.radians(_FIELD_OF_VIEW[view]) / 2)
    return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])

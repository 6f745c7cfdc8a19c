"""What the numbers of well-known RLDS datasets mean; of any other dataset they are shown by name and not interpreted.

From the datasets' own descriptions and the transforms that Octo and OpenVLA publish for them (functions
`bridge_orig_dataset_transform`, `rt1_dataset_transform`, `libero_dataset_transform` of openvla/openvla,
prismatic/vla/datasets/rlds/oxe/transforms.py):
- BridgeData V2 ("bridge..."): state = tool position (m), roll pitch yaw, gripper 1 open; action = their changes in the
  base's axes, gripper 1 open; 5 Hz. Many releases begin with an all-zero action, which stands for "nothing was
  commanded yet": those pipelines drop that step for training, here it is kept and shown as recorded.
- RT-1 ("fractal..."): base_pose_tool_reached = tool position, quaternion xyzw; gripper_closed; the action's gripper
  says what to change (1 shut, -1 open, 0 keep); 3 Hz.
- LIBERO ("libero..."): see `libero_style`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np

from ..episode import ACTION_NAMES, ActionSpace
from ..lazy import Numbers
from ..rotations import axis_angle, from_euler_xyz, quaternion
from . import libero_style

Features = Mapping[str, np.ndarray]
_EULER = ("x", "y", "z", "roll", "pitch", "yaw")
_METRES = ActionSpace(metres_per_unit=1.0, radians_per_unit=1.0, frame="base")


@dataclass(frozen=True, kw_only=True)
class Convention:
    """How to read one family of datasets.

    Attributes:
        prefix: Of the dataset's name.
        control_hz: The rate it was recorded at; RLDS does not store it.
        convert: State and action from the features, None where these are not of the shapes expected.
        mirrored: The images have to be mirrored back.
    """

    prefix: str
    control_hz: float
    action_space: ActionSpace
    convert: Callable[[Features], Numbers | None]
    mirrored: bool = False


def convention_of(dataset: str) -> Convention | None:
    """The convention of a dataset by its name, None for an unknown one."""
    return next((known for known in _KNOWN if dataset.lower().startswith(known.prefix)), None)


def _bridge(features: Features) -> Numbers | None:
    state, action = features.get("observation/state"), features.get("action")
    if not _shaped(state, 7) or not _shaped(action, 7):
        return None
    rotation = axis_angle(from_euler_xyz(action[:, 3:6]))
    return Numbers(
        state=_join(state[:, :3], quaternion(from_euler_xyz(state[:, 3:6])), np.clip(state[:, 6:], 0, 1)),
        action=_join(action[:, :3], rotation, np.clip(action[:, 6:], 0, 1)),
        features=features,
        names={"observation/state": (*_EULER, "gripper"), "action": (*_EULER, "gripper")},
    )


def _fractal(features: Features) -> Numbers | None:
    pose, shut = features.get("observation/base_pose_tool_reached"), features.get("observation/gripper_closed")
    move, turn = features.get("action/world_vector"), features.get("action/rotation_delta")
    grip = features.get("action/gripper_closedness_action")
    if not (_shaped(pose, 7) and _shaped(shut, 1) and _shaped(move, 3) and _shaped(turn, 3) and _shaped(grip, 1)):
        return None
    return Numbers(
        state=_join(pose[:, :3], pose[:, [6, 3, 4, 5]], np.clip(1 - shut, 0, 1)),
        action=_join(move, axis_angle(from_euler_xyz(turn)), _held(grip[:, 0])[:, None]),
        features=features,
        names={
            "observation/base_pose_tool_reached": ("x", "y", "z", "qx", "qy", "qz", "qw"),
            "action/world_vector": _EULER[:3],
            "action/rotation_delta": _EULER[3:],
        },
    )


def _libero(features: Features) -> Numbers | None:
    state, action = features.get("observation/state"), features.get("action")
    if state is None or action is None:
        return None
    found = libero_style.read_libero_style(state, action)
    names = {"observation/state": libero_style.STATE_NAMES, "action": ACTION_NAMES}
    return None if found is None else Numbers(state=found.state, action=found.action, features=features, names=names)


def _held(change: np.ndarray) -> np.ndarray:
    """Opening from commands to shut (1), to open (-1) or to keep.

    Before the first command the gripper is where that command does not send it, and open if there is none: the rule of
    `rel2abs_gripper_actions` in Octo's and OpenVLA's pipelines, with their threshold.
    """
    wanted = np.where(change > 0.1, 0.0, np.where(change < -0.1, 1.0, np.nan))
    commanded = wanted[~np.isnan(wanted)]
    if np.isnan(wanted[0]):
        wanted[0] = 1 - commanded[0] if len(commanded) else 1.0
    last = np.maximum.accumulate(np.where(np.isnan(wanted), 0, np.arange(len(wanted))))
    return wanted[last]


def _shaped(values: np.ndarray | None, columns: int) -> TypeGuard[np.ndarray]:
    return values is not None and values.shape[1:] == (columns,) and bool(np.isfinite(values).all())


def _join(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts, axis=1).astype(np.float64)


_KNOWN = (
    Convention(prefix="bridge", control_hz=5.0, action_space=_METRES, convert=_bridge),
    Convention(prefix="fractal", control_hz=3.0, action_space=_METRES, convert=_fractal),
    Convention(
        prefix="libero",
        control_hz=libero_style.CONTROL_HZ,
        action_space=libero_style.ACTION_SPACE,
        convert=_libero,
        mirrored=True,
    ),
)

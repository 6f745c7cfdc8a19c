"""CALVIN's numbers in the internal vocabulary, and back.

Dimensions: t control step.

`robot_obs` (15): tool xyz (metres, world), tool Euler angles xyz, gripper width (metres), seven joints, gripper action.
`rel_actions` (7): differences of position and of Euler angles to the next state, clipped to 0.02 m and 0.05 rad and
divided by these, then the gripper -1 shut, 1 open. A difference of Euler angles is no rotation vector (the tool points
down, so roll and yaw turn about crossed axes), so it is turned into one with the tool's present orientation.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from ..episode import ACTION_NAMES, ActionSpace
from ..rotations import axis_angle, euler_xyz, from_axis_angle, from_euler_xyz, quaternion, rotation_matrix

CONTROL_HZ = 30.0
ACTION_SPACE = ActionSpace(metres_per_unit=0.02, radians_per_unit=0.05, frame="base")
OPEN_WIDTH = 0.08  # metres between the fingers of an open gripper
_POSE = ("x", "y", "z", "rx", "ry", "rz")
NAMES: Mapping[str, tuple[str, ...]] = {
    "actions": ACTION_NAMES,
    "rel_actions": ACTION_NAMES,
    "robot_obs": (*_POSE, "width", *(f"joint {joint}" for joint in range(1, 8)), "gripper"),
    "scene_obs": (
        *("slider", "drawer", "button", "switch", "bulb", "LED"),
        *(f"{block} {entry}" for block in ("red", "blue", "pink") for entry in _POSE),
    ),
}
"""After CALVIN's published description of its arrays."""


def state_of(robot_obs: Float[np.ndarray, "t 15"]) -> Float[np.ndarray, "t 8"]:
    """Tool position, quaternion wxyz, gripper opening 0 shut .. 1 open."""
    opening = np.clip(robot_obs[:, 6:7] / OPEN_WIDTH, 0, 1)
    return np.concatenate([robot_obs[:, :3], quaternion(from_euler_xyz(robot_obs[:, 3:6])), opening], 1)


def action_of(rel_actions: Float[np.ndarray, "t 7"], robot_obs: Float[np.ndarray, "t 15"]) -> Float[np.ndarray, "t 7"]:
    """Translation and rotation vector in the world, in units of `ACTION_SPACE`, and the gripper 0 shut .. 1 open."""
    angles, scale = robot_obs[:, 3:6], ACTION_SPACE.radians_per_unit
    turn = from_euler_xyz(angles + scale * rel_actions[:, 3:6]) @ from_euler_xyz(angles).swapaxes(1, 2)
    return np.concatenate([rel_actions[:, :3], axis_angle(turn) / scale, (rel_actions[:, 6:] + 1) / 2], 1)


def robot_obs_of(state: Float[np.ndarray, "t 8"], action: Float[np.ndarray, "t 7"]) -> Float[np.ndarray, "t 15"]:
    """Inverse of `state_of`; the joints, which the internal state does not have, are zero."""
    robot_obs = np.zeros((len(state), 15))
    robot_obs[:, :3], robot_obs[:, 3:6] = state[:, :3], euler_xyz(rotation_matrix(state[:, 3:7]))
    robot_obs[:, 6] = state[:, 7] * OPEN_WIDTH
    robot_obs[:, 14] = np.where(action[:, 6] > 0.5, 1.0, -1.0)
    return robot_obs


def rel_actions_of(
    action: Float[np.ndarray, "t 7"], space: ActionSpace, robot_obs: Float[np.ndarray, "t 15"]
) -> Float[np.ndarray, "t 7"]:
    """Inverse of `action_of` for an action in the units and axes of `space`; clipped to -1 .. 1 as CALVIN does."""
    angles = robot_obs[:, 3:6]
    R = from_euler_xyz(angles)
    move, turn = action[:, :3] * space.metres_per_unit, from_axis_angle(action[:, 3:6] * space.radians_per_unit)
    if space.frame == "tool":
        move, turn = (R @ move[..., None])[..., 0], R @ turn @ R.swapaxes(1, 2)
    change = _wrapped(euler_xyz(turn @ R) - angles)
    deltas = [move / ACTION_SPACE.metres_per_unit, change / ACTION_SPACE.radians_per_unit]
    return np.concatenate([*(np.clip(d, -1, 1) for d in deltas), np.where(action[:, 6:] > 0.5, 1.0, -1.0)], 1)


def absolute_actions_of(
    rel_actions: Float[np.ndarray, "t 7"], robot_obs: Float[np.ndarray, "t 15"]
) -> Float[np.ndarray, "t 7"]:
    """CALVIN's `actions`: where `rel_actions` leads to, position and Euler angles in the world, and the gripper."""
    position = robot_obs[:, :3] + ACTION_SPACE.metres_per_unit * rel_actions[:, :3]
    angles = _wrapped(robot_obs[:, 3:6] + ACTION_SPACE.radians_per_unit * rel_actions[:, 3:6])
    return np.concatenate([position, angles, rel_actions[:, 6:]], 1)


def _wrapped(angles: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """The same angles within half a turn."""
    return (angles + np.pi) % (2 * np.pi) - np.pi

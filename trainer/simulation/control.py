"""Drives the tool through waypoints with OSC_POSE actions: a PI controller in position, P in rotation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .environment import ACTION_SPACE
from .scene import Scene

OPEN, SHUT = 1.0, 0.0

_GAIN = 2.0
_INTEGRAL_GAIN = 0.05
_INTEGRAL_REACH = 0.05  # metres: farther away the integral would only wind up
_INTEGRAL_LIMIT = 0.03  # metres
_ROTATION_LIMIT = 0.5  # of a full action unit
_ROTATION_TOLERANCE = 0.1  # radians
_STALL_STEPS = 5
_STALL_DISTANCE = 0.0015  # metres a step


@dataclass(frozen=True, kw_only=True)
class Waypoint:
    """Where the tool should go next, and when to be content.

    Attributes:
        position: Target of the point between the fingertips, metres, world.
        rotation: Target axes of the tool in the world.
        gripper: 0 shut .. 1 open.
        tolerance: Metres from `position` at which the waypoint counts as reached; 0 holds for all of `limit`.
        limit: Control steps after which to go on regardless.
        speed: Largest translation action, 0..1.
        until_contact: Go on as soon as the tool no longer gets nearer, as when what it holds touches something.
    """

    position: Float[np.ndarray, " 3"]
    rotation: Float[np.ndarray, "3 3"]
    gripper: float
    tolerance: float = 0.01
    limit: int = 60
    speed: float = 1.0
    until_contact: bool = False


def follow(scene: Scene, waypoints: Iterator[Waypoint]) -> Iterator[Float[np.ndarray, " 7"]]:
    """Yields one action a control step, to be applied to the scene before the next is asked for."""
    for waypoint in waypoints:
        yield from _approach(scene, waypoint)


def _approach(scene: Scene, waypoint: Waypoint) -> Iterator[Float[np.ndarray, " 7"]]:
    integral = np.zeros(3)
    previous, stalled = scene.tool_position(), 0
    for step in range(waypoint.limit):
        position = scene.tool_position()
        error = waypoint.position - position
        turn = _axis_angle(scene, waypoint.rotation @ scene.tool_rotation().T)
        if np.linalg.norm(error) < waypoint.tolerance and np.linalg.norm(turn) < _ROTATION_TOLERANCE:
            return
        slow = step > _STALL_STEPS and float(np.linalg.norm(position - previous)) < _STALL_DISTANCE
        stalled = stalled + 1 if slow else 0
        if waypoint.until_contact and stalled >= _STALL_STEPS:
            return
        previous = position
        if np.linalg.norm(error) < _INTEGRAL_REACH:
            integral = np.clip(integral + _INTEGRAL_GAIN * error, -_INTEGRAL_LIMIT, _INTEGRAL_LIMIT)
        units = np.clip((_GAIN * error + integral) / ACTION_SPACE.metres_per_unit, -1.0, 1.0) * waypoint.speed
        turning = np.clip(turn / ACTION_SPACE.radians_per_unit, -_ROTATION_LIMIT, _ROTATION_LIMIT)
        yield np.concatenate([units, turning, [waypoint.gripper]])


def _axis_angle(scene: Scene, rotation: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, " 3"]:
    """Axis times angle in radians, in the base's axes."""
    quaternion, vector = np.empty(4), np.empty(3)
    scene.mujoco.mju_mat2Quat(quaternion, rotation.flatten())
    scene.mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector

"""Drawers: pushed shut by a closed gripper, pulled open by the handle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from model.errors import ConfigError

from .control import OPEN, SHUT, Waypoint
from .environment import Environment
from .habits import Habits
from .shapes import shape_of

_CLEARANCE = 0.08  # metres in front of a handle before touching it
_FINGER = 0.012  # metres from the fingertips' centre to their outside
_TILT = np.radians(78.0)  # of the hand from pointing down towards pointing into the drawer
_BAR = 0.008  # metres: half of a handle's thickness


@dataclass(frozen=True, kw_only=True)
class Drawer:
    """Where a drawer is and which way it opens.

    Attributes:
        handle: Centre of the handle's bar, metres, world.
        outward: Unit vector along which it opens.
        travel: Metres until shut.
        room: Metres until fully open.
    """

    handle: Float[np.ndarray, " 3"]
    outward: Float[np.ndarray, " 3"]
    travel: float
    room: float


def close_drawer(environment: Environment, arguments: list[str], habits: Habits) -> Iterator[Waypoint]:
    """Goes in front of the drawer and pushes its handle until it is shut.

    With the hand tilted: pointing down, the palm would meet the cabinet before the drawer is shut.
    """
    drawer = _find(environment, arguments[0])
    rotation = _tilted(drawer.outward)
    front = drawer.handle + drawer.outward * (_CLEARANCE + _FINGER)
    above = front + np.array([0.0, 0.0, habits.hover])
    pushed = drawer.handle - drawer.outward * (drawer.travel + 0.02)
    yield Waypoint(position=above, rotation=rotation, gripper=SHUT, tolerance=0.02, limit=100, speed=habits.speed)
    yield Waypoint(position=front, rotation=rotation, gripper=SHUT, speed=habits.speed)
    yield Waypoint(position=pushed, rotation=rotation, gripper=SHUT, limit=80, speed=0.6, until_contact=True)
    here = environment.scene.tool_position()
    yield Waypoint(
        position=here + drawer.outward * _CLEARANCE, rotation=rotation, gripper=SHUT, limit=30, speed=habits.speed
    )


def open_drawer(environment: Environment, arguments: list[str], habits: Habits) -> Iterator[Waypoint]:
    """Takes the handle between the fingers with a tilted hand, pulls, and lets go."""
    drawer = _find(environment, arguments[0])
    rotation = _tilted(drawer.outward)
    approach = rotation[:, 2]
    grasp = drawer.handle
    before = grasp - approach * _CLEARANCE
    pulled = grasp + drawer.outward * drawer.room
    yield Waypoint(position=before, rotation=rotation, gripper=OPEN, limit=120, speed=habits.speed)
    yield Waypoint(position=grasp, rotation=rotation, gripper=OPEN, tolerance=0.004, speed=0.5, limit=50)
    yield Waypoint(position=grasp, rotation=rotation, gripper=SHUT, tolerance=0.0, limit=10)
    yield Waypoint(position=pulled, rotation=rotation, gripper=SHUT, limit=80, speed=0.6, until_contact=True)
    here = environment.scene.tool_position()
    yield Waypoint(position=here, rotation=rotation, gripper=OPEN, tolerance=0.0, limit=6)
    yield Waypoint(position=here - approach * _CLEARANCE, rotation=rotation, gripper=OPEN, limit=30)


def _find(environment: Environment, region: str) -> Drawer:
    joint_name = environment.joint_of(region)
    scene = environment.scene
    model, data = scene.model, scene.data
    joint = model.joint(joint_name).id
    if model.jnt_type[joint] != scene.mujoco.mjtJoint.mjJNT_SLIDE:
        raise ConfigError(f"{environment.task.label}: no scripted expert for '{region}', which does not slide")
    low, high = model.jnt_range[joint]
    sign = -1.0 if abs(low) > abs(high) else 1.0  # a drawer opens towards the farther limit
    outward = sign * data.xaxis[joint]
    opened = sign * float(data.qpos[model.jnt_qposadr[joint]])
    drawer = shape_of(scene, model.body(model.jnt_bodyid[joint]).name)
    _, front = drawer.extent(outward)
    bar = drawer.points[drawer.points @ outward > front - 2 * _BAR]
    handle = (bar.min(axis=0) + bar.max(axis=0)) / 2
    return Drawer(handle=handle, outward=outward, travel=opened, room=max(abs(low), abs(high)) - opened)


def _tilted(outward: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "3 3"]:
    """Tool axes that point down and into the drawer, the fingers closing across a horizontal handle."""
    down = np.array([0.0, 0.0, -1.0])
    approach = np.cos(_TILT) * down - np.sin(_TILT) * outward
    across = np.cross(down, outward)  # along the handle
    closing = np.cross(across, approach)
    return np.stack([closing, np.cross(approach, closing), approach], axis=1)

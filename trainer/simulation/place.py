"""Picking a thing up and putting it somewhere: a pinch across its narrow side, or of the rim where it is a bowl."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .control import OPEN, SHUT, Waypoint
from .environment import Environment
from .habits import Habits
from .scene import Scene
from .shapes import Shape, horizontal, shape_of

_WIDEST_PINCH = 0.074  # metres: what fits between the Panda's fingers with a little room
_FINGER_REACH = 0.035  # metres from the fingertips' centre up to where the hand would touch
_RIM_DEPTH = 0.02  # metres below a rim
_WALL = 0.01  # metres from a rim's outer edge to the middle of the wall below it
_REACH = 0.76  # metres from the base


@dataclass(frozen=True, kw_only=True)
class Grasp:
    """Where to shut the gripper: the point between the fingertips (metres, world) and the tool's axes."""

    position: Float[np.ndarray, " 3"]
    rotation: Float[np.ndarray, "3 3"]


def place(environment: Environment, arguments: list[str], habits: Habits) -> Iterator[Waypoint]:
    """Picks the first argument up and puts it into, or onto, the second."""
    scene = environment.scene
    body, target = environment.body_of(arguments[0]), environment.body_of(arguments[1])
    thing = shape_of(scene, body)
    pinch_height = max(thing.bottom + 0.01, thing.top - _FINGER_REACH)
    angle, width = thing.between(pinch_height - 0.015, pinch_height + 0.015).narrowest()
    if width <= _WIDEST_PINCH:
        grasp = Grasp(position=np.array([*thing.centre[:2], pinch_height]), rotation=_hand(scene, angle))
    else:
        grasp = _rim_grasp(environment, body)
    rotation = grasp.rotation
    yield from _take(grasp.position + np.array([*habits.nudge, 0.0]), rotation, habits)

    held, place = shape_of(scene, body), shape_of(scene, target)
    offset = scene.tool_position() - held.centre
    hang = scene.tool_position()[2] - held.bottom
    carry = max(place.top + hang + 0.04, scene.tool_position()[2])
    above = np.array([*(place.centre + offset)[:2], carry])
    yield Waypoint(
        position=np.array([*scene.tool_position()[:2], carry]), rotation=rotation, gripper=SHUT, tolerance=0.02
    )
    yield Waypoint(position=above, rotation=rotation, gripper=SHUT, speed=habits.speed, limit=120)
    lower = above.copy()
    lower[2] = place.bottom + hang + 0.005
    yield Waypoint(
        position=lower, rotation=rotation, gripper=SHUT, tolerance=0.005, speed=0.7, limit=60, until_contact=True
    )
    yield from _release(scene, rotation, habits)


def _take(grasp: Float[np.ndarray, " 3"], rotation: Float[np.ndarray, "3 3"], habits: Habits) -> Iterator[Waypoint]:
    """Goes above the grasp, down, shuts the gripper and lifts."""
    above = grasp + np.array([0.0, 0.0, habits.hover])
    yield Waypoint(position=above, rotation=rotation, gripper=OPEN, speed=habits.speed, limit=100)
    yield Waypoint(position=grasp, rotation=rotation, gripper=OPEN, tolerance=0.004, speed=0.8 * habits.speed)
    yield Waypoint(position=grasp, rotation=rotation, gripper=SHUT, tolerance=0.0, limit=9)
    yield Waypoint(position=above, rotation=rotation, gripper=SHUT, speed=0.8 * habits.speed)


def _release(scene: Scene, rotation: Float[np.ndarray, "3 3"], habits: Habits) -> Iterator[Waypoint]:
    """Opens the gripper where it is and goes straight up."""
    here = scene.tool_position()
    yield Waypoint(position=here, rotation=rotation, gripper=OPEN, tolerance=0.0, limit=6)
    yield Waypoint(
        position=here + np.array([0.0, 0.0, habits.hover]),
        rotation=rotation,
        gripper=OPEN,
        speed=habits.speed,
        limit=20,
    )


def _hand(scene: Scene, angle: float) -> Float[np.ndarray, "3 3"]:
    """Tool axes, pointing down, whose fingers close along a horizontal angle: the nearer of the two such turns."""
    fingers = scene.tool_rotation()[:, 0]
    turn = (angle - np.arctan2(fingers[1], fingers[0]) + np.pi / 2) % np.pi - np.pi / 2
    closing = horizontal(float(np.arctan2(fingers[1], fingers[0]) + turn))
    down = np.array([0.0, 0.0, -1.0])
    return np.stack([closing, np.cross(down, closing), down], axis=1)


def _rim_grasp(environment: Environment, body: str) -> Grasp:
    """A grasp of a bowl's wall, fingers closing radially, on the side where the hand fits and the arm reaches.

    Stretched farther than `_REACH` the elbow meets its limit, and the arm cannot bend again by itself.
    """
    scene = environment.scene
    thing = shape_of(scene, body)
    others = [shape_of(scene, other) for other in environment.bodies() if other != body]
    base = scene.data.body("robot0_base").xpos
    inward = np.arctan2(*(base - thing.centre)[[1, 0]])
    grasps = [_rim_grasp_towards(scene, thing, angle) for angle in (-np.pi / 2, float(inward), np.pi / 2)]

    def drawback(grasp: Grasp) -> tuple[bool, float]:
        reach = float(np.linalg.norm((grasp.position - base)[:2]))
        return any(_blocked(grasp, other) for other in others), max(reach - _REACH, 0.0)

    return min(grasps, key=drawback)


def _rim_grasp_towards(scene: Scene, thing: Shape, angle: float) -> Grasp:
    """The rim's point in a horizontal direction from the bowl's middle."""
    side = horizontal(angle)
    _, edge = thing.between(thing.top - 0.02, thing.top).extent(side)
    centre = np.array([*thing.centre[:2], thing.top - _RIM_DEPTH])
    return Grasp(position=centre + side * (edge - _WALL - centre @ side), rotation=_hand(scene, angle))


def _blocked(grasp: Grasp, thing: Shape) -> bool:
    """Whether a thing's box stands where the open fingers, or the hand above them, would be."""
    return _meets(grasp, thing, along=0.06, across=0.015, lowest=-0.01) or _meets(
        grasp, thing, along=0.11, across=0.04, lowest=_FINGER_REACH
    )


def _meets(grasp: Grasp, thing: Shape, *, along: float, across: float, lowest: float) -> bool:
    """Whether a thing's box meets a column over the grasp, its half-sizes given along and across the fingers' axis."""
    half = np.abs(grasp.rotation[:, :2]) @ np.array([along, across])
    low, high = thing.points.min(axis=0), thing.points.max(axis=0)
    beside = np.any((low > grasp.position + half)[:2] | (high < grasp.position - half)[:2])
    return bool(not beside and high[2] > grasp.position[2] + lowest)

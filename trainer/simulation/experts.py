"""Scripted experts: from the goal a LIBERO task checks to the waypoints that reach it.

An expert is a generator: it looks at the scene when it is asked for the next waypoint, so it sees where things are
after its own earlier motion. A seed varies heights, speeds and grasp points by a little, so that episodes from the
same initial state differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from model.errors import ConfigError

from .control import OPEN, SHUT, Waypoint
from .environment import Environment
from .scene import Scene
from .shapes import Shape, horizontal, shape_of

_WIDEST_PINCH = 0.074  # metres: what fits between the Panda's fingers with a little room
_FINGER_REACH = 0.035  # metres from the fingertips' centre up to where the hand would touch
_RIM_DEPTH = 0.02  # metres below a rim


@dataclass(frozen=True, kw_only=True)
class Habits:
    """What the seed varies."""

    hover: float
    speed: float
    nudge: Float[np.ndarray, " 2"]

    @staticmethod
    def from_seed(seed: int) -> Habits:
        random = np.random.default_rng(seed)
        return Habits(
            hover=float(random.uniform(0.07, 0.12)),
            speed=float(random.uniform(0.8, 1.0)),
            nudge=random.uniform(-0.003, 0.003, size=2),
        )


def expert_for(environment: Environment, seed: int) -> Iterator[Waypoint]:
    """The expert for a task's goal.

    Raises:
        ConfigError: No expert knows how to reach such a goal.
    """
    if len(environment.goal) != 1 or environment.goal[0][0] not in _EXPERTS:
        raise ConfigError(f"{environment.task.label}: no scripted expert for the goal {environment.goal}")
    predicate, *arguments = environment.goal[0]
    return _EXPERTS[predicate](environment, arguments, Habits.from_seed(seed))


def _place(environment: Environment, arguments: list[str], habits: Habits) -> Iterator[Waypoint]:
    """Picks the first argument up and puts it into, or onto, the second."""
    scene = environment.scene
    body, target = environment.body_of(arguments[0]), environment.body_of(arguments[1])
    thing = shape_of(scene, body)
    pinch_height = max(thing.bottom + 0.01, thing.top - _FINGER_REACH)
    angle, width = thing.between(pinch_height - 0.015, pinch_height + 0.015).narrowest()
    if width <= _WIDEST_PINCH:
        rotation = _hand(scene, angle)
        grasp = np.array([*thing.centre[:2], pinch_height])
    else:
        rotation, grasp = _rim_grasp(scene, thing)
    grasp[:2] += habits.nudge
    yield from _take(scene, grasp, rotation, habits)

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


def _take(
    scene: Scene, grasp: Float[np.ndarray, " 3"], rotation: Float[np.ndarray, "3 3"], habits: Habits
) -> Iterator[Waypoint]:
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


def _rim_grasp(scene: Scene, thing: Shape) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, " 3"]]:
    """A grasp of a bowl's wall, fingers closing radially: (tool axes, grasp point).

    On the robot's left (world y < 0 side of the bowl): the other side asks joint 7 for more than it has.
    """
    rotation = _hand(scene, np.pi / 2)
    rim = thing.between(thing.top - 0.02, thing.top)
    low, _ = rim.extent(np.array([0.0, 1.0, 0.0]))
    return rotation, np.array([thing.centre[0], low + 0.01, thing.top - _RIM_DEPTH])


_EXPERTS: dict[str, Callable[[Environment, list[str], Habits], Iterator[Waypoint]]] = {"in": _place, "on": _place}

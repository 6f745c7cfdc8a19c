"""Runs the expert once, without rendering: simulator states and actions of one episode, and whether it succeeded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .control import OPEN, Waypoint, follow
from .environment import Environment
from .experts import expert_for

REST_STEPS = 12  # after the last waypoint, so that a window near the end has a future to foresee
MAX_STEPS = 400


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """What one attempt did.

    Attributes:
        states: Simulator state before each action (time, qpos, qvel).
        actions: The action applied in that state.
        succeeded: The environment's own verdict at the end.
    """

    states: Float[np.ndarray, "t q"]
    actions: Float[np.ndarray, "t 7"]
    succeeded: bool


def demonstrate(environment: Environment, initial_state: int, seed: int) -> Demonstration:
    """Runs the task's expert from an official initial state; the same arguments give the same bytes."""
    environment.start(initial_state)
    scene = environment.scene
    states: list[np.ndarray] = []
    actions: list[np.ndarray] = []

    def apply(action: np.ndarray) -> None:
        states.append(scene.state())
        actions.append(action)
        environment.step(action)

    for action in follow(scene, expert_for(environment, initial_state, seed)):
        apply(action)
        if len(actions) >= MAX_STEPS - REST_STEPS:
            break
    rest = Waypoint(
        position=scene.tool_position(), rotation=scene.tool_rotation(), gripper=OPEN, tolerance=0.0, limit=REST_STEPS
    )
    for action in follow(scene, iter([rest])):
        apply(action)
    return Demonstration(states=np.stack(states), actions=np.stack(actions), succeeded=environment.succeeded())

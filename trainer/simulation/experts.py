"""Scripted experts: from the goal a LIBERO task checks to the waypoints that reach it.

An expert is a generator: it looks at the scene when it is asked for the next waypoint, so it sees where things are
after its own earlier motion. A seed varies heights, speeds and grasp points by a little, so that episodes from the
same initial state differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from model.errors import ConfigError

from .control import Waypoint
from .drawers import close_drawer, open_drawer
from .environment import Environment
from .habits import Habits
from .place import place


def expert_for(environment: Environment, initial_state: int, seed: int) -> Iterator[Waypoint]:
    """The expert for a task's goal.

    Raises:
        ConfigError: No expert knows how to reach such a goal.
    """
    if len(environment.goal) != 1 or environment.goal[0][0] not in _EXPERTS:
        raise ConfigError(f"{environment.task.label}: no scripted expert for the goal {environment.goal}")
    predicate, *arguments = environment.goal[0]
    return _EXPERTS[predicate](environment, arguments, Habits.drawn(initial_state, seed))


_EXPERTS: dict[str, Callable[[Environment, list[str], Habits], Iterator[Waypoint]]] = {
    "in": place,
    "on": place,
    "open": open_drawer,
    "close": close_drawer,
}

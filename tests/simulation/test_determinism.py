"""The same task, initial state and seed give the same bytes, whatever ran before; another seed, another episode."""

from __future__ import annotations

import numpy as np

from trainer.simulation.demonstrate import demonstrate
from trainer.simulation.environment import Environment
from trainer.simulation.tasks import find_task

from .conftest import STACK, World


def test_an_episode_does_not_depend_on_what_ran_before(world: World) -> None:
    demonstrate(world.environment, 1, 3)
    again = demonstrate(world.environment, 0, 0)
    assert again.succeeded
    assert np.array_equal(again.states, world.demonstration.states)
    assert np.array_equal(again.actions, world.demonstration.actions)


def test_a_new_environment_gives_the_same_episode(world: World) -> None:
    np.random.seed(7)
    environment = Environment(find_task(*STACK))
    assert np.array_equal(demonstrate(environment, 0, 0).states, world.demonstration.states)


def test_the_seed_varies_the_episode(world: World) -> None:
    other = demonstrate(world.environment, 0, 1)
    assert other.succeeded
    assert not np.array_equal(other.states[20:40], world.demonstration.states[20:40])


def test_actions_are_in_the_episodes_units(world: World) -> None:
    actions = world.demonstration.actions
    assert np.abs(actions[:, :6]).max() <= 1.0
    assert set(np.unique(actions[:, 6])) == {0.0, 1.0}
    # the gripper really opens and shuts as told, some steps later
    opening = world.recording.state[:, 7]
    assert opening[actions[:, 6] == 1.0][:10].min() > 0.9
    assert opening[np.flatnonzero(actions[:, 6] == 0.0)[12]] < 0.5

"""One LIBERO task, live: start from an official initial state, step with actions, ask whether the goal holds.

Building an environment compiles meshes for seconds, so it is built once a task; `start` puts everything back that an
episode can have changed, so that an episode does not depend on what ran before it (tested).
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from jaxtyping import Float

from model.errors import ConfigError
from trainer.episodes.episode import ActionSpace

from .extra import load
from .scene import Scene
from .tasks import Task, initial_states

CONTROL_HZ = 20.0
_SETTLING_STEPS = 10  # the official initial states hold their objects some centimetres above the table
ACTION_SPACE = ActionSpace(metres_per_unit=0.05, radians_per_unit=0.5, frame="base")


class Environment:
    """A LIBERO task with OSC_POSE control at 20 Hz.

    Attributes:
        task: What is being done.
        goal: The conjunction that the environment checks, such as `[("on", "akita_black_bowl_1", "plate_1")]`.
        scene: Model, data and the names that matter in them.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self._initial_states = initial_states(task)
        # Fixtures (cabinets, stoves) get their place from numpy's global generator while the model is built, not from
        # the initial state: a fixed seed makes the scene the same in every process.
        generator_state = np.random.get_state()
        np.random.seed(0)
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                wrapper = load("libero.libero.envs.env_wrapper").ControlEnv(
                    bddl_file_name=str(task.bddl_file), has_offscreen_renderer=False, use_camera_obs=False
                )
        finally:
            np.random.set_state(generator_state)
        self._env: Any = wrapper.env
        self._env._observables.clear()  # nobody reads them, and robosuite updates them 25 times a control step
        simulator = self._env.sim
        self.scene = Scene(simulator.model._model, simulator.data._data)
        self.goal = [tuple(clause) for clause in self._env.parsed_problem["goal_state"]]

    def start(self, initial_state: int) -> None:
        """Puts simulator, controller and gripper into an official initial state and lets the objects come to rest.

        Raises:
            ConfigError: The task has no such initial state.
        """
        if not 0 <= initial_state < len(self._initial_states):
            raise ConfigError(
                f"--first-state: {self.task.label} has initial states 0 to {len(self._initial_states) - 1}"
            )
        self._env.sim.reset()
        self._env.timestep, self._env.cur_time, self._env.done = 0, 0.0, False
        self.scene.show(self._initial_states[initial_state])
        robot = self._env.robots[0]
        joints = self.scene.data.qpos.copy()
        robot.reset(deterministic=True)  # a new controller; it also moves the joints to robosuite's own home
        self.scene.data.qpos[:] = joints
        robot.gripper.current_action = np.zeros(robot.gripper.dof)
        self._env.sim.forward()
        robot.controller.update(force=True)
        robot.controller.reset_goal()
        self._env._post_process()
        stay = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
        for _ in range(_SETTLING_STEPS):
            self.step(stay)

    def step(self, action: Float[np.ndarray, " 7"]) -> None:
        """Advances one control step. `action` is the episode's own (gripper 0 shut .. 1 open), entries within +-1."""
        command = np.array(action, dtype=np.float64)
        command[6] = 1.0 - 2.0 * command[6]
        self._env.step(command)

    def body_of(self, name: str) -> str:
        """The MuJoCo body of an object, fixture or region that the goal names (a region: the thing it belongs to)."""
        things = {**self._env.objects_dict, **self._env.fixtures_dict}
        owner = max((thing for thing in things if name.startswith(thing)), key=len)
        return things[owner].root_body

    def bodies(self) -> list[str]:
        """The MuJoCo bodies of all objects and fixtures."""
        return [
            thing.root_body for things in (self._env.objects_dict, self._env.fixtures_dict) for thing in things.values()
        ]

    def joint_of(self, region: str) -> str:
        """The joint that opens and shuts a region which the goal names.

        Raises:
            ConfigError: The region does not open by one joint.
        """
        site = self._env.object_sites_dict.get(region)
        joints = [] if site is None else list(site.joints or [])
        if len(joints) != 1:
            raise ConfigError(f"{self.task.label}: '{region}' does not open by one joint")
        return joints[0]

    def succeeded(self) -> bool:
        """Whether the environment's own goal check holds now."""
        return bool(self._env._check_success())

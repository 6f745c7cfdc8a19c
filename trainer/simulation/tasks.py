"""LIBERO's tasks: from what a user types (suite, index or name) to the files of one task."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from model.errors import ConfigError

from .extra import load

SUITES = ("libero_object", "libero_spatial", "libero_goal", "libero_10", "libero_90")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task of a suite.

    Attributes:
        suite: `libero_object`, `libero_spatial`, `libero_goal`, `libero_10` or `libero_90`.
        index: Position in the suite's own order.
        name: The suite's own name of the task, also its file name.
        instruction: What the policy is told.
        bddl_file: Problem definition (objects, regions, goal).
    """

    suite: str
    index: int
    name: str
    instruction: str
    bddl_file: Path

    @property
    def label(self) -> str:
        """Short and unique, fit for a folder's name."""
        return f"{self.suite}-{self.index}"


def find_task(suite: str, task: str) -> Task:
    """Finds a task by its index, its exact name, or an unambiguous part of its name.

    Raises:
        ConfigError: No such suite or task; the message lists what there is.
    """
    tasks = tasks_of(suite)
    if task.isdecimal():
        if int(task) >= len(tasks):
            raise ConfigError(f"--task: {suite} has tasks 0 to {len(tasks) - 1}, not {task}")
        return tasks[int(task)]
    wanted = task.lower().replace(" ", "_")
    exact = [candidate for candidate in tasks if candidate.name.lower() == wanted]
    matches = exact or [candidate for candidate in tasks if wanted in candidate.name.lower()]
    if len(matches) != 1:
        found = matches or tasks
        listing = "\n".join(f"  {candidate.index:>2}  {candidate.name}" for candidate in found)
        raise ConfigError(
            f"--task: {len(matches)} tasks of {suite} match '{task}'; give an index or a name of\n{listing}"
        )
    return matches[0]


def tasks_of(suite: str) -> list[Task]:
    """All tasks of a suite in its own order.

    Raises:
        ConfigError: No such suite.
    """
    benchmark, files = _suite(suite)
    tasks: list[Task] = []
    for index in range(benchmark.n_tasks):
        entry = benchmark.get_task(index)
        bddl_file = files / entry.problem_folder / entry.bddl_file
        tasks.append(Task(suite=suite, index=index, name=entry.name, instruction=entry.language, bddl_file=bddl_file))
    return tasks


def initial_states(task: Task) -> Float[np.ndarray, "n q"]:
    """The suite's official initial simulator states of a task (time, qpos, qvel)."""
    benchmark, _ = _suite(task.suite)
    return np.asarray(benchmark.get_task_init_states(task.index), dtype=np.float64)


def _suite(name: str):
    """LIBERO's benchmark object in its unpermuted order, and the folder of problem definitions."""
    library = load("libero.libero")
    chatter = io.StringIO()
    with contextlib.redirect_stdout(chatter):
        registry = load("libero.libero.benchmark").get_benchmark_dict()
        if name not in registry:
            raise ConfigError(f"--suite: no suite '{name}'; choose one of {', '.join(SUITES)}")
        return registry[name](task_order_index=0), Path(library.get_libero_path("bddl_files"))

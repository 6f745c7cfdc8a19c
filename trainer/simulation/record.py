"""`python -m trainer record`: drives real LIBERO tasks with scripted experts and records the episodes that succeed."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from model.errors import ConfigError

from .attempts import Attempt, read_list
from .extra import require
from .session import Session, record_until, write
from .tasks import Task, find_task, initial_states

log = logging.getLogger(__name__)

RECORDED = Path(__file__).with_name("recorded.json")
_TRIES_PER_EPISODE = 3
_LARGEST = 1024  # pixels
_ONE_SOURCE = "give either --suite and --task, or --again LIST, or --human lift, or --demos FILE"


@dataclass(frozen=True, kw_only=True)
class RecordArguments:
    """Record episodes of a real LIBERO task, with exact depth, bodies and poses (needs the extra [libero]).

    Each attempt is simulated first; only what the environment itself calls a success is rendered and written, to
    OUT/SUITE-TASK/STATE-SEED. Run the same command again to go on where it stopped.

    Attributes:
        out: Folder for the recordings. Without it nothing is recorded: the success rate k/n is reported.
        suite: libero_object, libero_spatial, libero_goal, libero_10 or libero_90.
        task: Index of the task in its suite, or its name (a part of it will do).
        episodes: Episodes to record; without --out, attempts to make.
        resolution: Height and width of the images, pixels.
        frame_stride: Render every n-th control step (20 a second).
        first_state: Official initial state to start from; the next episode takes the next one.
        seed: Varies speed, heights and grasps a little. The same command gives the same bytes.
        again: Make a whole set again from its list; 'bundled' is the list this program's own data came from.
        human: Instead of an expert, replay the human demonstrations that robosuite carries.
        demos: Instead of an expert, replay the demonstrations of a LIBERO HDF5 file from their stored states.
    """

    out: Path | None = None
    suite: str | None = None
    task: str | None = None
    episodes: int = 1
    resolution: int = 128
    frame_stride: int = 1
    first_state: int = 0
    seed: int = 0
    again: str | None = None
    human: Literal["lift"] | None = None
    demos: Path | None = None


def main(argv: list[str]) -> int:
    """Records; returns 0, or 1 where fewer episodes succeeded than were asked for."""
    arguments = tyro.cli(RecordArguments, args=argv, prog="python -m trainer record")
    _check(arguments)
    require(rendering=arguments.out is not None)
    match arguments:
        case RecordArguments(human="lift", out=Path() as out):
            return _record_human(arguments, out)
        case RecordArguments(demos=Path() as demos, out=Path() as out):
            return _record_demos(arguments, demos, out)
        case RecordArguments(again=str(listed), out=Path() as out):
            return _record_again(arguments, RECORDED if listed == "bundled" else Path(listed), out)
        case RecordArguments(suite=str(suite), task=str(task)):
            return _record_task(arguments, find_task(suite, task))
        case _:
            raise ConfigError(_ONE_SOURCE)


def _check(arguments: RecordArguments) -> None:
    """Refuses values that make no sense, by name."""
    for name, low in (("episodes", 1), ("resolution", 16), ("frame_stride", 1), ("first_state", 0), ("seed", 0)):
        value = getattr(arguments, name)
        if value < low:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least {low}, got {value}")
    if arguments.resolution > _LARGEST:
        raise ConfigError(f"--resolution must be at most {_LARGEST}, got {arguments.resolution}")
    suite, task, again, human = arguments.suite, arguments.task, arguments.again, arguments.human
    sources = [suite is not None or task is not None, *(one is not None for one in (again, human, arguments.demos))]
    if sum(sources) != 1 or (suite is None) != (task is None):
        raise ConfigError(_ONE_SOURCE)
    if arguments.out is None and not sources[0]:
        raise ConfigError("--out: say where the recordings go")


def _record_task(arguments: RecordArguments, task: Task) -> int:
    """Records as many episodes as asked for, or reports the success rate."""
    states = len(initial_states(task))
    if arguments.first_state >= states:
        raise ConfigError(f"--first-state: {task.label} has initial states 0 to {states - 1}")
    with _session(task, arguments, arguments.out) as session:
        tries = arguments.episodes * (_TRIES_PER_EPISODE if arguments.out else 1)
        attempts = list(itertools.islice(_attempts(task, arguments, states), tries))
        wanted = arguments.episodes if arguments.out else len(attempts) + 1
        successes, tried = record_until(session, attempts, wanted)
    print(f"{task.label} '{task.instruction}': {successes}/{tried} succeeded")  # noqa: T201
    return 0 if successes >= arguments.episodes or arguments.out is None else 1


def _session(task: Task, arguments: RecordArguments, out: Path | None) -> Session:
    return Session(task, out, resolution=arguments.resolution, frame_stride=arguments.frame_stride)


def _attempts(task: Task, arguments: RecordArguments, states: int) -> Iterator[Attempt]:
    """One attempt per initial state, then again with the next seed."""
    for number in itertools.count(arguments.first_state):
        seed = arguments.seed + number // states
        yield Attempt(task.suite, task.index, number % states, seed)


def _record_again(arguments: RecordArguments, path: Path, out: Path) -> int:
    """Makes every recording of a list, task by task."""
    listed = sorted(read_list(path))
    missing = 0
    for (folder, suite, index), group in itertools.groupby(listed, lambda item: (item[0], item[1].suite, item[1].task)):
        attempts = [attempt for _, attempt in group]
        with _session(find_task(suite, str(index)), arguments, out / folder) as session:
            successes, _ = record_until(session, attempts, len(attempts))
        print(f"{folder}/{suite}-{index}: {successes}/{len(attempts)} recorded")  # noqa: T201
        missing += len(attempts) - successes
    return 1 if missing else 0


def _record_human(arguments: RecordArguments, out: Path) -> int:
    from .human import lift_demos, record_demo

    for demo in lift_demos()[: arguments.episodes]:
        folder = out / "human-lift" / demo.name
        if not (folder / "manifest.json").is_file():
            write(record_demo(demo, resolution=arguments.resolution, frame_stride=arguments.frame_stride), folder)
        log.info(f"{folder}: recorded")
    return 0


def _record_demos(arguments: RecordArguments, path: Path, out: Path) -> int:
    from .rerender import demo_names, rerendered

    names = demo_names(path)[: arguments.episodes]
    folders = {name: out / path.stem / name for name in names}
    left = frozenset(name for name, folder in folders.items() if not (folder / "manifest.json").is_file())
    demos = rerendered(path, resolution=arguments.resolution, frame_stride=arguments.frame_stride, names=left)
    for name, recording in demos:
        write(recording, folders[name])
        log.info(f"{folders[name]}: recorded")
    return 0

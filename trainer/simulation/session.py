"""Recording many episodes: simulate first, render only what succeeded, write each episode whole, skip what exists."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from model.errors import EpisodeError
from trainer.episodes.episode import EpisodeInfo
from trainer.episodes.packed import save_packed
from trainer.episodes.recording import Recording

from .attempts import Attempt, AttemptLog
from .demonstrate import Demonstration, demonstrate
from .environment import ACTION_SPACE, CONTROL_HZ, Environment
from .recorder import VIEWS, replay
from .renderer import Renderer
from .tasks import Task

log = logging.getLogger(__name__)

_FREE_BYTES = 200 << 20  # an episode of 224 px at every step takes some 30 MB


class Session:
    """Records attempts at one task into an output folder, building the environment when it is first needed.

    Args:
        task: What to do.
        out: Output folder; None simulates only.
        resolution: Height and width of the images, pixels.
        frame_stride: Render every n-th control step.
    """

    def __init__(self, task: Task, out: Path | None, *, resolution: int, frame_stride: int) -> None:
        self.task = task
        self._out, self._resolution, self._frame_stride = out, resolution, frame_stride
        self._log = AttemptLog(out) if out else None
        self._environment: Environment | None = None
        self._renderer: Renderer | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        if self._renderer:
            self._renderer.close()

    @property
    def environment(self) -> Environment:
        """The live task."""
        if self._environment is None:
            self._environment = Environment(self.task)
        return self._environment

    def outcome(self, attempt: Attempt) -> bool | None:
        """What an earlier run found: recorded (True), failed (False), or not tried (None)."""
        if self._out is None or self._log is None:
            return None
        if (self._out / attempt.folder / "manifest.json").is_file():
            return True
        return False if self._log.outcome(attempt) is False else None

    def run(self, attempt: Attempt) -> bool:
        """Makes an attempt and records it if the environment reports success.

        Raises:
            EpisodeError: No room on the disk.
        """
        demonstration = demonstrate(self.environment, attempt.initial_state, attempt.seed)
        if self._out is None or self._log is None:
            return demonstration.succeeded
        if demonstration.succeeded:
            write(self._record(attempt, demonstration), self._out / attempt.folder)
        self._log.add(attempt, demonstration.succeeded)
        return demonstration.succeeded

    def _record(self, attempt: Attempt, demonstration: Demonstration) -> Recording:
        if self._renderer is None:
            self._renderer = Renderer(self.environment.scene, self._resolution, self._resolution)
        info = EpisodeInfo(
            source="libero",
            instruction=self.task.instruction,
            length=len(demonstration.states),
            control_hz=CONTROL_HZ,
            frame_stride=self._frame_stride,
            views=VIEWS,
            depth_scale="metric",
            depth_origin="true",
            has_exact_flow=True,
            outcome="success",
            action_space=ACTION_SPACE,
            task=self.task.label,
            initial_state=attempt.initial_state,
            seed=attempt.seed,
            renderer=self._renderer.name,
        )
        states, actions = demonstration.states, demonstration.actions
        return replay(self.environment.scene, self._renderer, info=info, states=states, actions=actions)


def write(recording: Recording, folder: Path) -> None:
    """Packs a recording into a folder that appears complete or not at all.

    Raises:
        EpisodeError: The disk is full, or the folder cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder.parent).free
        if free < _FREE_BYTES:
            raise EpisodeError(
                f"{folder}: only {free >> 20} MB free on its disk, {_FREE_BYTES >> 20} wanted; make room"
            )
        save_packed(recording, folder)
    except OSError as error:
        raise EpisodeError(f"{folder}: {error.strerror}; what was recorded before is complete, run again") from error


def record_until(session: Session, attempts: Sequence[Attempt], wanted: int) -> tuple[int, int]:
    """Makes attempts in order until enough succeeded, skipping what an earlier run did: (successes, attempts)."""
    successes, spent, timed = 0, 0.0, 0
    for tried, attempt in enumerate(attempts):
        if successes == wanted:
            return successes, tried
        outcome = session.outcome(attempt)
        if outcome is None:
            start = time.monotonic()
            outcome = session.run(attempt)
            spent, timed = spent + time.monotonic() - start, timed + 1
        successes += outcome
        left = (min(wanted, len(attempts)) - successes) * spent / max(timed, 1)
        verdict = "success" if outcome else "failure"
        log.info(f"{attempt.folder}: {verdict}; {successes}/{tried + 1} succeeded, about {left:.0f} s left")
    return successes, len(attempts)

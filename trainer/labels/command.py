"""`python -m trainer label tracks|depth PATH... --store DIR`: labels for episodes that come without them."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import tyro

from model.errors import ConfigError
from trainer.episodes.open import find_episodes

from .anchors import AnchorSource
from .depth_labeller import DepthLabeller
from .gpus import visible_gpus
from .jobs import Job, LabellerOptions, Outcome
from .local_pool import run_local
from .rates import measured, projection
from .track_labeller import TrackLabeller

_log = logging.getLogger(__name__)
_PACE = 100
"""So many outcomes back, the pace begins that the time left is reckoned by."""
_TELL_KEPT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class LabelOptions:
    """What all labelling has in common. Killed at any time, the same command goes on where it was.

    Attributes:
        episodes: Episodes, or files and folders with episodes in them.
        store: Folder of the labels.
        view: Whose frames.
        workers: Processes at once; 0 = one a core. Where a network runs on GPUs, two a GPU at most.
        engine: This machine's processes, or Ray Data (extra `[ray]`).
        ray_address: Of a running Ray cluster; default: Ray on this machine alone.
        retry_failed: Try again what is on record as failed.
        project: Also print what this many trajectories would take, from what was measured in this run; depth networks
            on GPUs are added by computation, and say so.
        cost_per_hour: Of one worker here, for --project.
        gpu_cost_per_hour: Of a GPU, for --project.
    """

    episodes: tyro.conf.Positional[tuple[Path, ...]]
    store: Path
    view: Literal["static", "wrist"] = "static"
    workers: int = 0
    engine: Literal["local", "ray"] = "local"
    ray_address: str | None = None
    retry_failed: bool = False
    project: int | None = None
    cost_per_hour: float = 0.0
    gpu_cost_per_hour: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TrackOptions(LabelOptions):
    """2D tracks of a grid of points from every frame.

    Attributes:
        grid: Points along each axis of the image.
        reach: Frames that each start is followed for.
        tracker: FILE.py:FUNCTION of your own tracker (TAPNext, CoTracker, DELTA): it gets frames (f, h, w, 3) uint8 and
            pixels (p, 2) of the first, and returns pixels (p, f, 2) and visibility (p, f). Default: the classical
            recipe.
        moving_camera: The camera moves: nothing is held in place.
        check: Store nothing; compare with the exact flow of simulated episodes and print how far off the tracks are.
    """

    grid: int = 28
    reach: int = 20
    tracker: str | None = None
    moving_camera: bool = False
    check: bool = False


@dataclass(frozen=True, kw_only=True)
class DepthOptions(LabelOptions):
    """Pseudo-depth of every frame, metric where its scale can be known.

    Attributes:
        model: Folder or downloaded hub id of a Depth-Anything-V2 model, relative or metric.
        temporal: FILE.py:FUNCTION of a temporal model (Video-Depth-Anything): it gets frames (f, h, w, 3) uint8 and
            returns inverse depth (f, h, w). Its scale comes from --anchors, else from a metric --model.
        anchors: What fixes the scale: the episode's own sensor, a table plane, or the gripper's tip.
        plane_height: For --anchors plane: its z in the world, metres.
        max_side: Depth is kept at this many pixels a side at most.
    """

    model: str | None = None
    temporal: str | None = None
    anchors: AnchorSource | None = None
    plane_height: float | None = None
    max_side: int = 256


_Command = (
    Annotated[TrackOptions, tyro.conf.subcommand("tracks")] | Annotated[DepthOptions, tyro.conf.subcommand("depth")]
)


def main(argv: list[str]) -> int:
    """Labels; returns 0, or 1 when an episode failed."""
    options = tyro.cli(_Command, args=argv, prog="python -m trainer label")  # pyright: ignore[reportArgumentType, reportCallIssue]
    if options.workers < 0:
        raise ConfigError(f"--workers must be >= 0, got {options.workers}")
    names = [name for path in options.episodes for name in find_episodes(path)]
    if not names:
        raise ConfigError(f"{' '.join(map(str, options.episodes))}: holds no episode")
    if isinstance(options, TrackOptions) and options.check:
        from .accuracy import check_tracks

        sys.stdout.write(check_tracks(names, _tracks(options)))
        return 0
    labeller = _tracks(options) if isinstance(options, TrackOptions) else _depth(options)
    by = labeller.identity["name"]  # its network is looked for: without it no episode could be labelled
    _log.info("%d episodes, %s by %s; those labelled before are kept", len(names), labeller.kind, by)
    jobs = [
        Job(episode=name, labeller=labeller, store=options.store, retry_failed=options.retry_failed) for name in names
    ]
    with closing(_run(jobs, options)) as running:
        outcomes = list(_told(running, len(jobs)))
    return _report(outcomes, labeller, options)


def _run(jobs: Sequence[Job], options: LabelOptions) -> Generator[Outcome]:
    workers = options.workers or os.cpu_count() or 1
    if options.engine == "local":
        wants_gpu = any(job.labeller.wants_gpu for job in jobs)
        return run_local(jobs, workers, gpus=visible_gpus() if wants_gpu else ())
    from .ray_pool import run_ray

    return run_ray(jobs, workers, options.ray_address)


def _told(running: Iterator[Outcome], total: int) -> Iterator[Outcome]:
    """Passes outcomes on and tells of each (of those kept, of one now and then), with the time that is left."""
    times = deque([time.monotonic()], maxlen=_PACE)
    told = -_TELL_KEPT_S
    for done, outcome in enumerate(running, 1):
        now = time.monotonic()
        if outcome.status != "kept":
            left = timedelta(seconds=round((now - times[0]) / len(times) * (total - done)))
            times.append(now)
            what = outcome.error or f"{outcome.frames} frames, {outcome.seconds:.1f} s, {outcome.bytes / 2**20:.2f} MiB"
            _log.info("%d/%d %s: %s: %s; %s left", done, total, outcome.episode, outcome.status, what, left)
        else:
            if len(times) == 1:  # looking for what is there says nothing of how long the rest takes
                times[0] = now
            if now - told >= _TELL_KEPT_S:
                told = now
                _log.info("%d/%d %s: was there", done, total, outcome.episode)
        yield outcome


def _report(outcomes: Sequence[Outcome], labeller: LabellerOptions, options: LabelOptions) -> int:
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    kept = sum(outcome.status == "kept" for outcome in outcomes)
    made = len(outcomes) - kept - len(failed)
    sys.stdout.write(f"{made} made, {kept} were there, {len(failed)} failed; {options.store / labeller.kind}\n")
    for outcome in failed:
        sys.stdout.write(f"failed: {outcome.episode}: {outcome.error}\n")
    if failed:
        sys.stdout.write("the same command with --retry-failed tries these again\n")
    if options.project is not None:
        rate = measured(f"{labeller.kind} ({labeller.identity['name']})", outcomes)
        table = "nothing was made in this run, so there is no rate to project"
        if rate is not None:
            costs = {"worker_cost": options.cost_per_hour, "gpu_cost": options.gpu_cost_per_hour}
            table = projection(rate, options.project, **costs)
        sys.stdout.write(table + "\n")
    return 1 if failed else 0


def _tracks(options: TrackOptions) -> TrackLabeller:
    return TrackLabeller(
        grid=options.grid,
        reach=options.reach,
        tracker=options.tracker,
        view=options.view,
        still_camera=not options.moving_camera,
    )


def _depth(options: DepthOptions) -> DepthLabeller:
    return DepthLabeller(
        model=options.model,
        temporal=options.temporal,
        anchors=options.anchors,
        plane_height=options.plane_height,
        view=options.view,
        max_side=options.max_side,
    )

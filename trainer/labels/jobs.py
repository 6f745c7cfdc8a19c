"""One labelling job: idempotent, atomic, never raising.

A job runs in any process of any machine that sees the episodes and the store: what it needs is plain data. Whether its
label is there already it finds out itself: opening an episode is a part of the work that workers share.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from model.errors import WorkbenchError
from trainer.episodes.open import open_episode

from .depth_labeller import DepthLabeller
from .labeller import Labeller, label_key
from .store import LabelStore
from .track_labeller import TrackLabeller

LabellerOptions = TrackLabeller | DepthLabeller


@dataclass(frozen=True, kw_only=True)
class Job:
    """Label one episode.

    Attributes:
        episode: PATH#INDEX.
        labeller: With all its parameters; picklable.
        store: Where the label goes.
        retry_failed: Try again what is on record as failed.
    """

    episode: str
    labeller: LabellerOptions
    store: Path
    retry_failed: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a job.

    Attributes:
        episode: PATH#INDEX.
        status: made, kept (it was there already), or failed (now or before).
        error: Why it failed.
        seconds: From beginning to end.
        processor_seconds: Of the worker's process alone, all its threads: what another process took is not in it.
        bytes: Of the label that was made.
        frames: Frames of the episode.
    """

    episode: str
    status: Literal["made", "kept", "failed"]
    error: str | None = None
    seconds: float = 0.0
    processor_seconds: float = 0.0
    bytes: int = 0
    frames: int = 0


def run_job(job: Job) -> Outcome:
    """Makes the label unless it is there or failed before. Bad input becomes a failure on record, not an exception.

    Raises:
        OSError: The store cannot be written (a full disk): no other job could either.
    """
    began, worked = time.perf_counter(), time.process_time()
    labeller = _labeller(job.labeller)
    store = LabelStore(job.store, labeller.kind)
    try:
        episode = open_episode(job.episode)
        key = label_key(episode.content_hash, labeller.identity)
        if store.has(key):
            return Outcome(episode=job.episode, status="kept", frames=len(episode.frame_steps))
        if not job.retry_failed and (why := store.failure(key)) is not None:
            return Outcome(episode=job.episode, status="failed", error=why)
    except WorkbenchError as error:
        return Outcome(episode=job.episode, status="failed", error=str(error))
    try:
        label = labeller.label(episode)
    except (WorkbenchError, MemoryError) as error:
        why = f"its label does not fit into memory ({error})" if isinstance(error, MemoryError) else str(error)
        store.fail(key, job.episode, why)
        return Outcome(episode=job.episode, status="failed", error=why)
    label = dataclasses.replace(label, facts={**label.facts, "content_hash": episode.content_hash})
    written = store.write(key, label)
    return Outcome(
        episode=job.episode,
        status="made",
        seconds=time.perf_counter() - began,
        processor_seconds=time.process_time() - worked,
        bytes=written,
        frames=len(episode.frame_steps),
    )


@cache
def _labeller(options: LabellerOptions) -> Labeller:
    """The first of equal labellers in this process: its network stays loaded."""
    return options

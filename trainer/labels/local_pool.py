"""Jobs on the processes of this machine: each worker is a lane of its own, so that a death costs one episode.

A pool that shares its queue breaks as a whole when a worker is killed; here a lane that loses its process takes a new
one, tries the episode once more and then reports it as failed.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process

from .gpus import shared
from .jobs import Job, Outcome, run_job

_ATTEMPTS = 2


def run_local(
    jobs: Sequence[Job], workers: int, *, gpus: Sequence[str] = (), work: Callable[[Job], Outcome] = run_job
) -> Generator[Outcome]:
    """Yields outcomes as they come, in no particular order. Closing the iterator stops after the running jobs.

    Args:
        jobs: What to do.
        workers: Processes at once; with GPUs, two a GPU at most.
        gpus: Of this machine, as CUDA_VISIBLE_DEVICES names them: each process sees one, in turn.
        work: What a worker does; a function of a module.

    Raises:
        Exception: Whatever `work` raised: it concerns more than one job, so the rest is given up.
    """
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    done: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
    stop = threading.Event()
    count = min(shared(workers, len(gpus))[0], len(jobs))
    own = [gpus[lane % len(gpus)] if gpus else None for lane in range(count)]
    lanes = [threading.Thread(target=_lane, args=(waiting, done, stop, work, gpu), daemon=True) for gpu in own]
    for lane in lanes:
        lane.start()
    try:
        for _ in jobs:
            outcome = done.get()
            if isinstance(outcome, BaseException):
                raise outcome
            yield outcome
    finally:
        stop.set()
        for lane in lanes:
            lane.join()


def _lane(
    waiting: queue.SimpleQueue[Job],
    done: queue.SimpleQueue[Outcome | BaseException],
    stop: threading.Event,
    work: Callable[[Job], Outcome],
    gpu: str | None,
) -> None:
    pool = _worker(gpu)
    try:
        while not stop.is_set():
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            outcome: Outcome | None = None
            for _ in range(_ATTEMPTS):
                try:
                    outcome = pool.submit(work, job).result()
                    break
                except BrokenProcessPool:
                    pool.shutdown(wait=False)
                    pool = _worker(gpu)
            done.put(outcome or Outcome(episode=job.episode, status="failed", error="its worker process died twice"))
    except BaseException as error:
        done.put(error)
    finally:
        pool.shutdown()


def _worker(gpu: str | None) -> ProcessPoolExecutor:
    """A process that starts clean: threads and locks of this one do not come along."""
    return ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn"), initializer=_begin, initargs=(gpu,))


def _begin(gpu: str | None) -> None:
    """One thread of work: processes are the parallelism, threads beside them would only compete. And one GPU."""
    if gpu is not None:  # before torch looks for any
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"
    import cv2

    cv2.setNumThreads(1)


def _end_with_parent() -> None:
    """A worker whose program was killed would wait for its next job for ever, its network in memory."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

"""The process dies at any moment of saving a checkpoint: the newest whole one is always there, bit for bit.

Run as a program, this file is the victim: it forks one writer for every point at which a writer can die.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.config import PolicyConfig, preset
from tests.policy_factories import make_policy
from trainer.files import read_json
from trainer.loop.checkpoint import CHECKPOINT, METADATA
from trainer.loop.ema import Ema
from trainer.loop.optim import build_optimizer
from trainer.loop.resume import KEEP, OPTIMIZER, RAW, Progress, RunStore, restore_run

pytestmark = pytest.mark.chaos
ROOT = Path(__file__).parents[2]
TIMED_KILLS = 20
GO_ON_EVERY = 7
BOUNDARIES = ("open", "os.", "shutil.", "fsync")


def minute() -> PolicyConfig:
    """As little policy as there can be: hundreds of checkpoints are written, and their size proves nothing."""
    tiny = preset("tiny")
    decoder = replace(tiny.depth, width=8)
    return replace(
        tiny,
        image=replace(tiny.image, width=8),
        text=replace(tiny.text, width=8, vocabulary=16),
        resampler=replace(tiny.resampler, heads=1, head_dim=4),
        trunk=replace(tiny.trunk, width=8, layers=1),
        depth=decoder,
        future=decoder,
        flow=replace(tiny.flow, width=8, frequencies=2),
        action=replace(tiny.action, width=8, latent=2),
    )


class Sitting:
    """A policy in training; every weight is the number of the save, so that a checkpoint says which one it is."""

    def __init__(self) -> None:
        self.policy = make_policy(minute())
        self.ema = Ema(self.policy, 0.9)
        self.optimizer = build_optimizer(self.policy, 0.01, 0.0)
        for parameter in self.policy.parameters():
            parameter.grad = torch.ones_like(parameter)
        self.optimizer.step()

    def save(self, run: Path, step: int) -> None:
        with torch.no_grad():
            for parameter in self.policy.parameters():
                parameter.fill_(float(step))
        RunStore(run).save(
            policy=self.policy,
            ema=self.ema,
            optimizer=self.optimizer,
            config=self.policy.config,
            metadata={},
            progress=Progress(step=step, elapsed_s=0.0, windows=0),
        )

    def load_newest(self, run: Path) -> int:
        """Restores the newest whole checkpoint and returns its step."""
        newest = RunStore(run).newest()
        assert newest is not None
        progress = restore_run(
            newest,
            policy=self.policy,
            ema=self.ema,
            optimizer=self.optimizer,
            metadata=read_json(newest / METADATA, CHECKPOINT),
        )
        return progress.step


def newest_step(run: Path) -> int:
    """The step of the newest whole checkpoint; fails if there is none, or its content is of another save."""
    newest = RunStore(run).newest()
    assert newest is not None, "every checkpoint is lost"
    step = read_json(newest / METADATA, CHECKPOINT)["run"]["step"]
    assert newest.name == f"step-{step:06d}"
    assert all(bool((value == step).all()) for value in load_file(newest / RAW).values())
    assert (newest / OPTIMIZER).stat().st_size > 0
    return step


def fork(work: Callable[[], None]) -> int:
    """Process id of a child that does `work` and ends."""
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    return child


def die_at(point: int, run: Path, *, torn: bool) -> Callable[[str, object], None]:
    """An audit hook that ends the process just before its system call number `point`.

    With `torn`, the newest unfinished file loses its second half first: a write that was cut short.
    """
    count = 0

    def hook(event: str, _: object) -> None:
        nonlocal count
        if not event.startswith(BOUNDARIES):
            return
        count += 1
        if count == point:
            if torn:
                tear(run)
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def tear(run: Path) -> None:
    files = [path for folder in run.rglob("*.tmp-*") for path in ([folder] if folder.is_file() else folder.iterdir())]
    if files:
        newest = max(files, key=lambda path: path.stat().st_mtime_ns)
        os.truncate(newest, newest.stat().st_size // 2)


def save_and_die(sitting: Sitting, run: Path, point: int, torn: bool) -> None:
    hook, real = die_at(point, run, torn=torn), os.fsync

    def fsync(descriptor: int) -> None:
        hook("fsync", ())
        real(descriptor)

    os.fsync = fsync
    sys.addaudithook(hook)
    sitting.save(run, KEEP + 1)


def kill_everywhere(folder: Path, sitting: Sitting) -> dict[str, int]:
    """One writer dies at every boundary, whole and torn; returns how many died and which saves survived."""
    base = folder / "base"
    for step in range(1, KEEP + 1):
        sitting.save(base, step)  # so that the next save also prunes
    found = {"died": 0, "old": 0, "new": 0}
    for torn in (False, True):
        for point in range(1, 10_000):
            run = folder / f"{torn}-{point}"
            shutil.copytree(base, run, copy_function=os.link)  # published files are never written to again
            _, status = os.waitpid(fork(lambda: save_and_die(sitting, run, point, torn)), 0)  # noqa: B023
            step = newest_step(run)
            assert step in (KEEP, KEEP + 1)
            if point % GO_ON_EVERY == 0:
                go_on(sitting, run)
            shutil.rmtree(run)
            if not os.WIFSIGNALED(status):
                break  # the writer finished before this point: all boundaries are done
            found["died"] += 1
            found["new" if step > KEEP else "old"] += 1
    return found


def go_on(sitting: Sitting, run: Path) -> None:
    """The next sitting resumes, saves, and clears what the dead one left."""
    sitting.load_newest(run)
    sitting.save(run, KEEP + 2)
    assert newest_step(run) == KEEP + 2, "saving does not go on after the crash"
    assert not list(run.rglob("*.tmp-*")), "what the dead writer left was not swept"


def kill_by_the_clock(folder: Path, sitting: Sitting) -> int:
    """Writers that save in a loop are killed at odd times; returns how many checkpoints were seen afterwards."""
    seen = 0
    for attempt in range(TIMED_KILLS):
        run = folder / f"clock-{attempt}"
        sitting.save(run, 1)

        def work(run: Path = run) -> None:
            for step in range(2, 10_000):
                sitting.save(run, step)

        child = fork(work)
        time.sleep(0.05 + 0.013 * attempt)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert newest_step(run) >= 1
        seen += len(RunStore(run).all())
        shutil.rmtree(run)
    return seen


@pytest.mark.parametrize("how", ["everywhere", "clock"])
def test_no_checkpoint_is_lost(tmp_path: Path, how: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path), how], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    if how == "everywhere":
        assert found["died"] >= 100
        assert found["old"] > 0
        assert found["new"] > 0  # the points after the rename: pruning, `latest`
    else:
        assert found >= TIMED_KILLS


if __name__ == "__main__":
    torch.set_num_threads(1)
    victim = kill_everywhere if sys.argv[2] == "everywhere" else kill_by_the_clock
    sys.stdout.write(json.dumps(victim(Path(sys.argv[1]), Sitting())))

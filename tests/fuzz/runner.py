"""Feeds parsers in processes of their own, watches them, and remembers how far each got.

A run goes on where the last one with the same seed stopped, so that a million inputs may take several sittings.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from .mutate import Corpus
from .worker import Progress, load

ROOT = Path(__file__).parents[2]
HANG_CPU_S = 2.0
HANG_WALL_S = 120.0  # asleep; on a busy machine anything waits
START_CPU_S = 60.0  # until the first input: libraries are imported and seeds made
_POLL_S = 0.1
_MOST_FINDINGS = 50
_MOST_FALSE_STARTS = 3


@dataclass
class Totals:
    """What is known of one parser, over all sittings. `cpu_s` is the parser process's processor time."""

    inputs: int = 0
    refused: int = 0
    accepted: int = 0
    cpu_s: float = 0.0
    slowest_s: float = 0.0
    slowest_input: int = 0
    rss_mb: int = 0
    contained: int = 0
    findings: int = 0


class State:
    """The totals of a run by parser, in a file."""

    def __init__(self, out: Path, seed: int) -> None:
        self._path, self.out = out / f"state-{seed}.json", out
        out.mkdir(parents=True, exist_ok=True)
        stored = json.loads(self._path.read_text()) if self._path.is_file() else {}
        self.totals = {name: Totals(**fields) for name, fields in stored.items()}

    def of(self, name: str) -> Totals:
        """The totals of one parser."""
        return self.totals.setdefault(name, Totals())

    def save(self) -> None:
        """In one piece."""
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps({name: asdict(totals) for name, totals in self.totals.items()}, indent=1))
        temporary.replace(self._path)


class Feeding:
    """One parser on its way to `goal` inputs; `poll` it until it is done.

    Args:
        name: Of the target.
        state: Where its totals are kept, and its findings go.
        goal: Inputs in all, those of earlier sittings included.
        seed: The run's number.
    """

    def __init__(self, name: str, state: State, goal: int, seed: int) -> None:
        self.name, self._state, self._goal, self._seed = name, state, goal, seed
        self._totals = state.of(name)
        shared = Path("/dev/shm")  # noqa: S108 - in memory, in a folder of a name nobody can guess
        self._folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=shared if shared.is_dir() else None))
        self._process: subprocess.Popen[bytes] | None = None
        self._suspect, self._false_starts = -1, 0
        self._counted = Progress()
        if self._totals.inputs < goal:
            self._start()

    def poll(self) -> bool:
        """Looks after the process; whether there is more to do."""
        if self._process is None:
            return False
        ended = self._process.poll()
        progress = Progress.read(self._folder / "progress")
        if ended is None and not (hang := self._hang(progress)):
            self._count(progress)
            return True
        if not progress.started:
            return self._start_again(hang if ended is None else f"it ended with {ended}")
        if ended is None:
            self._process.kill()
            ended = self._process.wait()
            self._count(progress)
            if self._suspect == progress.at:
                self._lost(progress, hang)
            self._suspect = progress.at  # on a starved machine clocks jump: only what is slow twice is slow
        else:
            self._count(progress)
            if ended not in (0, 3):  # 3: a finding of its own, that needs a fresh process
                self._lost(progress, f"the process ended with {ended}\n{self._log()}")
            elif ended == 3:
                self._totals.inputs += 1
        self._collect()
        self._process = None
        if self._totals.inputs >= self._goal or self._totals.findings >= _MOST_FINDINGS:
            return False
        self._start()
        return True

    def stop(self) -> None:
        """Ends the process, keeps what it did, and cleans up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._count(Progress.read(self._folder / "progress"))
            self._collect()
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start_again(self, why: str) -> bool:
        """A process that never came to an input says nothing of any; a starved machine may do that to it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process, self._false_starts = None, self._false_starts + 1
        if self._false_starts == _MOST_FALSE_STARTS:
            raise RuntimeError(f"{self.name}: does not start ({why})\n{self._log()}")
        self._start()
        return True

    def _log(self) -> str:
        return (self._folder / "log").read_bytes()[-2000:].decode("utf-8", "replace")

    def _start(self) -> None:
        (self._folder / "progress").write_bytes(bytes(Progress.LAYOUT.size))
        self._counted, self._seen = Progress(at=self._totals.inputs), (0, time.monotonic())
        bounds = [str(self._totals.inputs), str(self._goal), str(self._seed)]
        command = [sys.executable, "-m", "tests.fuzz.worker", self.name, *bounds, str(self._folder)]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment()
            )

    def _hang(self, progress: Progress) -> str:
        """Why the process is to be stopped, "" if it is not."""
        now, pid = time.monotonic(), self._process.pid if self._process else 0
        spent, sleeps = _looks(pid)
        if not progress.started:
            return f"no input within {spent:.0f} s of processor time" if spent > START_CPU_S else ""
        if progress.at != self._seen[0] or not sleeps:
            self._seen = (progress.at, now)
        if spent - progress.cpu_s > HANG_CPU_S and Progress.read(self._folder / "progress").at == progress.at:
            return f"computed for {spent - progress.cpu_s:.1f} s"
        return f"waited for {now - self._seen[1]:.0f} s" if now - self._seen[1] > HANG_WALL_S else ""

    def _count(self, progress: Progress) -> None:
        """Adds what is new since the last look."""
        if not progress.started:
            return
        totals, before = self._totals, self._counted
        totals.inputs += progress.at - before.at
        totals.refused += progress.refused - before.refused
        totals.accepted += progress.accepted - before.accepted
        totals.contained += progress.contained - before.contained
        totals.cpu_s += max(0.0, progress.cpu_s - (before.cpu_s or progress.began_s))
        totals.rss_mb = max(totals.rss_mb, progress.rss_kb >> 10)
        if progress.slowest_s > totals.slowest_s:
            totals.slowest_s, totals.slowest_input = progress.slowest_s, progress.slowest_at
        self._counted = progress

    def _lost(self, progress: Progress, problem: str) -> None:
        """The input during which a process ended is a finding, and is not tried again."""
        self._totals.inputs += 1
        target = load(self.name)
        seeds = target.seeds(self._folder / "bait" / "secret", self._folder / "root")
        data = Corpus(self.name, seeds, target.words, self._seed)[progress.at]
        self._keep(progress.at, problem, data)

    def _collect(self) -> None:
        found = self._folder / "findings.jsonl"
        if found.is_file():
            for line in found.read_text().splitlines():
                fields = json.loads(line)
                self._keep(fields["index"], fields["problem"], bytes.fromhex(fields["data"]))
            found.unlink()

    def _keep(self, index: int, problem: str, data: bytes) -> None:
        self._totals.findings += 1
        folder = self._state.out / "findings"
        folder.mkdir(exist_ok=True)
        stem = f"{self.name.replace(' ', '_').replace('/', '_')}-{self._seed}-{index}"
        (folder / f"{stem}.bin").write_bytes(data)
        (folder / f"{stem}.txt").write_text(problem)


def feed_all(
    names: list[str], state: State, n: int, seed: int, *, processes: int = 2, seconds: float | None = None
) -> None:
    """Feeds `n` inputs (a share of them to slow decoders) to each parser, some at once, for so many seconds at most."""
    waiting, running = list(names), list[Feeding]()
    end, shown = time.monotonic() + (seconds or 1e12), time.monotonic()
    try:
        while (waiting or running) and time.monotonic() < end:
            while waiting and len(running) < processes:
                name = waiting.pop(0)
                running.append(Feeding(name, state, max(1, n // load(name).share), seed))
            for feeding in [feeding for feeding in running if not feeding.poll()]:
                feeding.stop()
                running.remove(feeding)
            if time.monotonic() - shown > 10:
                shown = time.monotonic()
                state.save()
                doing = ", ".join(f"{f.name} {state.of(f.name).inputs:,}" for f in running)
                sys.stderr.write(f"\r{doing}; {len(waiting)} parsers wait \033[K")
            time.sleep(_POLL_S)
    finally:
        for feeding in running:
            feeding.stop()
        state.save()


def _looks(pid: int) -> tuple[float, bool]:
    """Processor time of a process and its threads, and whether it waits for something."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0, False
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), fields[0] != "R"


def _environment() -> dict[str, str]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_IO_THREADS"), "1")
    return {**os.environ, **threads, "MALLOC_ARENA_MAX": "2", "PYTHONHASHSEED": "0"}

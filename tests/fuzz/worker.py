"""One process that feeds one parser: `python -m tests.fuzz.worker TARGET START STOP SEED FOLDER`.

It may crash, hang or eat memory without harm to the run. What it is doing stands in a file that the runner maps too, so
that the runner knows which input did it.
"""

from __future__ import annotations

import codecs
import gc
import importlib
import json
import mmap
import os
import resource
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from model.errors import EpisodeError, UnsafeFileError

from .guard import Bait, ForbiddenError, Guard
from .mutate import Corpus
from .targets import Target

MOST_ADDRESSES = 6 << 30  # libraries map far more than they use; what is resident is checked after each input
MOST_ALIKE = 3
# json and pickletools ask for these by themselves, and the first time that imports a module.
_CODECS = (
    "utf-16-le",
    "utf-16-be",
    "utf-32-le",
    "utf-32-be",
    "raw-unicode-escape",
    "unicode-escape",
    "latin-1",
    "ascii",
)
_CONTAINED = "crashes the library"


@dataclass
class Progress:
    """What the runner sees of a worker: counts since it started, the input it is at, and when that began.

    `contained` counts inputs that killed a process which reads for this one, as it is there for. `cpu_s` is the
    processor time at which the current input began, `began_s` that of the first; `slowest_s` is processor time too.
    """

    at: int = 0
    refused: int = 0
    accepted: int = 0
    slowest_at: int = 0
    rss_kb: int = 0
    contained: int = 0
    started: int = 0
    slowest_s: float = 0.0
    cpu_s: float = 0.0
    began_s: float = 0.0

    LAYOUT = struct.Struct("<7q3d")

    def write(self, shared: mmap.mmap) -> None:
        """Into the file, in one copy: `pack_into` would show zeros for a moment."""
        shared[: self.LAYOUT.size] = self.LAYOUT.pack(
            *(self.at, self.refused, self.accepted, self.slowest_at, self.rss_kb, self.contained),
            *(self.started, self.slowest_s, self.cpu_s, self.began_s),
        )

    @classmethod
    def read(cls, path: Path) -> Progress:
        """From the file."""
        return cls(*cls.LAYOUT.unpack(path.read_bytes()[: cls.LAYOUT.size]))


class Worker:
    """Runs inputs START .. STOP of a target and writes what it finds as JSON lines."""

    def __init__(self, name: str, target: Target, folder: Path, seed: int) -> None:
        self._name, self._target, self._folder = name, target, folder
        self._root, bait = folder / "root", folder / "bait"
        for made in (self._root / Path(target.file).parent, bait):
            made.mkdir(parents=True, exist_ok=True)
        (bait / "secret").write_bytes(bytes(1024))
        tempfile.tempdir = str(self._root)
        self._path = self._root / target.file
        self._corpus = Corpus(name, target.seeds(bait / "secret", self._root), target.words, seed)
        self._guard, self._bait = Guard(self._root, target.allowed), Bait(bait)
        self._alike: Counter[str] = Counter()
        self._warm()
        # A process starts with its parent's peak in this figure; what exceeds it is its own. A large parent hides all.
        self._inherited_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self._hidden = self._inherited_kb > target.rss_mb << 10

    def run(self, start: int, stop: int) -> None:
        """All inputs in order."""
        with (self._folder / "progress").open("r+b") as file, mmap.mmap(file.fileno(), Progress.LAYOUT.size) as shared:
            progress = Progress(at=start, started=1, began_s=time.process_time())
            self._bait.touched()
            gc.freeze()
            for index in range(start, stop):
                progress.at, progress.cpu_s = index, time.process_time()
                progress.write(shared)
                self._one(index, progress)
            progress.at = stop
            progress.write(shared)

    def _one(self, index: int, progress: Progress) -> None:
        data = self._corpus[index]
        self._path.write_bytes(data)
        os.utime(self._path, ns=(index, index))  # two files of one size within a tick of the clock would seem one
        start = time.process_time()
        refused, problem = self._read(progress)
        spent = time.process_time() - start
        progress.refused += refused
        progress.accepted += not refused
        if spent > progress.slowest_s:
            progress.slowest_s, progress.slowest_at = spent, index
        grown = self._hidden or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > self._inherited_kb
        if grown or index % 200 == 0:
            progress.rss_kb = max(progress.rss_kb, peak_kb())
            self._inherited_kb = max(self._inherited_kb, progress.rss_kb)
        if problem is None and self._bait.touched():
            problem = "opened a file outside its root"
        if problem is None and progress.rss_kb > self._target.rss_mb << 10:
            problem = f"took {progress.rss_kb >> 10} MB"
        if problem is not None:
            self._found(index, data, problem)
        if progress.rss_kb > self._target.rss_mb << 10:
            sys.exit(3)  # what was taken is not given back; a fresh process goes on

    def _read(self, progress: Progress) -> tuple[bool, str | None]:
        """Whether the input was refused, and what is wrong with how."""
        self._guard.arm()
        refused, problem = False, None
        try:
            self._target.read(self._path, self._root)
        except (EpisodeError, UnsafeFileError) as error:
            self._guard.arm(False)
            refused, said = True, str(error)
            progress.contained += _CONTAINED in said
            if str(self._root) not in said:
                problem = f"an error that names no file: {said:.200}"
        except (Exception, ForbiddenError):
            self._guard.arm(False)  # before the traceback is made, which reads source files
            refused, problem = True, traceback.format_exc()
        finally:
            self._guard.arm(False)
        if self._guard.seen:
            problem = f"did what no parser may do: {self._guard.seen}\n{problem}"
            self._guard.seen.clear()
        return refused, problem

    def _found(self, index: int, data: bytes, problem: str) -> None:
        kind = "\n".join(line for line in problem.splitlines() if line.startswith("  File"))[-300:] or problem[:60]
        self._alike[kind] += 1
        if self._alike[kind] > MOST_ALIKE:
            return
        with (self._folder / "findings.jsonl").open("a") as file:
            file.write(json.dumps({"index": index, "problem": problem, "data": data.hex()}) + "\n")

    def _warm(self) -> None:
        """Good files first, so that every module is imported before anybody looks."""
        warnings.simplefilter("ignore")
        for codec in _CODECS:
            codecs.lookup(codec)
        Image.init()
        for index in range(self._corpus.good_files):
            self._path.write_bytes(self._corpus.good(index))
            try:
                self._target.read(self._path, self._root)
            except (EpisodeError, UnsafeFileError):
                continue


def peak_kb() -> int:
    """The most resident memory this process ever had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def load(name: str) -> Target:
    """A target by name, or `module:NAME` for one that is not in the list."""
    from .targets import TARGETS

    if ":" not in name:
        return TARGETS[name]
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def main(name: str, start: str, stop: str, seed: str, folder: str) -> None:
    """Lowest priority, bounded addresses, then the inputs."""
    os.nice(10)
    worker = Worker(name, load(name), Path(folder), int(seed))
    resource.setrlimit(resource.RLIMIT_AS, (MOST_ADDRESSES, MOST_ADDRESSES))
    worker.run(int(start), int(stop))


if __name__ == "__main__":
    main(*sys.argv[1:])

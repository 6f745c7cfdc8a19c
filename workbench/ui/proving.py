"""Proofs and knock-outs as the page runs them: each in a process of its own, under a name only its visitor knows.

A run is one of the commands `python -m workbench prove` and `knockout`; what the browser sends are names of presets,
ids of the catalogue and the text of a specification, never a path. Nothing here imports torch.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from model.config import preset_names
from model.errors import ConfigError

from ..catalog import Catalog
from ..told import without_places

Kind = Literal["prove", "diff", "knockout"]
State = Literal["running", "finished", "failed", "cancelled"]
FILES = {"proof.json": "application/json", "proof.html": "text/html", "knockout.json": "application/json"}
MAX_SPEC = 1_000_000
_ROOT = Path(__file__).resolve().parents[2]
_AT_ONCE, _KEPT = 2, 32
_PROGRESS = re.compile(r"\[(\d+)/(\d+)\] ([^\r\n]*)")
_TAIL_BYTES = 4096
_GONE = "there is no such run; it may have been cleared away, start it again"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a visitor asks for.

    Attributes:
        subject, against: `preset:NAME` or `checkpoint:ID`; `against` is the other mask or policy, "" for none.
        spec: JSON text of a specification, "" for what the configuration declares.
        everything: All execution modes instead of the default ones.
        episode, other: Ids of episodes, for knock-outs.
    """

    kind: Kind
    subject: str
    against: str = ""
    spec: str = ""
    level: Literal["group", "token"] = "group"
    everything: bool = False
    episode: str = ""
    other: str = ""


@dataclass(frozen=True, kw_only=True)
class RunView:
    """Where a run stands; `message` is one line when it failed."""

    kind: Kind
    state: State
    done: int = 0
    total: int = 0
    what: str = ""
    message: str = ""
    seconds: float = 0.0


@dataclass(kw_only=True)
class _Run:
    kind: Kind
    folder: Path
    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    cancelled: bool = False


class ProofDesk:
    """Starts, follows and cancels runs. A run's name is 128 random bits: visitors cannot find each other's.

    Args:
        catalog: Resolves ids of checkpoints and episodes.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._runs: dict[str, _Run] = {}
        self._lock = threading.Lock()
        self._folder: Path | None = None

    def start(self, wish: Wish) -> str:
        """Starts a run and returns its name.

        Raises:
            ConfigError: Something it names is not here, or too many runs are under way.
        """
        with self._lock:
            running = sum(run.process.poll() is None for run in self._runs.values())
            if running >= _AT_ONCE:
                raise ConfigError(f"{running} runs are under way on this machine; wait for one to end, or cancel yours")
            folder = self._new_folder()
            try:
                command = [sys.executable, "-m", "workbench", *self._arguments(wish, folder)]
            except ConfigError:
                shutil.rmtree(folder)
                raise
            with (folder / "log").open("wb") as log, (folder / "out").open("wb") as out:
                process = subprocess.Popen(  # noqa: S603 - a list, no shell; names and ids were looked up
                    command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=log, start_new_session=True
                )
            name = secrets.token_hex(16)
            self._runs[name] = _Run(kind=wish.kind, folder=folder, process=process)
            self._forget_old()
            return name

    def look(self, name: str) -> RunView:
        """Where a run stands.

        Raises:
            ConfigError: There is no such run.
        """
        run = self._run(name)
        code = run.process.poll()
        if code is not None and run.ended is None:
            run.ended = time.monotonic()
        log = _tail(run.folder / "log")
        done, total, what = next(iter(_PROGRESS.findall(log)[-1:]), ("0", "0", ""))
        view = RunView(
            kind=run.kind,
            state="running",
            done=int(done),
            total=int(total),
            what=what,
            seconds=(run.ended or time.monotonic()) - run.started,
        )
        if code is None:
            return view
        if run.cancelled:
            return RunView(kind=run.kind, state="cancelled", seconds=view.seconds)
        if code in (0, 1) and (run.folder / _result_name(run.kind)).is_file():
            return RunView(kind=run.kind, state="finished", done=view.total, total=view.total, seconds=view.seconds)
        message = without_places(_last_words(log), (run.folder, *self._catalog.places()))
        return RunView(kind=run.kind, state="failed", message=message, seconds=view.seconds)

    def cancel(self, name: str) -> None:
        """Ends a run; one that has ended stays as it is. Raises as `look`."""
        run = self._run(name)
        if run.process.poll() is None:
            run.cancelled = True
            _end(run.process)

    def result(self, name: str) -> str:
        """The JSON that a finished run wrote.

        Raises:
            ConfigError: There is no such run, or it has no result.
        """
        run = self._run(name)
        if self.look(name).state != "finished":
            raise ConfigError("this run has no result")
        try:
            return (run.folder / _result_name(run.kind)).read_text(encoding="utf-8")
        except FileNotFoundError:  # cleared away in this moment
            raise ConfigError(_GONE) from None

    def file(self, name: str, file: str) -> Path:
        """A file to download, one of `FILES`. Raises as `result`."""
        path = self._run(name).folder / file
        if file not in FILES or self.look(name).state != "finished" or not path.is_file():
            raise ConfigError("this run has no such file")
        return path

    def close(self) -> None:
        """Ends all runs and removes their files."""
        for run in self._runs.values():
            if run.process.poll() is None:
                _end(run.process)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _arguments(self, wish: Wish, folder: Path) -> list[str]:
        result = ["--json", str(folder / _result_name(wish.kind))]
        if wish.kind == "knockout":
            episode = self._catalog.episode(wish.episode).name
            words = ["knockout", episode, *self._subject(wish.subject, preset=False), *result]
            words += ["--other", self._catalog.episode(wish.other).name] if wish.other else []
            return words + (["--against", self._subject(wish.against, preset=False)[1]] if wish.against else [])
        words = ["prove", *self._subject(wish.subject), *result]
        if wish.spec.strip():
            if len(wish.spec) > MAX_SPEC:
                raise ConfigError(f"the specification is longer than {MAX_SPEC} characters")
            spec = folder / "specification.json"
            spec.write_text(wish.spec, encoding="utf-8")
            words += ["--spec", str(spec)]
        if wish.kind == "diff":
            return [*words, "--diff", self._subject(wish.against)[1]]
        words += ["--html", str(folder / "proof.html"), "--level", wish.level]
        return words + (["--modes", "all"] if wish.everything else [])

    def _subject(self, subject: str, *, preset: bool = True) -> list[str]:
        kind, _, name = subject.partition(":")
        if kind == "preset" and preset and name in preset_names():
            return ["--preset", name]
        if kind == "checkpoint":
            return ["--checkpoint", str(self._catalog.checkpoint(name).path.absolute())]
        raise ConfigError("there is no preset or checkpoint of that name here; choose one of the list")

    def _run(self, name: str) -> _Run:
        run = self._runs.get(name)
        if run is None:
            raise ConfigError(_GONE)
        return run

    def _new_folder(self) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="foresight-proofs-"))
            atexit.register(self.close)
        return Path(tempfile.mkdtemp(dir=self._folder))

    def _forget_old(self) -> None:
        """Keeps the newest runs, and those that are under way."""
        ended = [name for name, run in self._runs.items() if run.process.poll() is not None]
        for name in ended[: max(0, len(self._runs) - _KEPT)]:
            shutil.rmtree(self._runs.pop(name).folder, ignore_errors=True)


def _result_name(kind: Kind) -> str:
    return {"prove": "proof.json", "diff": "difference.json", "knockout": "knockout.json"}[kind]


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # its own session; it writes nothing that could be left half done
    process.wait()


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - _TAIL_BYTES))
            return log.read().decode("utf-8", "replace")
    except FileNotFoundError:  # the run was cleared away since it was found
        raise ConfigError(_GONE) from None


def _last_words(log: str) -> str:
    """The error line, or the last line there is; of the process, never of ours."""
    lines: Sequence[str] = [line for line in log.splitlines() if line.strip() and not _PROGRESS.search(line)]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or ["it ended without a word"])[-1]

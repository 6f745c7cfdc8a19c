"""Training runs as the page sees them: started as processes of their own, watched through the files of their folder.

A run is `python -m trainer train` in its own session, so it outlives the page; a page that comes later, or another
one, finds it by its folder. Nothing here imports torch, nothing takes a path from the browser.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.config import preset as preset_called
from model.config import preset_names
from model.errors import CheckpointError, ConfigError, WorkbenchError
from trainer.episodes.open import find_episodes

from ..catalog import Catalog
from ..catalog_checkpoints import read_checkpoint_row
from ..told import without_places

_ROOT = Path(__file__).resolve().parents[2]
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_TAIL_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """What a run's folder says about it.

    Attributes:
        state: running | finished | stopped | failed | starting | lost (its process is gone without a word).
        fraction: Share of the budget used, 0..1.
    """

    name: str
    state: str
    step: int = 0
    phase: int = 0
    fraction: float = 0.0
    eta_s: float | None = None
    message: str = ""


class TrainingDesk:
    """Starts, lists, stops and resumes runs under one folder. Safe across threads.

    Args:
        runs: Folder of the runs; made when the first one starts.
        data_roots: What a run may train on; the browser chooses by position.
        catalog: Gets the checkpoint that is opened in the view.
    """

    def __init__(self, *, runs: Path, data_roots: Sequence[Path], catalog: Catalog) -> None:
        self._runs = runs.absolute()
        self._data = [root.absolute() for root in data_roots]
        self._catalog = catalog
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.Lock()  # a run has one process, however often its button was pressed

    def data_choices(self) -> list[tuple[str, int]]:
        """(label, position) of every configured root that holds episodes."""
        counted = [(root, self._count(root), i) for i, root in enumerate(self._data)]
        return [(f"{root.parent.name}/{root.name} ({_episodes(count)})", i) for root, count, i in counted if count]

    def told(self, message: str, name: str | None = None) -> str:
        """A message about the data, or of the run called `name`, as a browser may have it: without where files lie."""
        folder = None if name is None or not _NAME.fullmatch(name) else self._runs / name
        stored = {} if folder is None else _read_json(folder / "config.json").get("training", {})
        named = [self._runs, *self._data, *(Path(str(data)) for data in stored.get("data", ()))]
        return without_places(message, (_ROOT, *(path.parent for path in named), *self._catalog.places()))

    def names(self) -> list[str]:
        """All runs, newest first."""
        if not self._runs.is_dir():
            return []
        folders = [path for path in self._runs.iterdir() if path.is_dir() and _NAME.fullmatch(path.name)]
        return [path.name for path in sorted(folders, key=_changed, reverse=True)]

    def start(self, *, name: str, preset: str, data: int, hours: float, batch_size: int) -> None:
        """Starts a run called `name`.

        Raises:
            ConfigError: A value is out of range, or a run of that name exists.
        """
        if preset not in trainable_presets():
            raise ConfigError(f"there is no preset of that name; choose one of {', '.join(trainable_presets())}")
        if not 0 <= data < len(self._data):
            raise ConfigError("there is no data at that place of the list; choose again")
        if not 0 < hours <= 1000 or not 1 <= batch_size <= 4096:
            raise ConfigError("hours must be above 0 and at most 1000, batch size between 1 and 4096")
        folder = self._folder(name)
        self._runs.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir()
        except FileExistsError:
            raise ConfigError(f"a run called {name} exists; resume it, or choose another name") from None
        arguments = ["--preset", preset, "--data", str(self._data[data]), "--hours", str(hours)]
        self._spawn(name, [*arguments, "--batch-size", str(batch_size)])

    def resume(self, name: str) -> None:
        """Goes on where the newest whole checkpoint of the run stands.

        Raises:
            ConfigError: There is no such run, or it is running.
        """
        stored = _read_json(self._existing(name) / "config.json").get("training", {})
        data = [str(path) for path in stored.get("data", ())]
        if not data:
            raise ConfigError(f"{name}: its config.json is missing or names no data; start a new run")
        self._spawn(name, ["--preset", str(stored.get("preset", "compact")), "--data", *data, "--resume"])

    def stop(self, name: str) -> None:
        """Asks the run to save and stop (SIGTERM); returns at once.

        Raises:
            ConfigError: It is not running.
        """
        pid = self._pid(name)
        try:
            if pid is not None:
                os.kill(pid, signal.SIGTERM)
                return
        except ProcessLookupError:  # it has just ended
            pass
        raise ConfigError(f"{name} is not running")

    def status(self, name: str) -> RunStatus:
        """Where the run stands. A run whose process is gone without saying so is `lost`, with the end of its log."""
        pid = self._pid(name)  # before its words: what has ended by now has said its last ones
        record = _read_json(self._existing(name) / "status.json")
        state = str(record.get("state", "starting"))
        if pid is not None and record.get("pid") != pid:
            state = "starting"  # what is written there, the process before said
        elif pid is None and state in ("running", "starting"):
            state = "lost"
        message = str(record.get("message", "")) or (self._last_line(name) if state == "lost" else "")
        return RunStatus(
            name=name,
            state=state,
            step=int(record.get("step", 0)),
            phase=int(record.get("phase", 0)),
            fraction=float(record.get("fraction", 0.0)),
            eta_s=record.get("eta_s"),
            message=self.told(message, name),
        )

    def metrics(self, name: str) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; a line that is still being written is left out."""
        path = self._existing(name) / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return [record for record in map(_parse, lines) if record is not None]

    def probe(self, name: str) -> Path | None:
        """The newest picture of the re-predicted probe frame."""
        pictures = sorted((self._existing(name) / "probes").glob("*.png"))
        return pictures[-1] if pictures else None

    def open_checkpoint(self, name: str) -> str:
        """Puts the newest whole checkpoint of the run into the catalogue and returns its id.

        Raises:
            CheckpointError: The run has not saved one yet.
        """
        folder = self._existing(name)
        manifests = [*folder.glob("final/manifest.json"), *folder.glob("checkpoints/step-*/manifest.json")]
        if not manifests:
            raise CheckpointError(
                f"{name} has saved no checkpoint yet; the first comes with its first save, or on Stop"
            )
        # By time, not by name: a run that was extended after its end has steps newer than its `final`.
        newest = max(manifests, key=_changed).parent
        self._catalog.add_checkpoint_root(newest)
        return read_checkpoint_row(newest).id

    def _spawn(self, name: str, arguments: Sequence[str]) -> None:
        out = self._folder(name)
        command = [sys.executable, "-m", "trainer", "train", *arguments, "--out", str(out)]
        with self._lock, self._log(name).open("ab") as log:
            if self._pid(name) is not None:
                raise ConfigError(f"{name} is running already")
            self._children[name] = subprocess.Popen(  # noqa: S603 - a list, no shell, names checked above
                command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _folder(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ConfigError("a run's name has 1 to 40 characters: small letters, digits, - and _")
        return self._runs / name

    def _existing(self, name: str) -> Path:
        folder = self._folder(name)
        if not folder.is_dir():
            raise ConfigError(f"there is no run called {name}")
        return folder

    def _log(self, name: str) -> Path:
        return self._runs / f"{name}.log"

    def _last_line(self, name: str) -> str:
        log = self._log(name)
        if not log.is_file():
            return ""
        lines = log.read_bytes()[-_TAIL_BYTES:].decode("utf-8", "replace").splitlines()
        return next((line for line in reversed(lines) if line.strip()), "")

    def _pid(self, name: str) -> int | None:
        """The run's living process: our child, or the one status.json names if it really trains into this folder."""
        child = self._children.get(name)
        if child is not None:
            return child.pid if child.poll() is None else None
        pid = _read_json(self._folder(name) / "status.json").get("pid")
        if not isinstance(pid, int):
            return None
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return None
        return pid if os.fsencode(self._folder(name)) in words and b"trainer" in words else None

    @staticmethod
    def _count(root: Path) -> int:
        try:
            return len(find_episodes(root))
        except WorkbenchError:
            return 0


def trainable_presets() -> tuple[str, ...]:
    """The presets that need nothing but data; a frozen encoder needs its folder, which only the command line takes."""
    configs = (preset_called(name) for name in preset_names())
    return tuple(config.name for config in configs if config.image.kind != "vit" and config.text.kind != "clip")


def _episodes(count: int) -> str:
    return f"{count} episode" if count == 1 else f"{count} episodes"


def fresh_name(preset: str) -> str:
    """A name nobody has to think about: the preset and the time of day."""
    return f"{preset}-{time.strftime('%m%d-%H%M%S')}"


def _changed(path: Path) -> float:
    """When it was last changed; what has been removed since it was listed counts as older than everything."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _read_json(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not yet written
        return {}
    return record if isinstance(record, dict) else {}


def _parse(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None

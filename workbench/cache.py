"""Predictions kept for later: the last ones in memory, more of them on disk. Safe across threads and processes."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Literal, NamedTuple

from trainer.files import replace_file

from .foresight import Foresight
from .foresight_file import from_file, to_bytes

_log = logging.getLogger(__name__)
Place = Literal["memory", "disk"]


class Key(NamedTuple):
    """What a prediction depends on: content hashes of checkpoint and episode, and the control step."""

    checkpoint: str
    episode: str
    step: int


class ForesightCache:
    """Two levels. A disk that is full or gone makes it slower, never wrong: a warning is logged and memory goes on.

    Args:
        folder: Where files are kept, None for memory only.
        memory_steps: Foresights held in memory; the least recently used leave first.
        disk_bytes: When the folder grows beyond this, the files used longest ago are removed.
    """

    def __init__(self, folder: Path | None, *, memory_steps: int, disk_bytes: int = 2 << 30) -> None:
        self._folder = folder
        self._memory: OrderedDict[Key, Foresight] = OrderedDict()
        self._memory_steps = memory_steps
        self._disk_bytes = disk_bytes
        self._written = 0
        self._lock = threading.Lock()

    def place(self, key: Key) -> Place | None:
        """Where the prediction is, None if nowhere. Reads no file."""
        with self._lock:
            if key in self._memory:
                return "memory"
        path = self._path(key)
        return "disk" if path is not None and path.is_file() else None

    def get(self, key: Key) -> Foresight | None:
        """The prediction, from memory or from disk."""
        with self._lock:
            if key in self._memory:
                self._memory.move_to_end(key)
                return self._memory[key]
        path = self._path(key)
        found = None if path is None else from_file(path, checkpoint=key.checkpoint, episode=key.episode)
        if found is None or path is None:
            return None
        self._remember(key, found)
        try:
            os.utime(path)  # the age that `prune_oldest` goes by
        except OSError:
            _log.debug("could not touch %s", path)
        return found

    def put(self, key: Key, foresight: Foresight) -> None:
        """Keeps a prediction in both levels."""
        self._remember(key, foresight)
        path = self._path(key)
        if path is None:
            return
        data = to_bytes(foresight, checkpoint=key.checkpoint, episode=key.episode)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, data, durable=False)  # what a power cut spoils is predicted again
        except OSError as error:
            _log.warning("prediction not kept on disk: %s", error)
            return
        with self._lock:
            self._written += len(data)
            due = self._written > self._disk_bytes // 16
            if due:
                self._written = 0
        if due:
            prune_oldest(path.parents[2], "*/*/*.safetensors", self._disk_bytes)

    def _remember(self, key: Key, foresight: Foresight) -> None:
        with self._lock:
            self._memory[key] = foresight
            self._memory.move_to_end(key)
            while len(self._memory) > self._memory_steps:
                self._memory.popitem(last=False)

    def _path(self, key: Key) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / key.checkpoint[:16] / key.episode[:16] / f"{key.step:06d}.safetensors"


def prune_oldest(folder: Path, pattern: str, disk_bytes: int) -> None:
    """Removes the files that match `pattern` and were used longest ago, until the rest takes no more than that."""
    files: list[tuple[float, int, Path]] = []
    for path in folder.glob(pattern):
        try:
            facts = path.stat()
        except OSError:  # another process was faster
            continue
        files.append((facts.st_mtime, facts.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= disk_bytes:
            return
        path.unlink(missing_ok=True)
        total -= size

"""A CALVIN split: which steps make an episode, and which sentence belongs to it. No frame file is read.

Two kinds of episodes lie over the same steps. First come the language segments (windows of at most 64 steps at whose
end CALVIN's task oracle saw a task done), then the raw play they were cut from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import EpisodeError, UnsafeFileError

from ..restricted_pickle import MAX_BYTES, read_object_npy
from ..safe_npy import read_npy
from ..safe_path import plain_file
from ..schema import MAX_LENGTH

IDS_FILE = "ep_start_end_ids.npy"
_LANGUAGE_FILE = "auto_lang_ann.npy"
_LANGUAGE_FOLDER = "lang_annotations"
_MAX_STEP = 10**12
_MAX_TEXT = 2000


@dataclass(frozen=True)
class Segment:
    """Steps `start` to `end` (inclusive, CALVIN's numbering); without language, instruction and task are empty."""

    start: int
    end: int
    instruction: str = ""
    task: str | None = None

    @property
    def length(self) -> int:
        """Number of steps."""
        return self.end - self.start + 1


def is_split(path: Path) -> bool:
    """Whether a folder is a split of CALVIN."""
    return (path / IDS_FILE).is_file()


def segments(split: Path) -> tuple[Segment, ...]:
    """All episodes of a split, in the order of their indices; kept until one of the files changes.

    Raises:
        EpisodeError: A file is missing or damaged, or contradicts itself.
        UnsafeFileError: A file would run code, or leads outside.
    """
    language = _language_file(split)
    stamps = [plain_file(path, split, max_bytes=MAX_BYTES) for path in (split / IDS_FILE, language) if path]
    return _segments(split, language, tuple((stamp.st_mtime_ns, stamp.st_size) for stamp in stamps))


def step_file(split: Path, step: int) -> Path:
    """The file of one step."""
    return split / f"episode_{step:07d}.npz"


@lru_cache(maxsize=16)
def _segments(split: Path, language: Path | None, stamps: tuple[tuple[int, int], ...]) -> tuple[Segment, ...]:
    del stamps  # they make a changed file another question
    spoken = [] if language is None else _spoken(read_object_npy(language, split), language)
    return (*spoken, *_played(split))


def _played(split: Path) -> list[Segment]:
    """Raw play: what was recorded in one go."""
    path = split / IDS_FILE
    ids = read_npy(path, split, kinds="iu")
    if ids.ndim != 2 or ids.shape[1] != 2:
        raise EpisodeError(f"{path}: has shape {ids.shape}, expected (episodes, 2)")
    bounds: list[tuple[int, int]] = [(int(start), int(end)) for start, end in ids]
    for row, (start, end) in enumerate(bounds):
        _check_bounds(start, end, f"{path}: row {row}")
    return [Segment(start, end) for start, end in bounds]


def _spoken(annotations: np.ndarray, path: Path) -> list[Segment]:
    """Language segments out of CALVIN's nested dictionaries, copied into plain types.

    Types are checked one by one and values never printed: a hostile file can hold values that share their parts, whose
    text would fill the memory.
    """
    root = annotations.flat[0] if annotations.size == 1 else None
    language, info = _entry(root, "language", path, dict), _entry(root, "info", path, dict)
    sentences, tasks = (_entry(language, name, path, list | np.ndarray) for name in ("ann", "task"))
    windows = _entry(info, "indx", path, list | np.ndarray)
    if not len(sentences) == len(tasks) == len(windows):
        raise EpisodeError(
            f"{path}: fields 'language.ann', 'language.task' and 'info.indx' have {len(sentences)}, {len(tasks)} and "
            f"{len(windows)} entries"
        )
    found: list[Segment] = []
    for row, (sentence, task, window) in enumerate(zip(sentences, tasks, windows, strict=True)):
        where = f"{path}: field 'info.indx', entry {row}"
        if not isinstance(window, tuple | list | np.ndarray) or len(window) != 2:
            raise EpisodeError(f"{where} is no pair of steps")
        start, end = (_integer(bound, where) for bound in window)
        _check_bounds(start, end, where)
        found.append(Segment(start, end, _text(sentence, path, "ann", row), _text(task, path, "task", row)))
    return found


def _entry(value: Any, name: str, path: Path, kind: Any) -> Any:
    entry = value.get(name) if isinstance(value, dict) else None
    if not isinstance(entry, kind) or (isinstance(entry, np.ndarray) and entry.ndim == 0):
        raise EpisodeError(f"{path}: field '{name}' is missing or of another type than CALVIN's")
    return entry


def _integer(value: Any, where: str) -> int:
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise EpisodeError(f"{where} holds a {type(value).__name__}, expected whole numbers")
    return int(value)


def _text(value: Any, path: Path, name: str, row: int) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise EpisodeError(f"{path}: field 'language.{name}', entry {row} is no short text")
    return str(value).encode("utf-8", "replace").decode()  # without lone surrogates, which nothing can print


def _check_bounds(start: int, end: int, where: str) -> None:
    if not 0 <= start <= end < _MAX_STEP:
        raise EpisodeError(f"{where}: from step {start} to {end} is no range of steps")
    if end - start >= MAX_LENGTH:
        raise UnsafeFileError(f"{where}: {end - start + 1} steps, more than the {MAX_LENGTH} of one episode")


def _language_file(split: Path) -> Path | None:
    """The annotations; other `lang_*` folders hold the same ones with other embeddings."""
    named = split / _LANGUAGE_FOLDER / _LANGUAGE_FILE
    if named.is_file():
        return named
    return next((path for path in sorted(split.glob(f"lang_*/{_LANGUAGE_FILE}")) if path.is_file()), None)

"""CALVIN's evaluation chains: a start of the world and five tasks to be done one after the other.

`eval_sequences.json`, as the evaluation scripts write it, is a list of [initial state by name, [task, ...]].
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import EpisodeError

from ..safe_path import plain_file

CHAINS_FILE = "eval_sequences.json"
LENGTH = 5
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Chain:
    """One chain: where lights, drawer, slider and blocks are at its start, and the tasks in order."""

    initial_state: dict[str, str | int | float]
    tasks: tuple[str, ...]


def read_chains(split: Path) -> tuple[Chain, ...]:
    """The chains beside a split or in the folder above it; empty where there is no such file.

    Raises:
        EpisodeError: The file is damaged; names the entry.
        UnsafeFileError: It leads outside or is too large.
    """
    path = next((folder / CHAINS_FILE for folder in (split, split.parent) if (folder / CHAINS_FILE).is_file()), None)
    if path is None:
        return ()
    plain_file(path, path.parent, max_bytes=_MAX_BYTES)
    try:
        entries: Any = json.loads(path.read_bytes())
    except (ValueError, RecursionError, OSError) as error:
        raise EpisodeError(f"{path}: not JSON ({error!s:.120})") from None
    if not isinstance(entries, list):
        raise EpisodeError(f"{path}: must hold a list of chains")
    return tuple(_chain(entry, f"{path}: entry {number}") for number, entry in enumerate(entries))


def _chain(entry: Any, where: str) -> Chain:
    state, tasks = entry if isinstance(entry, list) and len(entry) == 2 else (None, None)
    if not isinstance(state, dict) or not all(isinstance(value, str | int | float) for value in state.values()):
        raise EpisodeError(f"{where} has no initial state by name")
    if not isinstance(tasks, list) or len(tasks) != LENGTH or not all(isinstance(task, str) for task in tasks):
        raise EpisodeError(f"{where} has no list of {LENGTH} tasks")
    return Chain(initial_state=state, tasks=tuple(tasks))

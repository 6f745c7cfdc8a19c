"""Tables of numbers beside a video: CSV with a line of names, JSON, or npz.

People keep more in them than numbers, and sensors drop out: what is no column of numbers is left out, a missing number
is NaN, and both are said. Nothing is filled in.

Dimensions: t row, n column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from model.errors import EpisodeError, UnsafeFileError

from ..safe_json import read_json_value
from ..safe_npy import NpzFile, read_npy
from ..safe_path import plain_file
from .folder_csv import MAX_COLUMNS, MAX_ROWS, read_csv
from .folder_names import find_file

SUFFIXES = (".csv", ".json", ".npz", ".npy")
MAX_BYTES = 64 << 20
_NAMED = 4  # names that a note lists

Table = dict[str, Float[np.ndarray, "t _"]]
Raw = tuple[Mapping[str, Any], list[str]]
"""What a file holds by column, and notes on what is odd about it."""


@dataclass(frozen=True, kw_only=True)
class ReadTable:
    """A table as far as it holds numbers.

    Attributes:
        columns: (t, n) by name, all of one length; NaN where the file has no number.
        notes: What was left out or is missing, a sentence each, without the file's name.
    """

    columns: Table
    notes: tuple[str, ...]


def find_table(folder: Path, *stems: str) -> Path | None:
    """The first of STEM.csv, STEM.json, STEM.npz, STEM.npy that exists."""
    return find_file(folder, [f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES])


def read_table(path: Path, root: Path) -> ReadTable:
    """The columns of numbers of a table.

    CSV has a line of names; JSON is an object of lists or a list of objects; npz holds arrays (t,) or (t, n), npy one.

    Raises:
        EpisodeError: Damaged, or without any column of numbers.
        UnsafeFileError: Leads outside of `root`, holds objects, or is too large.
    """
    plain_file(path, root, max_bytes=MAX_BYTES)
    raw, notes = _READ[path.suffix.lower()](path, root)
    table: Table = {}
    for name, values in raw.items():
        column = _column(values)
        if column is not None:
            table[name] = column
    others = [name for name in raw if name not in table]
    if not table:
        raise EpisodeError(f"{path}: has no column of numbers{f' ({_list(others)} are none)' if others else ''}")
    if others:
        notes.append(f"{_list(others)} left out: no list of numbers")
    lengths = Counter(len(column) for column in table.values())
    length = max(lengths, key=lambda rows: (lengths[rows], rows))
    if short := [name for name, column in table.items() if len(column) != length]:
        notes.append(f"{_list(short)} left out: not of {length} rows as the others")
    table = {name: column for name, column in table.items() if len(column) == length}
    if sum(column.shape[1] for column in table.values()) > MAX_COLUMNS:
        raise UnsafeFileError(f"{path}: more than {MAX_COLUMNS} columns")
    if gaps := [name for name, column in table.items() if np.isnan(column).any()]:
        rows = np.isnan(np.concatenate([table[name] for name in gaps], axis=1)).any(1)
        notes.append(f"no number in {rows.sum()} of {length} rows, first in row {rows.argmax() + 1}, in {_list(gaps)}")
    return ReadTable(columns=table, notes=tuple(notes))


def flat(table: Mapping[str, Float[np.ndarray, "t _"]]) -> tuple[Float[np.ndarray, "t n"], list[str]]:
    """All columns side by side with their names; a column of several entries numbers them."""
    names = [
        name if column.shape[1] == 1 else f"{name}.{at}"
        for name, column in table.items()
        for at in range(column.shape[1])
    ]
    return np.concatenate(list(table.values()), axis=1), names


def _csv(path: Path, root: Path) -> Raw:
    return read_csv(path)


def _json(path: Path, root: Path) -> Raw:
    """Columns as pandas writes them: {name: [..]}, {name: {"0": ..}} or [{name: ..}, ..]; or bare rows."""
    value = read_json_value(path, root)
    if isinstance(value, dict):
        return {name: list(part.values()) if isinstance(part, dict) else part for name, part in value.items()}, []
    rows = value if isinstance(value, list) else []
    if not rows or len(rows) > MAX_ROWS:
        raise EpisodeError(f"{path}: must hold an object of lists, or a list of up to {MAX_ROWS} rows")
    if not isinstance(rows[0], dict):
        return {path.stem: rows}, []
    names = rows[0].keys()
    if any(not isinstance(row, dict) or row.keys() != names for row in rows):
        raise EpisodeError(f"{path}: its rows do not all have the columns of the first")
    return {name: [row[name] for row in rows] for name in names}, []


def _npz(path: Path, root: Path) -> Raw:
    with NpzFile(path, root, max_bytes=MAX_BYTES) as file:
        return {name: file.read(name, kinds="biufUS") for name in file.names}, []


def _npy(path: Path, root: Path) -> Raw:
    return {path.stem: read_npy(path, root)}, []


_READ: Mapping[str, Callable[[Path, Path], Raw]] = {".csv": _csv, ".json": _json, ".npz": _npz, ".npy": _npy}


def _column(values: object) -> Float[np.ndarray, "t n"] | None:
    """Numbers (t, n) with NaN for what is not finite; None if it is no list of numbers or has none."""
    try:
        column = np.array(values, np.float64)
    except (ValueError, TypeError, OverflowError):
        return None
    column[~np.isfinite(column)] = np.nan
    if column.ndim not in (1, 2) or (column.size and np.isnan(column).all()):
        return None
    return column.reshape(len(column), -1) if column.size else column.reshape(len(column), 0)


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(f"'{name:.40}'" for name in names[:_NAMED]) + more

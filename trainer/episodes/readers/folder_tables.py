"""Tables of numbers beside a video: CSV with a line of names, JSON, or npz.

Dimensions: t row, n column.
"""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float

from model.errors import EpisodeError, UnsafeFileError

from ..safe_json import read_json
from ..safe_npy import NpzFile
from ..safe_path import plain_file

SUFFIXES = (".csv", ".json", ".npz")
MAX_BYTES = 64 << 20
_MAX_ROWS, _MAX_COLUMNS = 1_000_000, 512

Table = dict[str, Float[np.ndarray, "t _"]]


def find_table(folder: Path, *stems: str) -> Path | None:
    """The first of STEM.csv, STEM.json, STEM.npz that exists."""
    paths = (folder / f"{stem}{suffix}" for stem in stems for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def read_table(path: Path, root: Path) -> Table:
    """Columns (t, n) by name, all of one length.

    CSV has a line of names; JSON is an object of lists; npz holds arrays (t,) or (t, n).

    Raises:
        EpisodeError: Damaged, not numbers, or columns of different lengths.
        UnsafeFileError: Leads outside of `root`, or too large.
    """
    plain_file(path, root, max_bytes=MAX_BYTES)
    table = {".csv": _csv, ".json": _json, ".npz": _npz}[path.suffix](path, root)
    lengths = {len(column) for column in table.values()}
    if len(lengths) != 1:
        raise EpisodeError(f"{path}: its columns have different lengths, or there are none: {sorted(lengths)}")
    if sum(column.shape[1] for column in table.values()) > _MAX_COLUMNS:
        raise UnsafeFileError(f"{path}: more than {_MAX_COLUMNS} columns")
    if bad := [name for name, column in table.items() if not np.isfinite(column).all()]:
        raise EpisodeError(f"{path}: column '{bad[0]}' holds NaN or infinity")
    return table


def flat(table: Mapping[str, Float[np.ndarray, "t _"]]) -> tuple[Float[np.ndarray, "t n"], list[str]]:
    """All columns side by side with their names; a column of several entries numbers them."""
    names = [
        name if column.shape[1] == 1 else f"{name}.{at}"
        for name, column in table.items()
        for at in range(column.shape[1])
    ]
    return np.concatenate(list(table.values()), axis=1), names


def _csv(path: Path, root: Path) -> Table:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            names = [name.strip() for name in next(rows, [])]
            if not names or len(set(names)) < len(names) or any(_is_number(name) for name in names):
                raise EpisodeError(f"{path}: line 1 must name the columns, each differently")
            lines = list(itertools.islice((row for row in rows if row), _MAX_ROWS + 1))
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise EpisodeError(f"{path}: cannot be read as CSV ({error})") from None
    if len(lines) > _MAX_ROWS or len(names) > _MAX_COLUMNS:
        raise UnsafeFileError(f"{path}: more than {_MAX_ROWS} rows or {_MAX_COLUMNS} columns")
    try:
        values = np.array([[float(cell) for cell in line] for line in lines]).reshape(len(lines), len(names))
    except ValueError:
        raise EpisodeError(f"{path}: every line must hold {len(names)} numbers") from None
    return {name: values[:, [at]] for at, name in enumerate(names)}


def _json(path: Path, root: Path) -> Table:
    return {name: _column(values, f"{path}: '{name:.60}'") for name, values in read_json(path, root).items()}


def _npz(path: Path, root: Path) -> Table:
    with NpzFile(path, root, max_bytes=MAX_BYTES) as file:
        return {name: _column(file.read(name), f"{path}: '{name:.60}'") for name in file.names}


def _column(values: object, where: str) -> Float[np.ndarray, "t n"]:
    try:
        column = np.asarray(values, np.float64)
    except (ValueError, TypeError, OverflowError):
        raise EpisodeError(f"{where} is no list of numbers, or of lists of one length") from None
    if column.ndim not in (1, 2):
        raise EpisodeError(f"{where} has {column.ndim} dimensions, expected one or two")
    return column.reshape(len(column), -1) if column.size else column.reshape(len(column), 0)


def _is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False

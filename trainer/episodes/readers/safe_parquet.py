"""Parquet read within bounds: its footer is believed only so far, and only the columns that are asked for are unpacked.

Arrow does not survive every damaged file, so it reads in a process of its own (`guarded.parquet_child`).

Dimensions: r row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model.errors import EpisodeError

from ..guarded.child import child
from ..safe_path import plain_file
from .extra import library

if TYPE_CHECKING:
    import pyarrow as pa

MAX_FILE = 8 << 30


class ParquetTable:
    """One parquet file; columns are unpacked when they are asked for.

    Args:
        path: The file.
        root: It must not be a link to outside of this folder.

    Raises:
        EpisodeError: (by every member) Missing, truncated, damaged, or a column is not there.
        UnsafeFileError: (by every member) Leads outside, or announces more than such a file may hold.
    """

    def __init__(self, path: Path, root: Path) -> None:
        library("pyarrow.parquet", "a LeRobot dataset")
        plain_file(path, root, max_bytes=MAX_FILE)
        self.path = path
        facts, _ = child("parquet").ask("facts", path)
        columns, parts = facts.get("columns"), facts.get("parts")
        if not isinstance(columns, list) or not isinstance(parts, list):
            raise EpisodeError(f"{path}: not a readable parquet file")
        self._columns = tuple(str(name) for name in columns)
        self._group_rows = [int(rows) for rows in parts]
        self.rows = sum(self._group_rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """The top-level columns."""
        return self._columns

    def group_of(self, row: int) -> tuple[int, int]:
        """The row group that holds a row, and the row's place in it."""
        for group, rows in enumerate(self._group_rows):
            if row < rows:
                return group, row
            row -= rows
        raise EpisodeError(f"{self.path}: has no row {row}, only {self.rows}")

    def read(self, columns: Sequence[str], *, rows: tuple[int, int] | None = None) -> pa.Table:
        """Some columns of some rows (from .. to), whatever row groups these lie in."""
        if missing := [name for name in columns if name not in self.columns]:
            raise EpisodeError(f"{self.path}: has no column '{missing[0]}'")
        start, stop = rows or (0, self.rows)
        if not 0 <= start <= stop <= self.rows:
            raise EpisodeError(f"{self.path}: has {self.rows} rows; rows {start} to {stop} were asked for")
        ends = np.cumsum(self._group_rows)
        groups = [
            group
            for group, (end, count) in enumerate(zip(ends, self._group_rows, strict=True))
            if count and end > start and end - count < stop
        ]
        before = int(ends[groups[0]] - self._group_rows[groups[0]]) if groups else 0
        table = self.read_groups(groups, columns)
        return table.slice(start - before, stop - start)

    def read_groups(self, groups: Sequence[int], columns: Sequence[str]) -> pa.Table:
        """Some columns of whole row groups."""
        pa = library("pyarrow", "a LeRobot dataset")
        _, data = child("parquet").ask(
            "read", self.path, columns=list(columns), groups=[int(group) for group in groups]
        )
        try:
            with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
                return stream.read_all()
        except Exception as error:  # Arrow's own kinds
            raise EpisodeError(f"{self.path}: columns {', '.join(columns)} are damaged ({_reason(error)})") from None


def numbers_of(column: Any, where: str) -> np.ndarray:
    """A column of numbers, or of lists of numbers of one length, as float64 (r, n).

    Raises:
        EpisodeError: Something else, lists of different lengths, or gaps.
    """
    import pyarrow as pa

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    rows = len(array)
    while isinstance(array, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        starts = _starts(array)
        if array.null_count or (np.diff(starts, 2) != 0).any():
            raise EpisodeError(f"{where}: its lists have different lengths, or some are missing")
        array = array.values.slice(int(starts[0]), int(starts[-1] - starts[0]))
    if not (pa.types.is_floating(array.type) or pa.types.is_integer(array.type) or pa.types.is_boolean(array.type)):
        raise EpisodeError(f"{where}: holds {array.type}, not numbers")
    if array.null_count:
        raise EpisodeError(f"{where}: has gaps")
    return _plain(array).reshape(rows, -1 if rows else 0).astype(np.float64)


def _starts(lists: pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray) -> np.ndarray:
    """Where each list begins among the values, and where the last one ends."""
    if not len(lists):
        return np.zeros(1, np.int64)
    if hasattr(lists, "offsets"):
        return _plain(lists.offsets)
    return (lists.offset + np.arange(len(lists) + 1)) * lists.type.list_size


def _plain(array: pa.Array) -> np.ndarray:
    """Arrow's numbers without gaps as numpy's. Its own way imports pandas, which takes longer than all the rest."""
    if not len(array):
        return np.zeros(0)
    if array.type.bit_width > 1:
        return np.from_dlpack(array)
    bits = np.unpackbits(np.frombuffer(array.buffers()[1], np.uint8), bitorder="little")
    return bits[array.offset : array.offset + len(array)]


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__

"""CSV as people and spreadsheets write it: commas, tabs, or semicolons and decimal commas; remarks; a cut last line."""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import math
from collections.abc import Iterator
from pathlib import Path

from model.errors import EpisodeError, UnsafeFileError

MAX_ROWS, MAX_COLUMNS, MAX_CELLS = 300_000, 512, 1_000_000
_SEPARATORS = ",;\t"
_HEAD = 1 << 16  # characters in which the first line is looked for
_WORDS = {"": math.nan, "na": math.nan, "n/a": math.nan, "null": math.nan, "none": math.nan, "true": 1.0, "false": 0.0}


def read_csv(path: Path) -> tuple[dict[str, list[float] | None], list[str]]:
    """The columns by name (NaN for an empty cell, None for a column of words), and notes on what was left out.

    Args:
        path: A file whose size was checked.

    Raises:
        EpisodeError: No line of names, or a line with more or fewer cells.
        UnsafeFileError: More rows, columns or cells than a recording has.
    """
    try:
        data = path.read_bytes()
        text = data.decode(
            "utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig", "replace"
        )
        separator = _separator(text[:_HEAD])
        if text.count(separator) + text.count("\n") + text.count("\r") > MAX_CELLS:
            raise UnsafeFileError(f"{path}: more than {MAX_CELLS:,} cells; an npz may hold as many as there are")
        rows = (row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row)
        names, first = _names(rows, path)
        lines = [*first, *itertools.islice(rows, MAX_ROWS + 1)]
    except (csv.Error, OSError) as error:
        raise EpisodeError(f"{path}: cannot be read as CSV ({error})") from None
    if len(lines) > MAX_ROWS or len(names) > MAX_COLUMNS:
        raise UnsafeFileError(f"{path}: more than {MAX_ROWS} rows or {MAX_COLUMNS} columns")
    notes: list[str] = []
    if lines and len(lines[-1]) < len(names):  # whoever wrote it was stopped
        lines.pop()
        notes.append("the last line is cut off and left out")
    for number, line in enumerate(lines, 1):
        if len(line) < len(names) or any(line[len(names) :]):  # an empty cell more is a comma at the end
            raise EpisodeError(f"{path}: row {number} has {len(line)} cells, the line of names has {len(names)}")
    columns: dict[str, list[float] | None] = {}
    for at, name in enumerate(names):
        if name:
            columns[name] = _numbers([line[at] for line in lines], decimal_comma=separator == ";")
        elif any(line[at] for line in lines):
            notes.append(f"column {at + 1} left out: it has no name")
    return columns, notes


def _separator(head: str) -> str:
    line = next((line for line in head.splitlines() if line.strip() and not line.startswith("#")), "")
    return max(_SEPARATORS, key=line.count)  # the first of them, a comma, where there is none


def _names(rows: Iterator[list[str]], path: Path) -> tuple[list[str], list[list[str]]]:
    """The names of the columns, and rows that were read for them: numpy writes the names as a remark."""
    remark: list[str] = []
    row = next(rows, [])
    while row and row[0].startswith("#"):
        remark, row = [row[0].lstrip("# "), *row[1:]], next(rows, [])
    first = [row] if remark and all(map(_is_number, row)) else []
    names = [name.strip() for name in (remark if first else row)]
    named = [name for name in names if name]
    if not named or len(set(named)) < len(named) or any(map(_is_number, named)):
        raise EpisodeError(f"{path}: line 1 must name the columns, each differently")
    return names, first


def _numbers(cells: list[str], *, decimal_comma: bool) -> list[float] | None:
    try:
        return [float(cell) for cell in cells]
    except ValueError:
        pass
    try:
        return [_number(cell.replace(",", ".") if decimal_comma else cell) for cell in cells]
    except (ValueError, KeyError):
        return None


def _number(cell: str) -> float:
    word = cell.strip().lower()
    return _WORDS[word] if word in _WORDS else float(cell)


def _is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False

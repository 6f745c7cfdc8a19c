"""Finding episodes among thousands: words, exact filters, an order, and what there is to filter by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from model.errors import ConfigError

from .catalog_rows import EpisodeRow

_COLUMNS: Mapping[str, Callable[[EpisodeRow], str | int | None]] = {
    "episode": lambda row: row.title.lower(),
    "source": lambda row: row.listed.summary.source,
    "instruction": lambda row: row.listed.summary.instruction.lower(),
    "steps": lambda row: row.listed.summary.length,
    "outcome": lambda row: row.outcome,
    "views": lambda row: row.views,
    "depth": lambda row: row.depth,
}
FILTERS = ("source", "outcome", "views", "depth")
"""Columns with few enough values to choose from."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """What a visitor looks for.

    Attributes:
        words: Every one of them must occur somewhere in the row.
        only: Exact values by column, of `FILTERS`.
        order: A column; None keeps the order of the roots.
    """

    words: str = ""
    only: Mapping[str, str] = field(default_factory=dict[str, str])
    order: str | None = None
    descending: bool = False


def find(rows: Sequence[EpisodeRow], search: Search) -> list[EpisodeRow]:
    """The rows that match, in order. What is not known comes last in either direction.

    Raises:
        ConfigError: There is no such column.
    """
    unknown = {*search.only, *([search.order] if search.order else [])} - set(_COLUMNS)
    if unknown:
        raise ConfigError(f"episodes have no such column; choose from {', '.join(_COLUMNS)}")
    words = search.words.lower().split()
    tests = [(_COLUMNS[name], value) for name, value in search.only.items()]
    found = [
        row
        for row in rows
        if all(word in row.words for word in words) and all(cell(row) == value for cell, value in tests)
    ]
    if search.order is None:
        return found
    cell = _COLUMNS[search.order]
    known = [(value, row) for row in found if (value := cell(row)) not in (None, "")]
    known.sort(key=lambda pair: pair[0], reverse=search.descending)  # pyright: ignore[reportArgumentType]
    return [*(row for _, row in known), *(row for row in found if cell(row) in (None, ""))]


def choices(rows: Iterable[EpisodeRow]) -> dict[str, list[tuple[str, int]]]:
    """For each of `FILTERS` its values and how many rows have them, the most frequent first."""
    rows = list(rows)
    counts = {name: Counter(str(value) for value in map(_COLUMNS[name], rows)) for name in FILTERS}
    return {name: sorted(count.items(), key=lambda item: (-item[1], item[0])) for name, count in counts.items()}

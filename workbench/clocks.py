"""Which columns of a recording are clocks, by their names: they are checked for gaps, and not drawn beside metres."""

from __future__ import annotations

import re

_CLOCK = re.compile(r"(?:(?:.*_)?(?:time|stamp|timestamp)s?|t)(?:_(?P<unit>ns|us|ms|s|sec|secs|seconds))?")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3}


def is_clock(name: str) -> bool:
    """Whether a feature, or a column TABLE/COLUMN or TABLE.COLUMN of it, is called as times are."""
    return _match(name) is not None


def stated_unit(name: str) -> float | None:
    """Seconds in the unit that a clock's name states; None where it states none."""
    found = _match(name)
    return None if found is None or not found["unit"] else _SECONDS.get(found["unit"], 1.0)


def _match(name: str) -> re.Match[str] | None:
    return _CLOCK.fullmatch(name.rpartition(".")[2].rpartition("/")[2].lower())

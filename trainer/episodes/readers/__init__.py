"""Readers of foreign formats, asked in this order: the more special a format's marks, the earlier.

A reader is imported when the first path is looked at; none of them imports its libraries before it reads.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path

from .reader import Reader

_MODULES: tuple[str, ...] = ("packed", "calvin", "libero", "lerobot", "rlds", "mcap", "folder")


@cache
def readers() -> tuple[Reader, ...]:
    """All readers, in the order in which they are asked."""
    return tuple(importlib.import_module(f"{__name__}.{module}").READER for module in _MODULES)


def reader_of(path: Path) -> Reader | None:
    """The reader whose format a file or folder is of, or None."""
    return next((reader for reader in readers() if reader.recognise(path)), None)

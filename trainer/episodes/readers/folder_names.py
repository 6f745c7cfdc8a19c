"""What lies in a folder, by name; people write State.CSV and meta.yml."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def entries(folder: Path) -> list[Path]:
    """Everything in a folder but hidden things, by name; nothing if it cannot be listed."""
    try:
        with os.scandir(folder) as found:
            return sorted(folder / entry.name for entry in found if not entry.name.startswith("."))
    except OSError:
        return []


def find_file(folder: Path, names: Iterable[str]) -> Path | None:
    """The first of some names (in lower case) that a file of the folder has, in upper or lower case."""
    present = {path.name.lower(): path for path in entries(folder)}  # lower case comes last, so it wins
    return next((present[name] for name in names if name in present and present[name].is_file()), None)

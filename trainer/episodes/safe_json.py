"""JSON read within bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model.errors import EpisodeError

from .safe_path import plain_file

MAX_BYTES = 16 << 20
MAX_LINES_BYTES = 16 << 20  # some hundred thousand episodes


def read_json(path: Path, root: Path) -> dict[str, Any]:
    """The object in a file.

    Raises:
        EpisodeError: Missing, not JSON, or no object.
        UnsafeFileError: A link to outside of `root`, no plain file, or too large.
    """
    plain_file(path, root, max_bytes=MAX_BYTES)
    return _object(path.read_bytes(), path)


def read_json_lines(path: Path, root: Path) -> list[dict[str, Any]]:
    """The objects in a file of one a line. Raises as `read_json`."""
    plain_file(path, root, max_bytes=MAX_LINES_BYTES)
    with path.open("rb") as file:
        return [_object(line, path, number) for number, line in enumerate(file, 1) if line.strip()]


def _object(text: bytes, path: Path, line: int | None = None) -> dict[str, Any]:
    try:
        value = json.loads(text if line is None else str(text, "utf-8"))
    except (ValueError, RecursionError) as error:
        place = "" if line is None else f" line {line}"
        raise EpisodeError(f"{path}:{place} not JSON ({str(error)[:120]})") from None
    if not isinstance(value, dict):
        place = "" if line is None else f" line {line}"
        raise EpisodeError(f"{path}:{place} must hold an object, holds {type(value).__name__}")
    return value

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
    return _mapping(read_json_value(path, root), f"{path}:")


def read_json_value(path: Path, root: Path) -> Any:
    """Whatever a file holds. Raises as `read_json`."""
    plain_file(path, root, max_bytes=MAX_BYTES)
    return _parsed(path.read_bytes(), f"{path}:")


def read_json_lines(path: Path, root: Path) -> list[dict[str, Any]]:
    """The objects in a file of one a line. Raises as `read_json`."""
    plain_file(path, root, max_bytes=MAX_LINES_BYTES)
    with path.open("rb") as file:
        numbered = [(line, f"{path}: line {number}") for number, line in enumerate(file, 1) if line.strip()]
    return [_mapping(_parsed(line, where, encoding="utf-8"), where) for line, where in numbered]


def _parsed(text: bytes, where: str, encoding: str | None = None) -> Any:
    try:
        return json.loads(text if encoding is None else str(text, encoding))
    except (ValueError, RecursionError) as error:
        raise EpisodeError(f"{where} not JSON ({str(error)[:120]})") from None


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EpisodeError(f"{where} must hold an object, holds {type(value).__name__}")
    return value

"""JSON read within bounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from model.errors import EpisodeError, UnsafeFileError

from .safe_path import plain_file

MAX_BYTES = 16 << 20
MAX_VALUES = 750_000  # of a LeRobot episode there are six: small files of much more cost seconds and gigabytes
MAX_LINES = 150_000  # the largest published set has 95,600 episodes


def read_json(path: Path, root: Path) -> dict[str, Any]:
    """The object in a file.

    Raises:
        EpisodeError: Missing, not JSON, or no object.
        UnsafeFileError: A link to outside of `root`, no plain file, or larger than any real one.
    """
    return _mapping(read_json_value(path, root), f"{path}:")


def read_json_value(path: Path, root: Path) -> Any:
    """Whatever a file holds. Raises as `read_json`."""
    return _parsed(_bounded(path, root), f"{path}:")


def read_json_lines(path: Path, root: Path) -> list[dict[str, Any]]:
    """The objects in a file of one a line. Raises as `read_json`."""
    data, name = _bounded(path, root), str(path)
    if data.count(b"\n") > MAX_LINES:
        raise UnsafeFileError(f"{path}: has more than {MAX_LINES:,} lines")
    objects: list[dict[str, Any]] = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            where = f"{name}: line {number}"
            objects.append(_mapping(_parsed(line, where, encoding="utf-8"), where))
    return objects


def _bounded(path: Path, root: Path) -> bytes:
    """The bytes of a file that becomes so many values at most: each but the first comes after one of these signs."""
    plain_file(path, root, max_bytes=MAX_BYTES)
    data = path.read_bytes()
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_VALUES:
        raise UnsafeFileError(f"{path}: holds more than {MAX_VALUES:,} values")
    return data


def _parsed(text: bytes, where: str, encoding: str | None = None) -> Any:
    try:
        return json.loads(text if encoding is None else str(text, encoding))
    except (ValueError, RecursionError) as error:
        raise EpisodeError(f"{where} not JSON ({str(error)[:120]})") from None


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise EpisodeError(f"{where} must hold an object, holds {type(value).__name__}")
    return value

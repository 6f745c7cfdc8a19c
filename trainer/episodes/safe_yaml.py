"""YAML read as plain data, within bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model.errors import EpisodeError

from .safe_path import plain_file

MAX_BYTES = 1 << 20


def read_yaml(path: Path, root: Path) -> dict[str, Any]:
    """A mapping of plain values; tags that would make objects are refused by the loader.

    Raises:
        EpisodeError: Missing, not YAML, or no mapping.
        UnsafeFileError: A link to outside of `root`, no plain file, or too large.
    """
    import yaml

    plain_file(path, root, max_bytes=MAX_BYTES)
    try:
        value = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(path.read_bytes()).get_single_data()
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise EpisodeError(f"{path}: not YAML ({type(error).__name__}: {str(error).splitlines()[0]:.120})") from None
    if not isinstance(value, dict):
        raise EpisodeError(f"{path}: must hold a mapping, holds {type(value).__name__}")
    return value

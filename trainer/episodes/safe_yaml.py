"""YAML read as plain data, within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from model.errors import EpisodeError, UnsafeFileError

from .safe_path import plain_file

MAX_BYTES = 1 << 20
MAX_DEPTH = 50  # the library's C code calls itself for each level, without a limit of its own
MAX_EVENTS = 200_000


def read_yaml(path: Path, root: Path) -> dict[str, Any]:
    """A mapping of plain values, empty if the file is; tags that would make objects are refused by the loader.

    Aliases are refused too: a few lines of them stand for as many values as there are atoms.

    Raises:
        EpisodeError: Missing, not YAML, or no mapping.
        UnsafeFileError: A link to outside of `root`, no plain file, too large, too deep, or it has aliases.
    """
    import yaml

    plain_file(path, root, max_bytes=MAX_BYTES)
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        text = path.read_bytes()
        _check(yaml.parse(text, loader), path)
        value = loader(text).get_single_data()
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise EpisodeError(f"{path}: not YAML ({type(error).__name__}: {str(error).splitlines()[0]:.120})") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise EpisodeError(f"{path}: must hold a mapping, holds {type(value).__name__}")
    return value


def _check(events: Iterator[Any], path: Path) -> None:
    """Looks at the parts of a text one by one, before anything is built of them."""
    import yaml

    depth = 0
    for count, event in enumerate(events):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent):
            raise UnsafeFileError(f"{path}: has an alias (*name), which is not read: write the value out")
        if depth > MAX_DEPTH or count > MAX_EVENTS:
            raise UnsafeFileError(f"{path}: is nested more than {MAX_DEPTH} deep, or has more than {MAX_EVENTS} parts")

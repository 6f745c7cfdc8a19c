"""What every part of the configuration checks itself with, and the mark of a field that came later."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from .errors import ConfigError

T = TypeVar("T")
ADDED = {"added": True}
"""Metadata of a field that stored configurations may lack: its default is what a policy did before it existed."""


def require(condition: bool, message: str) -> None:
    """Raises ConfigError with `message` unless `condition` holds."""
    if not condition:
        raise ConfigError(message)


def positive(section: str, config: object, *names: str) -> None:
    """Requires fields greater than zero."""
    for name in names:
        value = getattr(config, name)
        require(value > 0, f"{section}.{name} must be > 0, got {value}")


def divides(section: str, config: object, width: str, heads: str) -> None:
    """Requires a width that is a whole number of heads."""
    wide, many = getattr(config, width), getattr(config, heads)
    require(wide % many == 0, f"{section}.{width} must be a multiple of {section}.{heads} = {many}, got {wide}")


def added(default: T) -> T:
    """A field marked `ADDED`, for plain values."""
    return dataclasses.field(default=default, metadata=ADDED)


def was_added(item: dataclasses.Field[Any]) -> bool:
    """Whether a field is marked `ADDED`."""
    return "added" in item.metadata

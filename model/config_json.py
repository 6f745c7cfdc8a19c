"""Frozen dataclasses to JSON and back, strictly: an unknown, missing or ill-typed field is an error that names it."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from typing import Any, Literal, TypeVar

from .config_check import was_added
from .errors import ConfigError

T = TypeVar("T")


def dump_config(config: Any) -> str:
    """A dataclass as indented JSON, fields in the order of their declaration."""
    return json.dumps(dataclasses.asdict(config), indent=2, allow_nan=False) + "\n"


def parse_config(cls: type[T], text: str) -> T:
    """The dataclass `cls` from JSON; every field must be there but those that came later (see `added`)."""
    try:
        data = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(f"the configuration is not JSON: {error}") from error
    return _read(cls, data, "")


def _read(kind: Any, value: Any, path: str) -> Any:
    """`value` as the annotated type `kind`; `path` is the dotted name for the message."""
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, path)
    origin = typing.get_origin(kind)
    if origin is Literal:
        if not any(value == choice and type(value) is type(choice) for choice in typing.get_args(kind)):
            choices = ", ".join(map(repr, typing.get_args(kind)))
            raise ConfigError(f"{path} must be one of {choices}, got {value!r}")
        return value
    if origin in (types.UnionType, typing.Union):
        if value is None and types.NoneType in typing.get_args(kind):
            return None
        (inner,) = (part for part in typing.get_args(kind) if part is not types.NoneType)
        return _read(inner, value, path)
    if origin is tuple:
        return _read_tuple(kind, value, path)
    return _read_scalar(kind, value, path)


def _read_dataclass(cls: Any, value: Any, path: str) -> Any:
    where = path or "the configuration"
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be an object, got {value!r}")
    prefix = f"{path}." if path else ""
    items = {item.name: item for item in dataclasses.fields(cls)}
    for key in value:
        if key not in items:
            raise ConfigError(f"unknown field {prefix}{key}; {where} has {', '.join(items)}")
    for name, item in items.items():
        if name not in value and not was_added(item):
            raise ConfigError(f"missing field {prefix}{name}")
    hints = typing.get_type_hints(cls)
    return cls(**{name: _read(hints[name], value[name], prefix + name) for name in items if name in value})


def _read_tuple(kind: Any, value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ConfigError(f"{path} must be a list, got {value!r}")
    inner = typing.get_args(kind)
    if len(inner) == 2 and inner[1] is Ellipsis:
        inner = (inner[0],) * len(value)
    if len(inner) != len(value):
        raise ConfigError(f"{path} must have {len(inner)} entries, got {len(value)}")
    return tuple(
        _read(part, item, f"{path}[{index}]") for index, (part, item) in enumerate(zip(inner, value, strict=True))
    )


def _read_scalar(kind: Any, value: Any, path: str) -> Any:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise ConfigError(f"{path} must be {kind.__name__}, got {value!r}")
    if kind is float and not math.isfinite(value):
        raise ConfigError(f"{path} must be finite, got {value!r}")
    return value

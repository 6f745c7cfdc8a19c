"""What a field of a source setting may hold, one rule a field: the same for code and for files that anybody wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias, cast

from model.errors import ConfigError

Rule: TypeAlias = Callable[[str, object], None]
"""Raises `ConfigError`, naming the field, when a value is not allowed."""

MAX_SENTENCES, _MAX_CHARACTERS = 32, 500


def check(fields: Mapping[str, object], rules: Mapping[str, Rule], prefix: str = "") -> None:
    """Applies the rules to fields by their names.

    Raises:
        ConfigError: A field is unknown, or its value is not allowed.
    """
    for name, value in fields.items():
        if name not in rules:
            refuse(f"{prefix}{name:.60}", "is unknown to this version")
        rules[name](f"{prefix}{name}", value)


def refuse(name: str, problem: str) -> NoReturn:
    """Raises the `ConfigError` of a field."""
    raise ConfigError(f"source setting '{name}' {problem}")


def optional(rule: Rule) -> Rule:
    """None, or what another rule allows."""
    return lambda name, value: None if value is None else rule(name, value)


def boolean(name: str, value: object) -> None:
    """True or false, and no number."""
    if not isinstance(value, bool):
        refuse(name, f"must be true or false, got {value!r:.60}")


def one_of(allowed: tuple[str, ...]) -> Rule:
    """One of some words."""

    def rule(name: str, value: object) -> None:
        if not isinstance(value, str) or value not in allowed:
            refuse(name, f"must be one of {', '.join(allowed)}, got {value!r:.60}")

    return rule


def number(low: float, high: float) -> Rule:
    """A number within limits; NaN is in none."""

    def rule(name: str, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            refuse(name, f"must be a number from {low:g} to {high:g}, got {value!r:.60}")

    return rule


def numbers(*limits: tuple[float, float]) -> Rule:
    """As many numbers as there are limits, each within its own."""

    def rule(name: str, value: object) -> None:
        if not isinstance(value, tuple) or len(cast("tuple[object, ...]", value)) != len(limits):
            refuse(name, f"must hold {len(limits)} numbers, got {value!r:.60}")
        for item, (low, high) in zip(cast("tuple[object, ...]", value), limits, strict=True):
            number(low, high)(name, item)

    return rule


def sentences(name: str, value: object) -> None:
    """A few short texts for a person to read."""
    texts = cast("tuple[object, ...]", value) if isinstance(value, tuple) else None
    if texts is None or len(texts) > MAX_SENTENCES or not all(_is_sentence(text) for text in texts):
        refuse(name, f"may hold {MAX_SENTENCES} texts of {_MAX_CHARACTERS} printable characters")


def json_value(name: str, value: object) -> Any:
    """A value of a JSON file: lists as tuples, whole numbers as the floats they stand for (no field counts anything).

    Raises:
        ConfigError: A number that no float can hold.
    """
    if isinstance(value, list):
        return tuple(json_value(name, item) for item in cast("list[object]", value))
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            refuse(name, "is too large a number")
    return value


def _is_sentence(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_CHARACTERS and value.isprintable()

"""The arrays of a `Foresight` by name: to count their bytes, and to write them into one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from .attention.maps import AttentionMaps
from .foresight import Foresight


def arrays_of(foresight: Foresight) -> dict[str, np.ndarray]:
    """All arrays of a prediction, as "views.static.depth"."""
    attention = foresight.attention
    arrays: dict[str, np.ndarray | None] = {"action": foresight.action, "action_true": foresight.action_true}
    parts: dict[str, object] = {f"views.{view}": seen for view, seen in foresight.views.items()}
    parts |= {"flow": foresight.flow, "attention": attention}
    for prefix, part in parts.items():
        for field in fields(part):  # pyright: ignore[reportArgumentType]
            value = getattr(part, field.name)
            if isinstance(value, np.ndarray):
                arrays[f"{prefix}.{field.name}"] = value
    arrays |= _named("through_resampler", attention.through_resampler) | _maps(attention.maps)
    return {name: np.ascontiguousarray(value) for name, value in arrays.items() if value is not None}


def _named(prefix: str, values: Mapping[Any, np.ndarray]) -> dict[str, np.ndarray | None]:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def _maps(maps: AttentionMaps) -> dict[str, np.ndarray | None]:
    found = _named("maps.rows", maps.rows) | _named("maps.allowed", maps.allowed)
    found |= _named("maps.patches", maps.patches)
    return found | {f"maps.{name}": getattr(maps, name) for name in ("group", "age", "steps", "points")}

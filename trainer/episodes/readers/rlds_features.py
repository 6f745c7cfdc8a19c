"""What the features of an RLDS dataset are, from the features.json that TensorFlow Datasets writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from model.errors import EpisodeError

from ..safe_json import read_json

_MAX_DEPTH = 12


@dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """One feature of the flat record.

    Attributes:
        name: Its key there, such as "steps/observation/image_0".
        kind: An image (JPEG or PNG), a tensor of numbers, or text.
        shape: Of one step; None = any length.
        dtype: As in the file, "" for text.
    """

    name: str
    kind: Literal["image", "tensor", "text"]
    shape: tuple[int | None, ...]
    dtype: str


def read_features(path: Path, root: Path) -> dict[str, FeatureSpec]:
    """The features by name.

    Raises:
        EpisodeError: Not a features.json, or it describes no steps.
        UnsafeFileError: Leads outside of `root`, or too large.
    """
    specs = {spec.name: spec for spec in _walk(read_json(path, root), "", path, 0)}
    if not any(name.startswith("steps/") for name in specs):
        raise EpisodeError(f"{path}: describes no 'steps'; this is no RLDS dataset")
    return specs


def _walk(node: Mapping[str, Any], name: str, path: Path, depth: int) -> Iterator[FeatureSpec]:
    if depth > _MAX_DEPTH:
        raise EpisodeError(f"{path}: '{name}' is nested too deeply")
    children = _mapping(_mapping(node.get("featuresDict")).get("features"))
    for key, child in children.items():
        yield from _walk(_mapping(child), f"{name}/{key}" if name else key, path, depth + 1)
    inner = _mapping(_mapping(node.get("sequence")).get("feature"))
    if inner:
        yield from _walk(inner, name, path, depth + 1)
    if "text" in node:
        yield FeatureSpec(name=name, kind="text", shape=(), dtype="")
    for kind in ("image", "tensor"):
        if kind in node:
            body = _mapping(node[kind])
            shape = _shape(_mapping(body.get("shape")).get("dimensions"))
            yield FeatureSpec(name=name, kind=kind, shape=shape, dtype=str(body.get("dtype", "")))


def _shape(dimensions: Any) -> tuple[int | None, ...]:
    lengths = [str(length) for length in dimensions] if isinstance(dimensions, list) else []
    return tuple(int(length) if length.isdigit() and len(length) < 10 else None for length in lengths)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}

"""A `Foresight` as one safetensors file: arrays as tensors, everything else as JSON in the header.

The bytes say which checkpoint and which episode made them; reading checks that, so a cache can never hand out another
prediction. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from .attention.maps import AttentionMaps
from .foresight import AttentionForesight, FlowForesight, Foresight, ViewForesight

FORMAT = "foresight-3"
_HEADER = "foresight"


def to_bytes(foresight: Foresight, *, checkpoint: str, episode: str) -> bytes:
    """Serialises one prediction.

    Args:
        foresight: The prediction.
        checkpoint: Content hash of the checkpoint that made it.
        episode: Content hash of the episode.
    """
    arrays, plain = flatten(foresight)
    header = {"format": FORMAT, "checkpoint": checkpoint, "episode": episode, **plain}
    return save(arrays, metadata={_HEADER: json.dumps(header)})


def from_file(path: Path, *, checkpoint: str, episode: str) -> Foresight | None:
    """Reads what `to_bytes` wrote; None if the file is absent, damaged or of another origin (it is only a cache)."""
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get(_HEADER, "{}"))
            origin = (header.pop("format", None), header.pop("checkpoint", None), header.pop("episode", None))
            if origin != (FORMAT, checkpoint, episode):
                return None
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
        return unflatten(arrays, header)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError):
        return None


def flatten(foresight: Foresight) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Splits a prediction into named arrays ("views.static.depth") and what JSON can hold."""
    attention = foresight.attention
    arrays: dict[str, np.ndarray | None] = {"action": foresight.action, "action_true": foresight.action_true}
    parts: dict[str, object] = {f"views.{view}": seen for view, seen in foresight.views.items()}
    parts |= {"flow": foresight.flow, "attention": attention}
    for prefix, part in parts.items():
        for field in fields(part):  # pyright: ignore[reportArgumentType]
            value = getattr(part, field.name)
            if isinstance(value, np.ndarray):
                arrays[f"{prefix}.{field.name}"] = value
    arrays |= _named("through_resampler", attention.through_resampler) | _flatten_maps(attention.maps)
    plain = {
        "step": foresight.step,
        "future_step": foresight.future_step,
        "views": list(foresight.views),
        "start_depth": foresight.flow.start_depth,
        "uniform": attention.uniform,
        "groups": list(attention.groups),
        "token_groups": list(attention.maps.names),
        "metrics": foresight.metrics,
        "remarks": list(foresight.remarks),
    }
    return {name: np.ascontiguousarray(value) for name, value in arrays.items() if value is not None}, plain


def unflatten(arrays: Mapping[str, np.ndarray], plain: Mapping[str, Any]) -> Foresight:
    """Puts together what `flatten` took apart. A missing array that may be absent becomes None.

    Raises:
        KeyError: Something that must be there is not.
    """

    def group(prefix: str, kind: type, **others: Any) -> dict[str, Any]:
        found = dict(others)
        for field in fields(kind):
            name = f"{prefix}.{field.name}"
            if field.name not in others:
                found[field.name] = arrays.get(name) if "None" in str(field.type) else arrays[name]
        return found

    views = {view: ViewForesight(**group(f"views.{view}", ViewForesight)) for view in plain["views"]}
    attention = group(
        "attention",
        AttentionForesight,
        uniform=float(plain["uniform"]),
        groups=tuple(plain["groups"]),
        through_resampler=_under("through_resampler", arrays),
        maps=_unflatten_maps(arrays, plain),
    )
    flow = group("flow", FlowForesight, start_depth=plain["start_depth"])
    return Foresight(
        step=int(plain["step"]),
        future_step=int(plain["future_step"]),
        views=views,
        flow=FlowForesight(**flow),
        attention=AttentionForesight(**attention),
        action=arrays["action"],
        action_true=arrays.get("action_true"),
        metrics={str(name): float(value) for name, value in plain["metrics"].items()},
        remarks=tuple(str(name) for name in plain.get("remarks", ())),
    )


def _named(prefix: str, values: Mapping[Any, np.ndarray]) -> dict[str, np.ndarray | None]:
    return {f"{prefix}.{name}": value for name, value in values.items()}


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[Any, Any]:
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in arrays.items() if name.startswith(start)}


def _flatten_maps(maps: AttentionMaps) -> dict[str, np.ndarray | None]:
    found = _named("maps.rows", maps.rows) | _named("maps.allowed", maps.allowed)
    found |= _named("maps.patches", maps.patches)
    return found | {f"maps.{name}": getattr(maps, name) for name in ("group", "age", "steps", "points")}


def _unflatten_maps(arrays: Mapping[str, np.ndarray], plain: Mapping[str, Any]) -> AttentionMaps:
    return AttentionMaps(
        rows=_under("maps.rows", arrays),
        allowed=_under("maps.allowed", arrays),
        names=tuple(plain["token_groups"]),
        group=arrays["maps.group"],
        age=arrays["maps.age"],
        steps=arrays["maps.steps"],
        points=arrays.get("maps.points"),
        patches=_under("maps.patches", arrays),
    )

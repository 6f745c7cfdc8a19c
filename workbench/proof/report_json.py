"""A proof as JSON and back. The schema is stable: fields are only added, and `version` rises when one changes meaning.

    {"format": "foresight-workbench proof", "version": 1,
     "holds": false,                              everything measured is as declared, in every mode
     "counts": {"OK": 242, "LEAK": 1, "DEAD": 0, "UNDECIDED": 0},
     "subject": "preset foresight", "spec": ..., "level": "group", "groups": [...], ...,
     "cells": [{"attender": "W_PATCH", "attended": "ACT", "relation": "same", "declared": "none", "reach": "none",
                "verdict": "LEAK", "magnitude": 0.0031, "first_layer": 1, "path": [...], "reproducer": ..., ...}],
     "decoders": [...], "audits": [...], "modes": [...],
     "versions": {"torch": ...}, "hashes": {...}, "seed": 0, "seconds": 41.2}

What every field means stands in `workbench.proof.report`, in the dataclass of that name.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from enum import Enum
from typing import Any, TypeVar

from model.errors import ConfigError

from .report import ProofReport

FORMAT, VERSION = "foresight-workbench proof", 1
T = TypeVar("T")


def report_json(report: ProofReport) -> str:
    """The report with its verdict in front; a magnitude that is not a finite number is null."""
    head = {"format": FORMAT, "version": VERSION, "holds": report.holds, "counts": report.counts}
    record = head | dataclasses.asdict(report)
    try:
        return json.dumps(record, indent=1, allow_nan=False) + "\n"
    except ValueError:  # some magnitude is not a number
        return json.dumps(_plain(record), indent=1, allow_nan=False) + "\n"


def report_from_json(text: str) -> ProofReport:
    """Reads what `report_json` wrote.

    Raises:
        ConfigError: It is not a proof of this version, or a field is missing or of the wrong kind; says which.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"not JSON: {error}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ConfigError(f"not a proof: field format must be '{FORMAT}'")
    if record.get("version") != VERSION:
        raise ConfigError(f"a proof of version {record.get('version')!r:.20}; this program reads {VERSION}")
    return _read(ProofReport, record, "")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _read(kind: Any, value: Any, path: str) -> Any:
    """`value` as the annotated type `kind`; `path` is the dotted name for the message. More fields may be there."""
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, path)
    if origin is types.UnionType:
        (inner,) = (part for part in typing.get_args(kind) if part is not types.NoneType)
        return None if value is None else _read(inner, value, path)
    if origin is tuple and isinstance(value, list):
        return tuple(_read(typing.get_args(kind)[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {str(key): _read(typing.get_args(kind)[1], item, f"{path}.{key}") for key, item in value.items()}
    if kind is float and (value is None or type(value) is int):
        return math.nan if value is None else float(value)
    if isinstance(kind, type) and issubclass(kind, Enum) and value in {item.value for item in kind}:
        return kind(value)
    if isinstance(kind, type) and type(value) is kind:
        return value
    raise ConfigError(f"field {path} is not {getattr(kind, '__name__', kind)}: {value!r:.60}")


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """Evaluated once a class: a proof has tens of thousands of instances."""
    return typing.get_type_hints(kind)


def _read_dataclass(kind: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise ConfigError(f"field {path} must be an object, got {value!r:.60}")
    hints = _hints(kind)
    prefix = f"{path}." if path else ""
    names = [item.name for item in dataclasses.fields(kind)]
    if absent := [name for name in names if name not in value]:
        raise ConfigError(f"field {prefix}{absent[0]} is missing")
    return kind(
        **{
            name: value[name] if type(value[name]) is hints[name] else _read(hints[name], value[name], prefix + name)
            for name in names
        }
    )

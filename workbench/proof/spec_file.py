"""A declared mask from a JSON file: named groups, time relations, strict about every key.

    {"name": "my mask",
     "groups": [{"name": "GOAL", "count": 2, "prefix": true}, {"name": "IMG", "count": 4}, {"name": "ACT", "count": 1}],
     "frames": 5,
     "sets": {"INPUTS": ["GOAL", "IMG"]},
     "rules": [{"attender": "ACT", "attended": "INPUTS", "earlier": "all", "same": "all"},
               {"attender": ["IMG"], "attended": ["IMG"], "earlier": "all", "same": "causal"}]}

`groups` and `frames` may be left to the model, `sets` names several groups at once, `"*"` is every group of `groups`.
What no rule allows is forbidden.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from model.errors import ConfigError

from .declared import PATTERNS, Pattern, Rule, Spec
from .report import Group, Relation

_EVERY = "*"
_MAX_BYTES = 1_000_000
_MAX_TOKENS = 20_000


def read_spec(path: Path) -> Spec:
    """Reads a specification.

    Raises:
        ConfigError: The file is missing, is not JSON, or has a field that is unknown, missing or of the wrong kind.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path} is larger than {_MAX_BYTES} bytes; a specification is a few kilobytes")
        data = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; name a JSON file with a specification") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    try:
        return parse_spec(data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse_spec(data: object) -> Spec:
    """The specification that decoded JSON describes. ConfigError names the field that is wrong."""
    fields = _object("the specification", data, {"name", "rules"}, {"groups", "frames", "sets"})
    groups = None if fields.get("groups") is None else _groups(fields["groups"])
    frames = fields.get("frames")
    if frames is not None and (type(frames) is not int or not 1 <= frames <= _MAX_TOKENS):
        raise ConfigError(f"frames must be a whole number >= 1, got {frames!r}")
    if groups is not None and frames is not None:
        length = sum(group.count * (1 if group.prefix else frames) for group in groups)
        if length > _MAX_TOKENS:
            raise ConfigError(f"groups and frames make {length} tokens; at most {_MAX_TOKENS} can be proved")
    every = None if groups is None else tuple(group.name for group in groups)
    sets = {name: _strings(f"sets.{name}", value) for name, value in _object("sets", fields.get("sets", {})).items()}
    rules = tuple(_rule(f"rules[{i}]", rule, sets, every) for i, rule in enumerate(_list("rules", fields["rules"])))
    return Spec(name=_string("name", fields["name"]), rules=rules, groups=groups, n_frames=frames)


def _groups(value: object) -> tuple[Group, ...]:
    groups: list[Group] = []
    for index, item in enumerate(_list("groups", value)):
        place = f"groups[{index}]"
        fields = _object(place, item, {"name", "count"}, {"prefix"})
        name, count, prefix = _string(f"{place}.name", fields["name"]), fields["count"], fields.get("prefix", False)
        if type(count) is not int or not 1 <= count <= _MAX_TOKENS:
            raise ConfigError(f"{place}.count must be a whole number >= 1, got {count!r}")
        if type(prefix) is not bool:
            raise ConfigError(f"{place}.prefix must be true or false, got {prefix!r}")
        if name in (group.name for group in groups):
            raise ConfigError(f"{place}.name repeats '{name}'")
        if prefix and groups and not groups[-1].prefix:
            raise ConfigError(f"{place}: prefix groups stand before the others")
        groups.append(Group(name=name, count=count, prefix=prefix))
    return tuple(groups)


def _rule(place: str, value: object, sets: dict[str, tuple[str, ...]], every: tuple[str, ...] | None) -> Rule:
    relations = {relation.value for relation in Relation}
    fields = _object(place, value, {"attender", "attended"}, relations)
    patterns: dict[str, Pattern] = {}
    for relation in relations & fields.keys():
        pattern = fields[relation]
        if pattern not in PATTERNS:
            raise ConfigError(f"{place}.{relation} must be one of {', '.join(PATTERNS)}, got {pattern!r}")
        patterns[relation] = pattern
    names = {field: _names(f"{place}.{field}", fields[field], sets, every) for field in ("attender", "attended")}
    return Rule(attender=names["attender"], attended=names["attended"], **patterns)


def _names(
    place: str, value: object, sets: dict[str, tuple[str, ...]], every: tuple[str, ...] | None
) -> tuple[str, ...]:
    """Group names with sets and `*` resolved."""
    found: list[str] = []
    for name in (value,) if isinstance(value, str) else _strings(place, value):
        if name == _EVERY and every is None:
            raise ConfigError(f'{place}: "{_EVERY}" needs "groups" in the specification')
        found += every or () if name == _EVERY else sets.get(name, (name,))
    return tuple(dict.fromkeys(found))


def _object(
    place: str, value: object, required: set[str] | None = None, optional: set[str] | None = None
) -> dict[str, Any]:
    """A JSON object with these keys and no others (any keys if none are named)."""
    if not isinstance(value, dict):
        raise ConfigError(f"{place} must be an object, got {_kind(value)}")
    fields = cast("dict[str, Any]", value)
    if required is None:
        return fields
    known = required | (optional or set())
    for key in fields:
        if key not in known:
            raise ConfigError(f"{place} has an unknown field '{key}'; known are {', '.join(sorted(known))}")
    for key in sorted(required - fields.keys()):
        raise ConfigError(f"{place} lacks '{key}'")
    return fields


def _list(place: str, value: object) -> list[object]:
    if not isinstance(value, list) or not value:
        raise ConfigError(f"{place} must be a list with something in it, got {_kind(value)}")
    return cast("list[object]", value)


def _strings(place: str, value: object) -> tuple[str, ...]:
    return tuple(_string(f"{place}[{index}]", item) for index, item in enumerate(_list(place, value)))


def _string(place: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{place} must be a name, got {_kind(value)}")
    return value


def _kind(value: object) -> str:
    for kind, words in ((dict, "an object"), (list, "a list"), (str, "text"), (type(None), "null")):
        if isinstance(value, kind):
            return words
    return repr(value)

"""What a person writes beside a video: meta.yaml (or .yml, .json) and instruction.txt.

instruction: put the cup on the saucer
outcome: success                     # or failure
fps: 30                              # of image sequences; a video knows its own
depth_unit: mm                       # m, mm, or metres per count; without it depth is not read
depth_origin: true                   # or pseudo (estimated from the images)
depth_scale: metric                  # or relative
action_space: {metres_per_unit: 1, radians_per_unit: 1, frame: base}   # or tool

All of them may be missing. Fields of any other name are not read, and a note says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from model.errors import EpisodeError

from ..episode import ActionSpace, DepthOrigin, DepthScale, Outcome
from ..safe_json import read_json
from ..safe_path import plain_file
from ..safe_yaml import read_yaml
from .folder_names import find_file

_MAX_TEXT = 64 << 10
_UNITS = {
    **dict.fromkeys(("m", "metre", "metres", "meter", "meters"), 1.0),
    **dict.fromkeys(("mm", "millimetre", "millimetres", "millimeter", "millimeters"), 0.001),
}
T = TypeVar("T", bound=str)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The content of meta.yaml and instruction.txt. `depth_unit` is metres per count; `notes` say what is not read."""

    instruction: str = ""
    outcome: Outcome | None = None
    fps: float | None = None
    depth_unit: float | None = None
    depth_origin: DepthOrigin = "true"
    depth_scale: DepthScale = "metric"
    action_space: ActionSpace | None = None
    notes: tuple[str, ...] = ()


def read_facts(folder: Path) -> Facts:
    """Reads what there is; nothing gives the defaults.

    Raises:
        EpisodeError: A value that is none of those above; names file and field.
        UnsafeFileError: A file that leads outside or is too large.
    """
    path = find_facts(folder, "meta")
    fields, where = read_mapping(path, folder), path or folder / "meta.yaml"
    unknown = sorted(map(str, set(fields) - {*Facts.__dataclass_fields__, "source", "comment"}))
    notes = [f"{where.name}: unknown fields are not read: {', '.join(unknown)[:200]}"] if unknown else []
    outcome = _outcome(fields.get("outcome"))
    if outcome is None and fields.get("outcome") is not None:
        notes.append(f"{where.name}: outcome must be success or failure, {fields['outcome']!r:.40} is not read")
    text = find_file(folder, ["instruction.txt"])
    written = str(fields.get("instruction") or "") if text is None else _text(text, folder)
    return Facts(
        instruction=written.strip()[:2000],
        outcome=outcome,
        fps=None if fields.get("fps") is None else _positive(fields["fps"], f"{where}: field 'fps'"),
        depth_unit=_unit(fields.get("depth_unit"), where),
        depth_origin=_choice(_worded(fields), "depth_origin", get_args(DepthOrigin), where) or "true",
        depth_scale=_choice(fields, "depth_scale", get_args(DepthScale), where) or "metric",
        action_space=_action_space(fields.get("action_space"), where),
        notes=tuple(notes),
    )


def find_facts(folder: Path, stem: str) -> Path | None:
    """The first of STEM.yaml, STEM.yml, STEM.json that exists."""
    return find_file(folder, [f"{stem}{suffix}" for suffix in (".yaml", ".yml", ".json")])


def fact_files(folder: Path) -> list[Path]:
    """The files that are read for what a person wrote."""
    found = (find_facts(folder, "meta"), find_facts(folder, "camera"), find_file(folder, ["instruction.txt"]))
    return [path for path in found if path is not None]


def read_mapping(path: Path | None, folder: Path) -> Mapping[str, Any]:
    """The fields of a YAML or JSON file; none where there is no file. Raises as `read_yaml` and `read_json`."""
    if path is None:
        return {}
    return read_json(path, folder) if path.suffix.lower() == ".json" else read_yaml(path, folder)


def _text(path: Path, root: Path) -> str:
    plain_file(path, root, max_bytes=_MAX_TEXT)
    return path.read_bytes().decode("utf-8", "replace")


def _worded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """YAML reads `true` as a truth value; here it is a word."""
    return {name: "true" if value is True else value for name, value in fields.items()}


def _outcome(value: Any) -> Outcome | None:
    """People write Success, true or `yes`, which YAML reads as true."""
    if isinstance(value, bool):
        return "success" if value else "failure"
    return next((word for word in get_args(Outcome) if word == str(value).strip().lower()), None)


def _choice(fields: Mapping[str, Any], name: str, allowed: tuple[T, ...], path: Path) -> T | None:
    value = fields.get(name)
    found = next((word for word in allowed if word == value), None)
    if value is not None and found is None:
        raise EpisodeError(f"{path}: field '{name}' must be {' or '.join(allowed)}, got {value!r:.40}")
    return found


def _unit(value: Any, path: Path) -> float | None:
    if value is None:
        return None
    named = _UNITS.get(value.strip().lower()) if isinstance(value, str) else None
    return named if named is not None else _positive(value, f"{path}: field 'depth_unit'")


def _action_space(value: Any, path: Path) -> ActionSpace | None:
    if value is None:
        return None
    where = f"{path}: field 'action_space'"
    if not isinstance(value, dict):
        raise EpisodeError(f"{where} must have metres_per_unit, radians_per_unit and frame")
    frame = value.get("frame", "base")
    if frame not in ("base", "tool"):
        raise EpisodeError(f"{where}.frame must be base or tool, got {frame!r:.20}")
    return ActionSpace(
        metres_per_unit=_positive(value.get("metres_per_unit"), f"{where}.metres_per_unit"),
        radians_per_unit=_positive(value.get("radians_per_unit"), f"{where}.radians_per_unit"),
        frame="tool" if frame == "tool" else "base",
    )


def _positive(value: Any, where: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number < 1e6:
        raise EpisodeError(f"{where} must be a positive number (units of depth: m, mm), got {value!r:.40}")
    return number

"""What a person writes beside a video: meta.yaml (or .json), instruction.txt, camera.yaml (or .json).

meta.yaml     instruction: put the cup on the saucer
              outcome: success                     # or failure
              fps: 30                              # of image sequences; a video knows its own
              depth_unit: mm                       # m, mm, or metres per count; without it depth is not read
              depth_origin: true                   # or pseudo (estimated from the images)
              depth_scale: metric                  # or relative
              action_space: {metres_per_unit: 1, radians_per_unit: 1, frame: base}   # or tool
camera.yaml   static:
                K: [[600, 0, 320], [0, 600, 240], [0, 0, 1]]
                pixel_centre: 0.5                  # 0 where K counts pixel centres as whole numbers (OpenCV, ROS)
                size: [480, 640]                   # height, width that K is for; default: the images' own
                T_world_camera: 4 x 4, or one for each step (OpenCV axes, metres)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import numpy as np
from jaxtyping import Float

from model.errors import EpisodeError

from ..episode import ActionSpace, DepthOrigin, DepthScale, Outcome
from ..safe_json import read_json
from ..safe_path import plain_file
from ..safe_yaml import read_yaml

_MAX_TEXT = 64 << 10
T = TypeVar("T", bound=str)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The content of meta.yaml and instruction.txt. `depth_unit` is metres per count."""

    instruction: str = ""
    outcome: Outcome | None = None
    fps: float | None = None
    depth_unit: float | None = None
    depth_origin: DepthOrigin = "true"
    depth_scale: DepthScale = "metric"
    action_space: ActionSpace | None = None


@dataclass(frozen=True, kw_only=True)
class CameraFacts:
    """What camera.yaml says of one camera."""

    K: Float[np.ndarray, "3 3"] | None
    size: tuple[int, int] | None
    T_world_camera: Float[np.ndarray, "*t 4 4"] | None


def read_facts(folder: Path) -> Facts:
    """Reads what there is; nothing gives the defaults.

    Raises:
        EpisodeError: A value that is none of those above; names file and field.
        UnsafeFileError: A file that leads outside or is too large.
    """
    path, fields = _mapping(folder, "meta")
    unknown = set(fields) - {*Facts.__dataclass_fields__, "source", "comment"}
    if unknown:
        raise EpisodeError(f"{path}: field '{min(map(str, unknown)):.40}' is unknown; see the reader's description")
    text = folder / "instruction.txt"
    written = _text(text, folder) if text.is_file() else str(fields.get("instruction") or "")
    return Facts(
        instruction=written.strip()[:2000],
        outcome=_choice(fields, "outcome", get_args(Outcome), path),
        fps=None if fields.get("fps") is None else _positive(fields["fps"], f"{path}: field 'fps'"),
        depth_unit=_unit(fields.get("depth_unit"), path),
        depth_origin=_choice(_worded(fields), "depth_origin", get_args(DepthOrigin), path) or "true",
        depth_scale=_choice(fields, "depth_scale", get_args(DepthScale), path) or "metric",
        action_space=_action_space(fields.get("action_space"), path),
    )


def read_cameras(folder: Path) -> dict[str, CameraFacts]:
    """What is known of each camera, by the view's name. Raises as `read_facts`."""
    path, fields = _mapping(folder, "camera")
    cameras: dict[str, CameraFacts] = {}
    for name, given in fields.items():
        where = f"{path}: '{name}'"
        if not isinstance(given, dict):
            raise EpisodeError(f"{where} must be a mapping of K, size, pixel_centre, T_world_camera")
        K = None if given.get("K") is None else _array(given["K"], (3, 3), f"{where}.K")
        if K is not None:
            _check_intrinsics(K, where)
            K[:2, 2] += 0.5 - _half(given.get("pixel_centre", 0.5), where)
        size = None if given.get("size") is None else _array(given["size"], (2,), f"{where}.size")
        cameras[str(name)] = CameraFacts(
            K=K,
            size=None if size is None else (int(size[0]), int(size[1])),
            T_world_camera=_poses(given.get("T_world_camera"), where),
        )
    return cameras


def fact_files(folder: Path) -> list[Path]:
    """The files that `read_facts` and `read_cameras` read."""
    names = ("meta.yaml", "meta.json", "instruction.txt", "camera.yaml", "camera.json")
    return [folder / name for name in names if (folder / name).is_file()]


def _mapping(folder: Path, stem: str) -> tuple[Path, Mapping[str, Any]]:
    for path, read in ((folder / f"{stem}.yaml", read_yaml), (folder / f"{stem}.json", read_json)):
        if path.is_file():
            return path, read(path, folder)
    return folder / f"{stem}.yaml", {}


def _text(path: Path, root: Path) -> str:
    plain_file(path, root, max_bytes=_MAX_TEXT)
    return path.read_bytes().decode("utf-8", "replace")


def _worded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """YAML reads `true` as a truth value; here it is a word."""
    return {name: "true" if value is True else value for name, value in fields.items()}


def _choice(fields: Mapping[str, Any], name: str, allowed: tuple[T, ...], path: Path) -> T | None:
    value = fields.get(name)
    found = next((word for word in allowed if word == value), None)
    if value is not None and found is None:
        raise EpisodeError(f"{path}: field '{name}' must be {' or '.join(allowed)}, got {value!r:.40}")
    return found


def _unit(value: Any, path: Path) -> float | None:
    if value is None:
        return None
    named = {"m": 1.0, "mm": 0.001}.get(value) if isinstance(value, str) else None
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
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e6:
        raise EpisodeError(f"{where} must be a positive number (units of depth: m, mm), got {value!r:.40}")
    return float(value)


def _half(value: Any, where: str) -> float:
    if value not in (0, 0.5) or isinstance(value, bool):
        raise EpisodeError(f"{where}.pixel_centre must be 0.5 or 0, got {value!r:.20}")
    return float(value)


def _array(value: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    try:
        array = np.array(value, np.float64)
    except (ValueError, TypeError):
        raise EpisodeError(f"{where} must hold numbers") from None
    if array.shape != shape or not np.isfinite(array).all():
        raise EpisodeError(f"{where} must be {' x '.join(map(str, shape))} finite numbers, has shape {array.shape}")
    return array


def _poses(value: Any, where: str) -> Float[np.ndarray, "*t 4 4"] | None:
    if value is None:
        return None
    rows = value[0] if isinstance(value, list) and value else None
    deep = isinstance(rows, list) and bool(rows) and isinstance(rows[0], list)  # one for each step
    poses = _array(value, (len(value), 4, 4) if deep else (4, 4), f"{where}.T_world_camera")
    R = poses[..., :3, :3]
    if np.abs(R @ np.swapaxes(R, -1, -2) - np.eye(3)).max() > 1e-3 or np.abs(poses[..., 3, :] - [0, 0, 0, 1]).max() > 0:
        raise EpisodeError(f"{where}.T_world_camera is no rigid transform (rotation and metres, last row 0 0 0 1)")
    if (np.linalg.det(R) < 0).any():
        raise EpisodeError(f"{where}.T_world_camera mirrors the scene (its determinant is -1)")
    return poses


def _check_intrinsics(K: Float[np.ndarray, "3 3"], where: str) -> None:
    if K[0, 0] <= 0 or K[1, 1] <= 0 or not math.isclose(K[2, 2], 1) or np.any(K[[1, 2, 2], [0, 0, 1]] != 0):
        raise EpisodeError(f"{where}.K must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels")

"""What camera.yaml (or .yml, .json) says of the cameras of a folder, by the view's name.

static:
  K: [[600, 0, 320], [0, 600, 240], [0, 0, 1]]   # of the colours; or nine numbers; or fx, fy, cx, cy
  pixel_centre: 0.5                  # 0 where K counts pixel centres as whole numbers (OpenCV, ROS)
  size: [480, 640]                   # height, width that K is for; default: the images' own
  T_world_camera: 4 x 4, or one for each step (OpenCV axes, metres)

A file that describes one camera without a name is for the only view: the fields above, or those of a ROS calibration
(camera_matrix, image_width, image_height, camera_name), whose pixel centres are whole numbers.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from model.errors import EpisodeError

from .folder_facts import find_facts, read_mapping

_FIELDS = frozenset({"K", "fx", "fy", "cx", "cy", "pixel_centre", "size", "T_world_camera"})
_UNUSED = frozenset(
    {"camera_name", "distortion_model", "rectification_matrix", "projection_matrix", "R", "P", "r", "p", "header"}
    | {"binning_x", "binning_y", "roi"}
)  # of ROS; they say nothing more of the camera
_LENGTHS = ("fx", "fy", "cx", "cy")


@dataclass(frozen=True, kw_only=True)
class CameraFacts:
    """What camera.yaml says of one camera. K counts pixel centres as halves; `size` is what it was measured at."""

    K: Float[np.ndarray, "3 3"] | None
    size: tuple[int, int] | None
    T_world_camera: Float[np.ndarray, "*t 4 4"] | None


def read_cameras(folder: Path, views: Collection[str]) -> tuple[dict[str, CameraFacts], list[str]]:
    """What is known of each view's camera, and notes on what is not used.

    Raises:
        EpisodeError: A value that is none of those above; names file and field.
        UnsafeFileError: A file that leads outside or is too large.
    """
    path = find_facts(folder, "camera")
    if path is None:
        return {}, []
    named, cameras, notes = {view.lower(): view for view in views}, dict[str, CameraFacts](), list[str]()
    for name, given in _by_name(read_mapping(path, folder), path, views).items():
        if not isinstance(given, dict):
            raise EpisodeError(f"{path}: '{name}' must be a mapping of K, size, pixel_centre, T_world_camera")
        facts, unused = _camera(_plain(given), f"{path}: '{name}'")
        view = named.get(name.lower())
        if view is None:
            notes.append(f"{path.name}: '{name:.60}' is not used: the views are {', '.join(views)}")
            continue
        cameras[view] = facts
        notes += [f"{path.name}: of '{name}', {what}" for what in unused]
    return cameras, notes


def _by_name(fields: Mapping[str, Any], path: Path, views: Collection[str]) -> dict[str, Any]:
    """Each camera's fields; those of a file without names are the only view's, or those of its `camera_name`."""
    if not {"K", "k", "fx", "camera_matrix", "T_world_camera"} & set(fields):
        return {str(name): given for name, given in fields.items()}
    only = next(iter(views)) if len(views) == 1 else str(fields.get("camera_name", "the camera without a name"))
    return {only: dict(fields)}


def _plain(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of this file; those of ROS (a calibration file, or a CameraInfo message) under our names."""
    fields = dict(given)
    if "k" in fields:
        fields["K"] = fields.pop("k")
    if isinstance(matrix := fields.pop("camera_matrix", None), dict):
        fields["K"] = matrix.get("data")
    sizes = [fields.pop(f"image_{side}", fields.pop(side, None)) for side in ("height", "width")]
    if None not in sizes:
        fields.setdefault("size", sizes)
    if matrix is not None or "distortion_model" in fields:
        fields.setdefault("pixel_centre", 0)
    return fields


def _camera(given: Mapping[str, Any], where: str) -> tuple[CameraFacts, list[str]]:
    """One camera, and what is not used of it."""
    K = _matrix(given, where)
    if K is not None:
        _check_intrinsics(K, where)
        K[:2, 2] += 0.5 - _half(given.get("pixel_centre", 0.5), where)
    size = None if given.get("size") is None else _array(given["size"], (2,), f"{where}.size")
    if size is not None and not (size.min() >= 1 and size.max() < 1e6):
        raise EpisodeError(f"{where}.size must be height and width in pixels, got {size.tolist()}")
    distortion = [name for name in given if str(name).lower() in ("d", "distortion", "distortion_coefficients")]
    others = sorted(map(str, set(given) - _FIELDS - _UNUSED - set(distortion)))
    unused = [f"not used: {', '.join(others)[:200]}"] if others else []
    if any(_is_bent(given[name]) for name in distortion):
        unused.append("the distortion is not used: points off the middle are wrong by it; undistort the images")
    facts = CameraFacts(
        K=K,
        size=None if size is None else (int(size[0]), int(size[1])),
        T_world_camera=_poses(given.get("T_world_camera"), where),
    )
    return facts, unused


def _matrix(given: Mapping[str, Any], where: str) -> Float[np.ndarray, "3 3"] | None:
    value = given.get("K")
    if value is not None:
        return _array(value, (9,) if isinstance(value, list) and len(value) == 9 else (3, 3), f"{where}.K").reshape(
            3, 3
        )
    if not set(_LENGTHS) <= set(given):
        return None
    fx, fy, cx, cy = _array([given[name] for name in _LENGTHS], (4,), f"{where}.fx, fy, cx, cy")
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def _is_bent(distortion: Any) -> bool:
    """Whether coefficients, or the matrix of them that ROS writes, are there and not all zero."""
    numbers = distortion.get("data") if isinstance(distortion, dict) else distortion
    return any(number != 0 for number in numbers) if isinstance(numbers, list) else numbers is not None


def _half(value: Any, where: str) -> float:
    if value not in (0, 0.5) or isinstance(value, bool):
        raise EpisodeError(f"{where}.pixel_centre must be 0.5 or 0, got {value!r:.20}")
    return float(value)


def _array(value: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
    try:
        array = np.array(value, np.float64)
    except (ValueError, TypeError, OverflowError):
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

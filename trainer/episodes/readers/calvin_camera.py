"""CALVIN's cameras, from the simulator's configuration beside a split (`.hydra/merged_config.yaml`).

The static camera looks from one given point at another. The gripper camera hangs on a link whose pose is not recorded
(only the tool's is), so it has intrinsics and no pose.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import Float

from model.errors import EpisodeError

from ..safe_yaml import read_yaml

CONFIG = Path(".hydra") / "merged_config.yaml"
# At the far plane is background: nothing was hit there. What lies beyond it is no depth of the simulator in metres, and
# stays as it is: whoever looks for a wrong unit must see it.
_FAR_SHARE = 0.001


@dataclass(frozen=True, kw_only=True)
class CalvinCamera:
    """One camera of the simulator.

    Attributes:
        fov: Vertical field of view, radians.
        aspect: Width over height of the field of view.
        far: Distance of the far plane, metres.
        T_world_camera: Pose with OpenCV axes; None for a camera that moves.
    """

    fov: float
    aspect: float
    far: float
    T_world_camera: Float[np.ndarray, "4 4"] | None

    def intrinsics(self, size: tuple[int, int]) -> Float[np.ndarray, "3 3"]:
        """K in pixels for images of (height, width)."""
        height, width = size
        half = np.tan(self.fov / 2)
        fx, fy = width / (2 * half * self.aspect), height / (2 * half)
        return np.array([[fx, 0, width / 2], [0, fy, height / 2], [0, 0, 1]])

    def valid(self, depth: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
        """Depth with NaN where nothing was hit."""
        return np.where(np.abs(depth - self.far) > _FAR_SHARE * self.far, depth, np.float32(np.nan))


def read_cameras(split: Path) -> dict[str, CalvinCamera]:
    """The cameras by CALVIN's names (static, gripper, ...); empty without a configuration.

    Raises:
        EpisodeError: The configuration is damaged; names file and field.
        UnsafeFileError: It leads outside.
    """
    path = split / CONFIG
    if not path.exists():
        return {}
    cameras = read_yaml(path, split).get("cameras")
    if not isinstance(cameras, dict):
        raise EpisodeError(f"{path}: field 'cameras' must be a mapping")
    return {
        name: _camera(fields, f"{path}: field 'cameras.{name}")
        for name, fields in cameras.items()
        if isinstance(name, str) and isinstance(fields, dict) and "fov" in fields
    }


def look_at(
    eye: Float[np.ndarray, " 3"], target: Float[np.ndarray, " 3"], up: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "4 4"]:
    """`T_world_camera` with OpenCV axes of a camera at `eye` that looks at `target`; `up` points up in the image."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = np.stack([right, np.cross(forward, right), forward], 1), eye
    return T


def _camera(fields: dict[str, Any], where: str) -> CalvinCamera:
    fov, aspect, far = (_number(fields, name, where) for name in ("fov", "aspect", "farval"))
    if not 0 < fov < 180 or aspect <= 0 or far <= 0:
        raise EpisodeError(f"{where}' describes no camera: fov {fov}, aspect {aspect}, farval {far}")
    pose = None
    if "look_from" in fields:
        eye, target, up = (_vector(fields, name, where) for name in ("look_from", "look_at", "up_vector"))
        if np.linalg.norm(np.cross(target - eye, up)) < 1e-9:
            raise EpisodeError(f"{where}.look_at' gives no direction")
        pose = look_at(eye, target, up)
    return CalvinCamera(fov=np.radians(fov), aspect=aspect, far=far, T_world_camera=pose)


def _number(fields: dict[str, Any], name: str, where: str) -> float:
    value = fields.get(name)
    if not _is_number(value):
        raise EpisodeError(f"{where}.{name}' must be a number")
    return float(value)


def _vector(fields: dict[str, Any], name: str, where: str) -> Float[np.ndarray, " 3"]:
    value = fields.get(name)
    if not isinstance(value, list) or len(value) != 3 or not all(map(_is_number, value)):
        raise EpisodeError(f"{where}.{name}' must be three numbers")
    return np.array(value, np.float64)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6  # false for NaN

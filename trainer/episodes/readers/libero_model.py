"""What the simulator's model, kept as text in LIBERO's HDF5 files, says about cameras. No simulator is needed."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ..rotations import rotation_matrix

CAMERAS = {"static": "agentview", "wrist": "robot0_eye_in_hand"}
_FIELD_OF_VIEW = 45.0  # degrees: MuJoCo's default
_NARROWEST = 0.01  # degrees: no camera sees less, and a focal length must stay a number
_TO_OPENCV = np.diag([1.0, -1.0, -1.0])  # MuJoCo cameras look along -z with y up
_MAX_TEXT, _MAX_ELEMENTS = 4 << 20, 100_000  # of a real one: half a megabyte, a few thousand
_ENTITY = re.compile(r"<!(DOCTYPE|ENTITY)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class ModelCamera:
    """One camera of the model.

    Attributes:
        fov: Vertical field of view, radians.
        T_world_camera: Pose with OpenCV axes; None for one that hangs on a body, whose pose only the simulator knows.
    """

    fov: float
    T_world_camera: Float[np.ndarray, "4 4"] | None

    def intrinsics(self, size: tuple[int, int]) -> Float[np.ndarray, "3 3"]:
        """K in pixels for images of (height, width)."""
        height, width = size
        focal = height / 2 / math.tan(self.fov / 2)
        return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])


@dataclass(frozen=True, kw_only=True)
class Planes:
    """Near and far plane of the renderer, metres."""

    near: float
    far: float

    def metres(self, buffer: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
        """Depth along the axis from the normalised buffer 0 .. 1 that OpenGL keeps; NaN where nothing was hit."""
        with np.errstate(invalid="ignore", divide="ignore"):
            depth = self.near / (1 - buffer.astype(np.float64) * (1 - self.near / self.far))
            seen = (buffer >= 0) & (buffer < 1) & (depth < 0.999 * self.far)
        return np.where(seen, depth, np.nan).astype(np.float32)

    def buffer(self, depth: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
        """Inverse of `metres`; what is not known or beyond the planes becomes 1, the background."""
        with np.errstate(invalid="ignore", divide="ignore"):
            buffer = (1 - self.near / depth.astype(np.float64)) / (1 - self.near / self.far)
            inside = (depth > self.near) & (depth < self.far)
        return np.where(inside, buffer, 1.0)


@dataclass(frozen=True, kw_only=True)
class Model:
    """Cameras by MuJoCo's names, and the planes where the text alone tells them."""

    cameras: dict[str, ModelCamera]
    planes: Planes | None


def parse_model(text: str) -> Model:
    """Reads the cameras out of a MuJoCo model; a text that is no model gives none.

    Near and far are given in units of the model's extent, which is known only if the text states it: otherwise MuJoCo
    computes it from the meshes.
    """
    if len(text) > _MAX_TEXT or text.count("<") > 2 * _MAX_ELEMENTS:
        return Model(cameras={}, planes=None)
    if _ENTITY.search(text):  # a model has no use for them, and they can make a page out of a line
        return Model(cameras={}, planes=None)
    try:
        root = ET.fromstring(text)  # noqa: S314 - no entities, see above
    except (ET.ParseError, ValueError):
        return Model(cameras={}, planes=None)
    default = _FIELD_OF_VIEW
    world = root.find("worldbody")
    fixed = set() if world is None else {id(camera) for camera in world.findall("camera")}
    cameras = {
        camera.get("name", ""): _camera(camera, default, fixed=id(camera) in fixed) for camera in root.iter("camera")
    }
    return Model(cameras=cameras, planes=_planes(root))


def _camera(camera: ET.Element, default: float, *, fixed: bool) -> ModelCamera:
    fov = _numbers(camera.get("fovy"), 1)
    fov = fov if fov is not None and _NARROWEST < fov[0] < 180 else [default]
    position, orientation = _numbers(camera.get("pos", "0 0 0"), 3), _numbers(camera.get("quat", "1 0 0 0"), 4)
    turned_otherwise = any(camera.get(name) for name in ("euler", "xyaxes", "zaxis", "axisangle", "mode"))
    pose = None
    if fixed and position and orientation and any(orientation) and (not turned_otherwise or _is_fixed(camera)):
        pose = np.eye(4)
        pose[:3, :3] = rotation_matrix(np.array(orientation)) @ _TO_OPENCV
        pose[:3, 3] = position
    return ModelCamera(fov=math.radians(fov[0]), T_world_camera=pose)


def _is_fixed(camera: ET.Element) -> bool:
    """A camera turned by its quaternion that stays where it is."""
    others = any(camera.get(name) for name in ("euler", "xyaxes", "zaxis", "axisangle"))
    return not others and camera.get("mode") == "fixed"


def _planes(root: ET.Element) -> Planes | None:
    extent = _last(root, "statistic", "extent")
    near, far = _last(root, "visual/map", "znear"), _last(root, "visual/map", "zfar")
    if extent is None or near is None or far is None or not 0 < near < far or extent <= 0:
        return None
    return Planes(near=near * extent, far=far * extent)


def _last(root: ET.Element, path: str, name: str) -> float | None:
    """The attribute of the last element that has it: MuJoCo merges repeated sections so."""
    found = [_numbers(element.get(name), 1) for element in root.findall(path) if element.get(name)]
    return found[-1][0] if found and found[-1] else None


def _numbers(text: str | None, count: int) -> list[float] | None:
    try:
        values = [float(word) for word in (text or "").split()]
    except ValueError:
        return None
    return values if len(values) == count and all(map(math.isfinite, values)) else None

"""The arithmetic of a `ViewSetting`: images and pixels turned, depth made z in metres, K and pose brought in line.

Dimensions: t control step, h w pixels, p picked pixel.
"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Integer

from .source_settings import REVERSES, Turn, ViewSetting

LEVEL_CAMERA = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""Pose of a camera of unknown place, so that 3D can be drawn: in the origin, looking along x, z up (OpenCV axes)."""
_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
_HALF_TURN = np.diag([-1.0, -1.0, 1.0, 1.0])


def turned(image: np.ndarray, turn: Turn) -> np.ndarray:
    """A view of an image (h, w, ...) with its rows, its columns or both reversed. Its own inverse."""
    rows, columns = REVERSES[turn]
    return image[:: -1 if rows else 1, :: -1 if columns else 1]


def stored_pixels(
    rows: Integer[np.ndarray, " p"], columns: Integer[np.ndarray, " p"], size: tuple[int, int], turn: Turn
) -> tuple[Integer[np.ndarray, " p"], Integer[np.ndarray, " p"]]:
    """Where the pixels of a turned image of `size` (height, width) are stored."""
    by_row, by_column = REVERSES[turn]
    return size[0] - 1 - rows if by_row else rows, size[1] - 1 - columns if by_column else columns


def view_intrinsics(
    stored: Float[np.ndarray, "3 3"] | None, size: tuple[int, int], setting: ViewSetting
) -> Float[np.ndarray, "3 3"] | None:
    """K in pixels of the corrected image: what the setting gives, else the stored one, turned if the camera turns."""
    height, width = size
    if setting.fov_degrees is not None:
        focal = 0.5 * width / math.tan(math.radians(setting.fov_degrees) / 2)
        return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    if setting.K is not None:
        fx, fy, cx, cy = setting.K
        return np.array([[fx * width, 0, cx * width], [0, fy * height, cy * height], [0, 0, 1]])
    if stored is None or not setting.camera_turns:
        return stored
    by_row, by_column = REVERSES[setting.turn]
    K = np.array(stored, np.float64)
    K[0, 2] = width - K[0, 2] if by_column else K[0, 2]
    K[1, 2] = height - K[1, 2] if by_row else K[1, 2]
    K[0, 1] *= -1.0 if by_row != by_column else 1.0  # the skew, which real cameras do not have
    return K


def view_pose(
    stored: Float[np.ndarray, "t 4 4"] | None, setting: ViewSetting, *, level: int | None = None
) -> Float[np.ndarray, "t 4 4"] | None:
    """`T_world_camera` of the corrected images.

    Args:
        stored: As the source has it, None if it has none.
        setting: What to change.
        level: Length of the episode where a camera of unknown pose is to stand level in the origin; None: it has no
            pose.
    """
    if stored is None:
        return None if level is None else np.broadcast_to(LEVEL_CAMERA, (level, 4, 4))
    pose = np.linalg.inv(stored) if setting.pose == "inverted" else stored
    pose = pose @ _OPENGL if setting.pose == "opengl" else pose
    # A mirror is no motion: of a mirrored image only the principal point can follow.
    return pose @ _HALF_TURN if setting.camera_turns and setting.turn == "rotate-180" else pose


def metric(
    depth: Float[np.ndarray, "*s"],
    rows: Integer[np.ndarray, ...],
    columns: Integer[np.ndarray, ...],
    setting: ViewSetting,
    K: Float[np.ndarray, "3 3"] | None,
) -> Float[np.ndarray, "*s"]:
    """Float32 z in metres of depth as the source gives it, NaN where that is nowhere.

    Args:
        depth: In the source's own unit, already moved to the pixels `rows` and `columns` (broadcast together).
        rows: Of the corrected image.
        columns: Of the corrected image.
        setting: Says what the unit is.
        K: Of the corrected image; needed for ray lengths only.
    """
    if not setting.changes_depth:
        return np.ascontiguousarray(depth, np.float32)
    z = depth.astype(np.float64)
    if setting.depth_planes is not None:
        near, far = setting.depth_planes
        inside = (z >= 0) & (z <= 1)  # false for NaN
        z = near * far / (far - (far - near) * np.where(inside, z, 0.0))
        z[~inside] = np.nan
    z *= setting.depth_factor
    if setting.ray_length:
        if K is None:
            raise ValueError("ray lengths become z through intrinsics only")  # `corrected` refuses such an episode
        y = (rows + 0.5 - K[1, 2]) / K[1, 1]
        x = (columns + 0.5 - K[0, 2] - K[0, 1] * y) / K[0, 0]
        z /= np.sqrt(1 + x**2 + y**2)
    z[~(z > 0)] = np.nan
    return z.astype(np.float32)

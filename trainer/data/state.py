"""The tool's pose as the policy sees it: relative to the first frame of the window. Metres and radians."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def relative_pose(state: Float[np.ndarray, "t 8"]) -> Float[np.ndarray, "t 6"]:
    """R0^T (p - p0) and the Euler angles xyz of R0^T R, of rows (position, quaternion wxyz, gripper)."""
    R = rotation_matrix(state[:, 3:7])
    return np.concatenate([(state[:, :3] - state[:1, :3]) @ R[0], euler_xyz(R[0].T @ R)], 1)


def rotation_matrix(wxyz: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 3 3"]:
    """Quaternions to matrices; the length does not matter."""
    w, x, y, z = np.moveaxis(wxyz / np.linalg.norm(wxyz, axis=-1, keepdims=True), -1, 0)
    entries = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in entries], -2)


def euler_xyz(R: Float[np.ndarray, "*n 3 3"]) -> Float[np.ndarray, "*n 3"]:
    """Angles (a, b, c) with R = Rz(c) Ry(b) Rx(a); b lies within a quarter turn."""
    b = np.arcsin(np.clip(-R[..., 2, 0], -1, 1))
    a = np.arctan2(R[..., 2, 1], R[..., 2, 2])
    c = np.arctan2(R[..., 1, 0], R[..., 0, 0])
    return np.stack([a, b, c], -1)

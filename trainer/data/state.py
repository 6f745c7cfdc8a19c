"""The tool's pose as the policy sees it: relative to the first frame of the window. Metres and radians."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from trainer.episodes.rotations import euler_xyz, rotation_matrix


def relative_pose(state: Float[np.ndarray, "t 8"]) -> Float[np.ndarray, "t 6"]:
    """R0^T (p - p0) and the Euler angles xyz of R0^T R, of rows (position, quaternion wxyz, gripper)."""
    R = rotation_matrix(state[:, 3:7])
    return np.concatenate([(state[:, :3] - state[:1, :3]) @ R[0], euler_xyz(R[0].T @ R)], 1)

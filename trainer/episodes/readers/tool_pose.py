"""Columns that say by their names that they are the pose of the tool.

Dimensions: t control step.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

POSE = ("x", "y", "z", "qw", "qx", "qy", "qz", "gripper")
"""Position in metres, unit quaternion, opening 0 shut .. 1 open; in any order, together with any other columns."""
_UNIT_ERROR = 0.01


def tool_pose(values: Float[np.ndarray, "t n"], names: Sequence[str]) -> Float[np.ndarray, "t 8"] | None:
    """The columns named in `POSE`, in that order; None if one is missing or they are no pose."""
    if len(names) != values.shape[1] or not set(POSE) <= set(names) or len(set(names)) < len(names):
        return None
    pose = values[:, [list(names).index(name) for name in POSE]].astype(np.float64)
    length = np.linalg.norm(pose[:, 3:7], axis=1, keepdims=True)
    if not np.isfinite(pose).all() or (np.abs(length - 1) > _UNIT_ERROR).any():
        return None
    pose[:, 3:7] /= length
    pose[:, 7] = np.clip(pose[:, 7], 0.0, 1.0)
    return pose

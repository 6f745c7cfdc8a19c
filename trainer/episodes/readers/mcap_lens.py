"""Calibration of a ROS 2 camera: intrinsics in our pixels, and images with the lens distortion taken out.

camera_info counts pixel centres as whole numbers and belongs to the raw image; a rectified one ("rect" in its topic's
name) has the left part of the projection matrix instead, and no distortion. Removed are the models `plumb_bob` and
`rational_polynomial` (OpenCV's 5 and 8 coefficients); the pinhole of the result is that of the raw image.

Dimensions: h w pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from .views import words_of

_REMOVED = {"plumb_bob": 5, "rational_polynomial": 8}


@dataclass(frozen=True, kw_only=True)
class Lens:
    """A camera's calibration.

    Attributes:
        K: Intrinsics in pixels of the image, centre of pixel (0, 0) at (0.5, 0.5).
        straighten: Takes the distortion out of an image (nearest = for depth); None where there is none to take out.
        note: What a person should know; empty if nothing.
    """

    K: Float[np.ndarray, "3 3"]
    straighten: Callable[[np.ndarray, bool], np.ndarray] | None = None
    note: str = ""


def lens_of(info: Any, image_topic: str, size: tuple[int, int]) -> Lens | None:
    """The calibration in a camera_info; None if it holds none.

    Args:
        info: sensor_msgs/CameraInfo.
        image_topic: Whose images it is for.
        size: (height, width) of those images.
    """
    rectified = bool({"rect", "rectified"} & set(words_of(image_topic)))
    projects = rectified and hasattr(info, "p")
    K = np.array(info.p, np.float64).reshape(3, 4)[:, :3] if projects else np.array(info.k, np.float64).reshape(3, 3)
    if not np.isfinite(K).all() or K[0, 0] <= 0 or K[1, 1] <= 0 or not info.width or not info.height:
        return None
    scale = np.diag([size[1] / info.width, size[0] / info.height, 1.0])
    ours = K.copy()
    ours[:2, 2] += 0.5
    ours = scale @ ours
    coefficients = np.array(info.d, np.float64)
    if rectified or not coefficients.any():
        return Lens(K=ours)
    model = str(getattr(info, "distortion_model", ""))
    if len(coefficients) != _REMOVED.get(model) or not np.isfinite(coefficients).all():
        shown = f"'{model:.40}'" if model else "unnamed"
        return Lens(K=ours, note=f"'{image_topic}' has lens distortion ({shown}), which is not removed")
    note = f"'{image_topic}': lens distortion ({model}) removed"
    return Lens(K=ours, straighten=_straightener(ours, coefficients, size), note=note)


def _straightener(
    K: Float[np.ndarray, "3 3"], coefficients: Float[np.ndarray, " n"], size: tuple[int, int]
) -> Callable[[np.ndarray, bool], np.ndarray]:
    import cv2

    centres = K.copy()
    centres[:2, 2] -= 0.5  # OpenCV counts from pixel centres
    u, v = cv2.initUndistortRectifyMap(centres, coefficients, np.eye(3), centres, size[::-1], cv2.CV_32FC1)

    def straighten(image: np.ndarray, nearest: bool) -> np.ndarray:
        how = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        outside: float = float("nan") if nearest else 0.0
        return _remap(cv2, image, u, v, how, outside)

    return straighten


def _remap(
    cv2: Any, image: np.ndarray, u: Float32[np.ndarray, "h w"], v: Float32[np.ndarray, "h w"], how: int, outside: float
) -> np.ndarray:
    return cv2.remap(image, u, v, how, borderMode=cv2.BORDER_CONSTANT, borderValue=outside)

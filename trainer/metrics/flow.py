"""Errors of 3D tracks, split into what a camera sees well (lateral) and what it does not (along the ray).

With e = predicted - true point in camera metres and r the unit ray through the true pixel, along = e . r (signed,
+ = too far) and lateral = |e - along r|. Both are reported in millimetres, lateral in pixels beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

MILLIMETRES = 1000.0


@dataclass(frozen=True, kw_only=True)
class TrackErrors:
    """Errors of each point at each step; p point, l step after the start.

    Attributes:
        along_mm: Signed error along the ray through the true pixel, + = too far.
        lateral_mm: Length of the rest of the error, across the ray.
        epe_mm: Length of the whole 3D error (end-point error).
        lateral_px: Distance in the image, pixels.
    """

    along_mm: Float[np.ndarray, "p l"]
    lateral_mm: Float[np.ndarray, "p l"]
    epe_mm: Float[np.ndarray, "p l"]
    lateral_px: Float[np.ndarray, "p l"]

    def means(self, where: Bool[np.ndarray, "p l"]) -> dict[str, float]:
        """Mean of each error over `where`, `along_abs_mm` included; all NaN when `where` is empty."""
        parts = {
            "epe_mm": self.epe_mm,
            "lateral_mm": self.lateral_mm,
            "lateral_px": self.lateral_px,
            "along_mm": self.along_mm,
            "along_abs_mm": np.abs(self.along_mm),
        }
        return {name: float(values[where].mean()) if where.any() else float("nan") for name, values in parts.items()}


def track_errors(
    predicted_uvz: Float[np.ndarray, "p l 3"], true_uvz: Float[np.ndarray, "p l 3"], K: Float[np.ndarray, "3 3"]
) -> TrackErrors:
    """Splits the error of tracks given as pixel coordinates (centre of pixel (0, 0) at 0.5) and depth in metres.

    `K` belongs to the image in which the pixels are counted. Both tracks are in the camera of their own step.
    """
    true = unproject(true_uvz, K)
    error = unproject(predicted_uvz, K) - true
    ray = unproject(np.concatenate([true_uvz[..., :2], np.ones_like(true_uvz[..., 2:])], axis=-1), K)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    along = np.sum(error * ray, axis=-1)
    return TrackErrors(
        along_mm=along * MILLIMETRES,
        lateral_mm=np.linalg.norm(error - along[..., None] * ray, axis=-1) * MILLIMETRES,
        epe_mm=np.linalg.norm(error, axis=-1) * MILLIMETRES,
        lateral_px=np.linalg.norm((predicted_uvz - true_uvz)[..., :2].astype(np.float64), axis=-1),
    )


def unproject(uvz: Float[np.ndarray, "*n 3"], K: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "*n 3"]:
    """Pixels and depth to float64 camera points in metres."""
    z = uvz[..., 2].astype(np.float64)
    x = (uvz[..., 0] - K[0, 2]) * z / K[0, 0]
    y = (uvz[..., 1] - K[1, 2]) * z / K[1, 1]
    return np.stack([x, y, z], axis=-1)


def visibility_accuracy(
    probability: Float[np.ndarray, "p l"], visible: Bool[np.ndarray, "p l"], where: Bool[np.ndarray, "p l"]
) -> float:
    """Share of `where` on which probability > 0.5 agrees with the truth; NaN when `where` is empty."""
    return float(np.mean((probability > 0.5) == visible, where=where)) if where.any() else float("nan")

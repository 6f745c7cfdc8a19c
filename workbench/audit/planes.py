"""Tables and floors are flat: what a depth map must be for that to be so.

Seen by a pinhole camera, 1 / z of a plane is affine in the pixel (u, v): 1 / z = n . K^-1 (u, v, 1) / h. So is the ray
length l = z |K^-1 (u, v, 1)| after division, and so is a normalised depth buffer itself, being affine in 1 / z. Which
of the three is affine on the largest plane of the picture says what the numbers are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

_SAMPLES, _DRAWS = 1500, 120
_SHARE = 0.25  # of the pixels, that the largest plane is taken to cover at least
_FLAT = 0.004  # of the quantity, that a pixel of a plane may be off it


@dataclass(frozen=True, kw_only=True, eq=False)
class AffineFit:
    """The affine function that a quantity follows on the largest plane.

    Attributes:
        coefficients: Of u, v and 1.
        residual: The deviation that a quarter of the pixels stays below, as a share of the quantity.
        unexplained: The same deviation as a share of the quantity's spread over the plane.
        map: Deviation of every pixel as a share of the quantity, NaN where it is not known.
    """

    coefficients: Float[np.ndarray, " 3"]
    residual: float
    unexplained: float
    map: Float[np.ndarray, "h w"]


def fit_affine(quantity: Float[np.ndarray, "h w"], seed: int = 0) -> AffineFit | None:
    """Least quantile of residuals over random triples of pixels, refined on its inliers; None without enough pixels."""
    known = np.flatnonzero(np.isfinite(quantity) & (quantity > 0))
    if len(known) < 500:
        return None
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[: quantity.shape[0], : quantity.shape[1]] + 0.5
    everywhere = np.stack([u.ravel(), v.ravel(), np.ones(u.size)], 1)
    chosen = rng.choice(known, min(_SAMPLES, len(known)), replace=False)
    X, y = everywhere[chosen], quantity.ravel()[chosen].astype(np.float64)
    triples = rng.integers(len(X), size=(_DRAWS, 3))
    corners = X[triples]
    solid = np.abs(np.linalg.det(corners)) > 0.005 * quantity.size  # no slivers
    if not solid.any():
        return None
    candidates = np.linalg.solve(corners[solid], y[triples[solid]][..., None])[..., 0]
    deviations = np.abs(candidates @ X.T - y) / y
    best, inlier = candidates[np.argmin(np.quantile(deviations, _SHARE, axis=1))], np.ones(len(X), bool)
    for _ in range(3):
        deviation = np.abs(X @ best - y) / y
        inlier = deviation <= max(3 * np.quantile(deviation, _SHARE), 1e-7)
        best = np.linalg.lstsq(X[inlier], y[inlier], rcond=None)[0]
    deviation = np.abs(X @ best - y)
    residual = float(np.quantile(deviation / y, _SHARE))
    spread = float(np.std(X[inlier] @ best))
    error = np.full(quantity.size, np.nan)
    error[known] = (everywhere[known] @ best - quantity.ravel()[known]) / quantity.ravel()[known]
    return AffineFit(
        coefficients=best,
        residual=residual,
        unexplained=float(np.quantile(deviation, _SHARE)) / max(spread, 1e-12),
        map=error.reshape(quantity.shape),
    )


def largest_planes(depth: Float[np.ndarray, "h w"], count: int = 3) -> list[AffineFit]:
    """Fits of 1 / z to the largest planes of a depth map, each on what the ones before left over."""
    with np.errstate(divide="ignore"):
        left = 1 / depth.astype(np.float64)
    enough = 0.1 * left.size
    found: list[AffineFit] = []
    for i in range(count):
        if np.isfinite(left).sum() < enough or (fit := fit_affine(left, seed=i)) is None:
            break
        if fit.residual < _FLAT:
            found.append(fit)
        left = np.where(np.abs(fit.map) < max(_FLAT, 3 * fit.residual), np.nan, left)
    return found


def ray_factor(size: tuple[int, int], K: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "h w"]:
    """Length of the ray through each pixel's centre that ends at z = 1."""
    v, u = np.mgrid[: size[0], : size[1]] + 0.5
    return np.sqrt(((u - K[0, 2]) / K[0, 0]) ** 2 + ((v - K[1, 2]) / K[1, 1]) ** 2 + 1)


def normal(coefficients: Float[np.ndarray, " 3"], K: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, " 3"]:
    """Unit normal in the camera of the plane whose 1 / z has these coefficients: K^T c, up to its length."""
    direction = K.T @ coefficients
    return direction / np.linalg.norm(direction)


def tilt_degrees(direction: Float[np.ndarray, " 3"], R: Float[np.ndarray, "3 3"]) -> float:
    """Angle by which a plane, given by its normal in the camera, is neither level nor upright in the world."""
    tilt = float(np.degrees(np.arccos(np.clip(abs((R @ direction)[2]), 0, 1))))
    return min(tilt, 90 - tilt)

"""Errors of a depth map: z along the optical axis in metres; a truth that is NaN or not positive is no truth."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

DELTA1_RATIO = 1.25


def depth_errors(
    predicted: Float[np.ndarray, "h w"],
    true: Float[np.ndarray, "h w"],
    where: Bool[np.ndarray, "h w"] | None = None,
) -> dict[str, float]:
    """Compares two depth maps in metres, on the pixels `where` (default: all) that have a true depth.

    Returns:
        `abs_rel`, mean of |predicted - true| / true; `rmse_m`, root of the mean squared error in metres; `delta1`,
        share of pixels with max(predicted / true, true / predicted) < 1.25 (a prediction that is not positive fails).
        All NaN when there is no pixel.
    """
    chosen = valid_depth(true) if where is None else valid_depth(true) & where
    if not chosen.any():
        return {"abs_rel": np.nan, "rmse_m": np.nan, "delta1": np.nan}
    guess, truth = predicted[chosen].astype(np.float64), true[chosen].astype(np.float64)
    difference = guess - truth
    ratio = np.where(guess > 0, np.maximum(guess / truth, truth / np.where(guess > 0, guess, 1.0)), np.inf)
    return {
        "abs_rel": float(np.mean(np.abs(difference) / truth)),
        "rmse_m": float(np.sqrt(np.mean(difference**2))),
        "delta1": float(np.mean(ratio < DELTA1_RATIO)),
    }


def valid_depth(depth: Float[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """True where depth is finite and in front of the camera."""
    return np.isfinite(depth) & (depth > 0)

"""Errors of a predicted image, and which pixels of it move.

A pixel MOVES between now and the future frame when one of its colour channels differs by more than 20 of 255. The mask
comes from the truth alone and needs no simulator, so it means the same on every data set. It picks the pixels on which
copying the current image is wrong, so copy-last is weak there by construction; the figure over all pixels, where
copy-last is strong, always stands beside it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8

MOVING_CHANGE = 20
"""Smallest change of a colour channel (0..255) that makes a pixel moving."""
MIN_MOVING_PIXELS = 16
"""Below this many moving pixels a frame has no figure for them: it would be noise."""
PSNR_CEILING_DB = 60.0
"""An exact copy has infinite PSNR, which no mean survives."""

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
LUMA = (0.299, 0.587, 0.114)


def moving_pixels(now: UInt8[np.ndarray, "h w 3"], future: UInt8[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    """True where the true future differs from the current image; all false if fewer than 16 pixels do."""
    change = np.abs(future.astype(np.int16) - now.astype(np.int16)).max(axis=-1)
    moving = change > MOVING_CHANGE
    return moving if moving.sum() >= MIN_MOVING_PIXELS else np.zeros_like(moving)


def psnr_db(
    predicted: UInt8[np.ndarray, "h w 3"],
    true: UInt8[np.ndarray, "h w 3"],
    where: Bool[np.ndarray, "h w"] | None = None,
) -> float:
    """Peak signal-to-noise ratio in dB over the pixels `where`: 10 log10(1 / MSE) with colours in 0..1, at most 60.

    NaN when `where` is empty.
    """
    squared = ((predicted.astype(np.float64) - true.astype(np.float64)) / 255.0) ** 2
    chosen = squared if where is None else squared[where]
    if chosen.size == 0:
        return float("nan")
    return float(min(PSNR_CEILING_DB, -10.0 * np.log10(max(chosen.mean(), 1e-12))))


def ssim_map(
    predicted: UInt8[np.ndarray, "h w 3"], true: UInt8[np.ndarray, "h w 3"]
) -> Float[np.ndarray, "inner_h inner_w"]:
    """Structural similarity (Wang et al. 2004) of the luma in 0..1 at every pixel, 1 = equal; see `mean_ssim`.

    Gaussian window of 11 pixels with sigma 1.5; only pixels whose window lies inside the image count (5 px border
    dropped).
    """
    a, b = _luma(predicted), _luma(true)
    mean_a, mean_b = _blur(a), _blur(b)
    var_a, var_b = _blur(a * a) - mean_a**2, _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + SSIM_C1) / (mean_a**2 + mean_b**2 + SSIM_C1)
    return luminance * (2 * covariance + SSIM_C2) / (var_a + var_b + SSIM_C2)


def mean_ssim(similarity: Float[np.ndarray, "inner_h inner_w"], where: Bool[np.ndarray, "h w"] | None = None) -> float:
    """Mean of an `ssim_map` over the image's pixels `where`; NaN when none is left inside the border."""
    if where is None:
        return float(similarity.mean())
    border = SSIM_WINDOW // 2
    chosen = similarity[where[border:-border, border:-border]]
    return float(chosen.mean()) if chosen.size else float("nan")


def _luma(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    return image.astype(np.float64) @ np.asarray(LUMA) / 255.0


def _blur(image: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h2 w2"]:
    offsets = np.arange(SSIM_WINDOW) - SSIM_WINDOW // 2
    kernel = np.exp(-0.5 * (offsets / SSIM_SIGMA) ** 2)
    kernel /= kernel.sum()
    height, width = image.shape[0] - SSIM_WINDOW + 1, image.shape[1] - SSIM_WINDOW + 1
    rows, blurred = np.zeros((height, image.shape[1])), np.zeros((height, width))
    for i, weight in enumerate(kernel):
        rows += weight * image[i : i + height]
    for i, weight in enumerate(kernel):
        blurred += weight * rows[:, i : i + width]
    return blurred

"""All figures of one prediction at one time of an episode, by name (see `catalog`), each with its baseline.

Both `evaluate` and the page score through these functions, so that a number on the page is the number in the table.
A missing truth gives no entry; a truth without pixels or points of the kind asked for gives NaN.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8

from trainer.episodes.episode import ActionSpace

from .action import action_errors, hold_still
from .catalog import BASELINE, DATASET_MEAN
from .depth import depth_errors
from .flow import track_errors, visibility_accuracy
from .image import mean_ssim, moving_pixels, psnr_db, ssim_map


def depth_scores(
    predicted: Float[np.ndarray, "h w"], true: Float[np.ndarray, "h w"], mean_depth_m: float
) -> dict[str, float]:
    """Current depth in metres, against the constant `mean_depth_m`."""
    return _paired("depth.", depth_errors(predicted, true), depth_errors(np.full_like(true, mean_depth_m), true))


def future_scores(
    *,
    rgb: UInt8[np.ndarray, "h w 3"],
    rgb_true: UInt8[np.ndarray, "h w 3"],
    rgb_now: UInt8[np.ndarray, "h w 3"],
    depth: Float[np.ndarray, "h w"],
    depth_true: Float[np.ndarray, "h w"] | None,
    depth_now_true: Float[np.ndarray, "h w"] | None,
) -> dict[str, float]:
    """The future RGB-D image, against copy-last. The depth baseline copies the TRUE current depth."""
    moving = moving_pixels(rgb_now, rgb_true)

    def image(guess: UInt8[np.ndarray, "h w 3"]) -> dict[str, float]:
        similarity = ssim_map(guess, rgb_true)
        return {
            "psnr_db": psnr_db(guess, rgb_true),
            "psnr_moving_db": psnr_db(guess, rgb_true, moving),
            "ssim": mean_ssim(similarity),
            "ssim_moving": mean_ssim(similarity, moving),
        }

    scores = _paired("future_rgb.", image(rgb), image(rgb_now))
    if depth_true is None or depth_now_true is None:
        return scores
    both = np.isfinite(depth_now_true)  # a pixel that cannot be copied is no pixel to compare on

    def depth_pair(guess: Float[np.ndarray, "h w"]) -> dict[str, float]:
        return {
            "rmse_m": depth_errors(guess, depth_true, both)["rmse_m"],
            "rmse_moving_m": depth_errors(guess, depth_true, both & moving)["rmse_m"],
        }

    return scores | _paired("future_depth.", depth_pair(depth), depth_pair(depth_now_true))


def flow_scores(
    *,
    uvz: Float[np.ndarray, "p l 3"],
    uvz_true: Float[np.ndarray, "p l 3"],
    start_uvz: Float[np.ndarray, "p 3"],
    known: Bool[np.ndarray, "p l"],
    moving: Bool[np.ndarray, " p"],
    K: Float[np.ndarray, "3 3"],
    start_depth: str = "true",
) -> dict[str, float]:
    """3D tracks against zero flow, for moving and still points apart.

    Args:
        uvz: Predicted pixel and depth at each step AFTER the start.
        uvz_true: Exact tracks at the same steps.
        start_uvz: Where model and baseline start: pixel with its true depth, or with its predicted one.
        known: The truth exists for this point and step.
        moving: The point moves on its own.
        K: Intrinsics in pixels of the image the tracks are counted in.
        start_depth: "true" or "predicted"; the latter is reported under a name of its own.
    """
    prefix = "flow." if start_depth == "true" else "flow_predicted_start."
    model = track_errors(uvz, uvz_true, K)
    zero = track_errors(np.broadcast_to(start_uvz[:, None], uvz_true.shape), uvz_true, K)
    scores: dict[str, float] = {}
    for group, chosen in (("moving.", moving), ("still.", ~moving)):
        where = known & chosen[:, None]
        scores |= _paired(prefix + group, model.means(where), zero.means(where))
    return scores


def visibility_scores(
    probability: Float[np.ndarray, "p l"],
    visible: Bool[np.ndarray, "p l"],
    known: Bool[np.ndarray, "p l"],
    moving: Bool[np.ndarray, " p"],
) -> dict[str, float]:
    """Predicted visibility of the moving points, against "always visible"."""
    where = known & moving[:, None]
    always = visibility_accuracy(np.ones_like(probability), visible, where)
    return {
        "flow.visibility_accuracy": visibility_accuracy(probability, visible, where),
        f"flow.visibility_accuracy{BASELINE}": always,
    }


def action_scores(
    predicted: Float[np.ndarray, "k 7"],
    true: Float[np.ndarray, "k 7"],
    *,
    space: ActionSpace,
    gripper_before: float,
    mean_action: Float[np.ndarray, " 7"] | None,
) -> dict[str, float]:
    """One action chunk against hold-still and, where it is known, the mean action of the training episodes.

    `gripper_before` is the gripper command of the step before the chunk (0 shut .. 1 open).
    """
    model = action_errors(predicted, true, space)
    scores = _paired("action.", model, action_errors(hold_still(gripper_before, len(true)), true, space))
    if mean_action is not None:
        mean = action_errors(np.broadcast_to(mean_action, true.shape), true, space)
        scores |= {f"action.{name}{DATASET_MEAN}": value for name, value in mean.items()}
    return scores


def progress_scores(predicted: float, true: float) -> dict[str, float]:
    """Share of the task that is done, against half of it."""
    return _paired("progress.", {"abs_error": abs(predicted - true)}, {"abs_error": abs(0.5 - true)})


def _paired(prefix: str, model: dict[str, float], baseline: dict[str, float]) -> dict[str, float]:
    named = {prefix + name: value for name, value in model.items()}
    return named | {f"{prefix}{name}{BASELINE}": value for name, value in baseline.items()}

"""Short words for the metric names of `trainer.metrics.catalog`, and which few are shown first."""

from __future__ import annotations

from trainer.metrics.catalog import BASELINE, DATASET_MEAN, metric_of

HEADLINES = (
    "flow.moving.epe_mm",
    "static.future_rgb.psnr_moving_db",
    "static.future_depth.rmse_moving_m",
    "static.depth.rmse_m",
    "action.translation_mm",
)
"""What the timeline draws first: one figure for each decoder, on what moves."""

_WORDS = {
    "depth": "depth now",
    "future_rgb": "future RGB",
    "future_depth": "future depth",
    "flow": "3D flow",
    "flow_predicted_start": "3D flow from predicted depth",
    "action": "action",
    "progress": "task progress",
    "abs_error": "error",
    "moving": "moving points",
    "still": "still points",
    "abs_rel": "AbsRel",
    "rmse_m": "RMSE",
    "rmse_moving_m": "RMSE, moving pixels",
    "delta1": "delta < 1.25",
    "psnr_db": "PSNR",
    "psnr_moving_db": "PSNR, moving pixels",
    "ssim": "SSIM",
    "ssim_moving": "SSIM, moving pixels",
    "epe_mm": "3D error",
    "lateral_mm": "lateral error",
    "lateral_px": "lateral error in the image",
    "along_mm": "bias along the ray",
    "along_abs_mm": "error along the ray",
    "visibility_accuracy": "visibility accuracy",
    "translation_mm": "translation error",
    "rotation_deg": "rotation error",
    "gripper_accuracy": "gripper accuracy",
    "static": "static",
    "wrist": "wrist",
}


def label_of(name: str, *, pseudo: bool = False) -> str:
    """`static.depth.rmse_m` -> `static · depth now · RMSE`; `pseudo` says that the truth is an estimate."""
    words = [_WORDS.get(part, part.replace("_", " ")) for part in name.split(".")]
    return " · ".join([*words, "against pseudo"] if pseudo else words)


def unit_of(name: str) -> str:
    """The unit of a metric, "" for fractions."""
    return metric_of(name).unit


def model_names(metrics: dict[str, float]) -> list[str]:
    """The names of the model's own figures, baselines left out."""
    return [name for name in metrics if not name.endswith((BASELINE, DATASET_MEAN))]

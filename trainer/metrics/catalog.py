"""What each figure means: unit, direction, definition and the trivial baseline beside it. One entry per metric name.

A full name is `<metric>` or `<view>.<metric>`. A dictionary of scores holds `name`, `name.baseline` and, where there is
a second trivial guess, `name.dataset_mean`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher", "zero"]

BASELINE = ".baseline"
DATASET_MEAN = ".dataset_mean"
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One figure.

    Attributes:
        unit: "" for fractions.
        better: Which way is good; "zero" marks a signed bias, for which skill has no meaning.
        definition: One sentence.
        baseline: What the trivial guess is.
        perfect: Value of a perfect prediction, from which an accuracy's error is counted.
    """

    unit: str
    better: Better
    definition: str
    baseline: str
    perfect: float = 0.0


_MEAN_DEPTH = "the mean depth of the view over the training frames, everywhere"
_COPY = "copy-last: the current image or depth, unchanged"
_MOVING = " On pixels whose true colour changes by more than 20 of 255."
_HOLD = "hold-still: no motion, gripper command unchanged"


def _flow_metrics() -> dict[str, Metric]:
    parts: dict[str, tuple[str, Better, str]] = {
        "epe_mm": ("mm", "lower", "Distance to the true 3D track, mean over points and steps."),
        "lateral_mm": ("mm", "lower", "Part of that error across the ray of the true pixel."),
        "lateral_px": ("px", "lower", "Distance to the true track in the image of the model."),
        "along_mm": ("mm", "zero", "Signed part of that error along the ray, + = too far."),
        "along_abs_mm": ("mm", "lower", "Size of the part along the ray."),
    }
    starts = {"flow": "true start depth", "flow_predicted_start": "predicted start depth, for model and baseline alike"}
    points = {"moving": "Points that move on their own.", "still": "Points of the resting scene."}
    return {
        f"{start}.{group}.{part}": Metric(
            unit=unit,
            better=better,
            definition=f"{text} {which} Tracks start from {depth}.",
            baseline="zero flow: the point stays where it is",
        )
        for start, depth in starts.items()
        for group, which in points.items()
        for part, (unit, better, text) in parts.items()
    }


METRICS: dict[str, Metric] = {
    "depth.abs_rel": Metric(
        unit="", better="lower", definition="Mean |predicted - true| / true of the current depth.", baseline=_MEAN_DEPTH
    ),
    "depth.rmse_m": Metric(
        unit="m", better="lower", definition="Root mean squared error of the current depth.", baseline=_MEAN_DEPTH
    ),
    "depth.delta1": Metric(
        unit="",
        better="higher",
        definition="Share of pixels within a factor 1.25 of the true depth.",
        baseline=_MEAN_DEPTH,
        perfect=1.0,
    ),
    "future_rgb.psnr_db": Metric(
        unit="dB", better="higher", definition="PSNR of the predicted image, all pixels.", baseline=_COPY
    ),
    "future_rgb.psnr_moving_db": Metric(
        unit="dB", better="higher", definition="PSNR of the predicted image." + _MOVING, baseline=_COPY
    ),
    "future_rgb.ssim": Metric(
        unit="",
        better="higher",
        definition="SSIM of the luma, Gaussian window of 11 px, all pixels.",
        baseline=_COPY,
        perfect=1.0,
    ),
    "future_rgb.ssim_moving": Metric(
        unit="", better="higher", definition="SSIM of the luma." + _MOVING, baseline=_COPY, perfect=1.0
    ),
    "future_depth.rmse_m": Metric(
        unit="m", better="lower", definition="RMSE of the predicted future depth, all pixels.", baseline=_COPY
    ),
    "future_depth.rmse_moving_m": Metric(
        unit="m", better="lower", definition="RMSE of the predicted future depth." + _MOVING, baseline=_COPY
    ),
    **_flow_metrics(),
    "flow.visibility_accuracy": Metric(
        unit="",
        better="higher",
        definition="Share of moving points and steps whose visibility is predicted rightly.",
        baseline="every point always visible",
        perfect=1.0,
    ),
    "action.translation_mm": Metric(
        unit="mm", better="lower", definition="Distance between commanded translations, per action.", baseline=_HOLD
    ),
    "action.rotation_deg": Metric(
        unit="deg", better="lower", definition="Angle between commanded rotations, per action.", baseline=_HOLD
    ),
    "action.gripper_accuracy": Metric(
        unit="",
        better="higher",
        definition="Share of actions with the right gripper command.",
        baseline=_HOLD,
        perfect=1.0,
    ),
    "progress.abs_error": Metric(
        unit="",
        better="lower",
        definition="|predicted - true| share of the episode that has passed, at the newest frame.",
        baseline="always 0.5: the mean progress of every episode, those of the training data included",
    ),
}


def metric_of(name: str) -> Metric:
    """The entry of a full name, with or without the view in front or a baseline behind.

    Raises:
        KeyError: The name is not of this catalogue.
    """
    bare = name.removesuffix(BASELINE).removesuffix(DATASET_MEAN)
    view, _, rest = bare.partition(".")
    return METRICS[rest] if view in ("static", "wrist") else METRICS[bare]


def skill(name: str, value: float, baseline: float) -> float:
    """Share of the baseline's error that is gone: 1 = perfect, 0 = no better than the baseline, < 0 = worse.

    PSNR counts by its squared error. NaN for a signed bias, and when the baseline is perfect but for rounding.
    """
    metric = metric_of(name)
    if metric.better == "zero":
        return math.nan
    if metric.unit == "dB":
        return 1.0 - 10.0 ** ((baseline - value) / 10.0)
    error, reference = abs(value - metric.perfect), abs(baseline - metric.perfect)
    return 1.0 - error / reference if reference > _ROUNDING else math.nan

"""One robust scale and shift per clip: from what a depth network says to metres.

A relative network says something like inverse depth up to an affine map, a metric one depth up to a scale error. With
anchors (pixels whose true z is known: a sensor, the table plane, the gripper tip) the clip gets ONE pair (scale,
shift), so that depth stays consistent over time:

    inverse:  1 / z = scale * x + shift        (relative networks; Ranftl et al., TPAMI 2022, fit it per image)
    depth:    z     = scale * x + shift        (metric networks)

The fit is least squares on the anchors that agree, found by random pairs and then refined (Huber-free: the inlier bound
is stated in relative depth). The audit says how well it holds, also frame by frame: a network that drifts shows there.

Dimensions: n anchor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Integer

from model.errors import EpisodeError

AlignedSpace = Literal["inverse", "depth"]
AGREES = 0.05
"""An anchor agrees when its depth is within 5 % of the fit."""
_TRIES = 300
_REFINEMENTS = 5
_MIN_ANCHORS = 20
_MIN_INLIERS = 0.3


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """Scale and shift of a clip, and how well they hold.

    Attributes:
        space: In which space the map is affine.
        scale: See the module.
        shift: See the module.
        anchors: Pixels it was fitted to.
        inliers: Share of them within 5 %.
        median_error: Median relative error of depth over all anchors.
        drift: Largest difference between frames of the median of z / z_true (0 = no drift), over frames with anchors.
    """

    space: AlignedSpace
    scale: float
    shift: float
    anchors: int
    inliers: float
    median_error: float
    drift: float

    def metres(self, raw: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
        """Depth in metres, NaN where the map leaves what can be seen (behind the camera, beyond infinity)."""
        return _metres(self.scale, self.shift, raw, self.space)


def align(
    raw: Float[np.ndarray, " n"],
    z: Float[np.ndarray, " n"],
    frame: Integer[np.ndarray, " n"],
    space: AlignedSpace,
    *,
    seed: int = 0,
) -> Alignment:
    """Fits one scale and shift to a clip's anchors.

    Args:
        raw: What the network says there.
        z: True depth there, metres.
        frame: The frame of each anchor.
        space: In which space the map is affine.
        seed: Of the random pairs.

    Raises:
        EpisodeError: Fewer than 20 anchors, or less than 30 % of them agree with any one scale and shift.
    """
    usable = np.isfinite(raw) & np.isfinite(z) & (z > 0)
    raw, z, frame = raw[usable].astype(np.float64), z[usable].astype(np.float64), frame[usable]
    if len(z) < _MIN_ANCHORS:
        raise EpisodeError(f"{len(z)} pixels of known depth are too few to find the scale; {_MIN_ANCHORS} are needed")
    scale, shift, agrees = _fit(raw, z, space, np.random.default_rng(seed))
    if agrees.mean() < _MIN_INLIERS:
        raise EpisodeError(
            f"no one scale and shift fits the clip: {agrees.mean():.0%} of {len(z)} anchors agree within {AGREES:.0%}; "
            "the depth network fails here, or the anchors are wrong"
        )
    ratio = _metres(scale, shift, raw, space) / z
    return Alignment(
        space=space,
        scale=scale,
        shift=shift,
        anchors=len(z),
        inliers=float(agrees.mean()),
        median_error=float(np.nanmedian(np.abs(ratio - 1.0))),
        drift=_drift(ratio, frame),
    )


def _fit(
    raw: Float[np.ndarray, " n"], z: Float[np.ndarray, " n"], space: AlignedSpace, rng: np.random.Generator
) -> tuple[float, float, Bool[np.ndarray, " n"]]:
    """Scale, shift and the anchors that agree: a consensus, refined by least squares on those that agree with it."""
    target = 1.0 / z if space == "inverse" else z
    scale, shift = _consensus(raw, target, z, space, rng)
    agrees = _agrees(scale, shift, raw, z, space)
    for _ in range(_REFINEMENTS):
        scale, shift = _least_squares(raw[agrees], target[agrees], z[agrees], space)
        refined = _agrees(scale, shift, raw, z, space)
        if refined.sum() < _MIN_INLIERS * len(z):
            break
        agrees = refined
    return scale, shift, agrees


def _drift(ratio: Float[np.ndarray, " n"], frame: Integer[np.ndarray, " n"]) -> float:
    """Largest difference between frames of the median of z / z_true; NaN where no frame has a finite one."""
    by_frame = (ratio[frame == at] for at in np.unique(frame))
    medians = [float(np.nanmedian(ratios)) for ratios in by_frame if np.isfinite(ratios).any()]
    return float(np.ptp(medians)) if medians else float("nan")


def _consensus(
    raw: Float[np.ndarray, " n"],
    target: Float[np.ndarray, " n"],
    z: Float[np.ndarray, " n"],
    space: AlignedSpace,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """The pair of anchors whose line the most others agree with (RANSAC)."""
    best, most = (0.0, 0.0), -1
    for one, other in rng.integers(0, len(z), (_TRIES, 2)):
        if abs(raw[one] - raw[other]) < 1e-9:
            continue
        scale = float((target[one] - target[other]) / (raw[one] - raw[other]))
        shift = float(target[one] - scale * raw[one])
        count = int(_agrees(scale, shift, raw, z, space).sum()) if scale > 0 else -1
        if count > most:
            best, most = (scale, shift), count
    if most < 0:
        raise EpisodeError("the depth network says the same for near and far: no scale can be found")
    return best


def _least_squares(
    raw: Float[np.ndarray, " n"], target: Float[np.ndarray, " n"], z: Float[np.ndarray, " n"], space: AlignedSpace
) -> tuple[float, float]:
    """Least squares in relative depth: an error of 1/z counts times z, one of z by 1/z."""
    weight = z if space == "inverse" else 1.0 / z
    design = np.stack([raw, np.ones_like(raw)], 1) * weight[:, None]
    scale, shift = np.linalg.lstsq(design, target * weight, rcond=None)[0]
    return float(scale), float(shift)


def _agrees(
    scale: float, shift: float, raw: Float[np.ndarray, " n"], z: Float[np.ndarray, " n"], space: AlignedSpace
) -> Bool[np.ndarray, " n"]:
    value = scale * raw + shift
    relative = value * z if space == "inverse" else value / z  # 1 where right, in either space
    return np.abs(relative - 1.0) < AGREES


def _metres(scale: float, shift: float, raw: Float[np.ndarray, "*s"], space: AlignedSpace) -> Float[np.ndarray, "*s"]:
    value = scale * raw + shift
    with np.errstate(divide="ignore"):
        z = 1.0 / value if space == "inverse" else value
    return np.where(value > 0, z, np.nan)

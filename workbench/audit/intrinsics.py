"""Wrong or missing intrinsics.

First what a camera cannot be: a principal point outside the image, pixels far from square. Then the focal length, by
two measures that move together if and only if it is wrong: the tilt of the table and the speed of things in the image
(`calibration`).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from trainer.episodes.episode import View
from trainer.episodes.source_settings import ViewSetting

from .answers import Answer, checked, unchecked, view_setting
from .calibration import LEVEL, calibration, tilt
from .finding import Finding, Kind
from .measured import Measured
from .pictures import tool_track

_CENTRE = 0.2  # of the image's side that a principal point may lie off the middle
_SQUARE = 1.2
_FIELD = (3.0, 150.0)
_SCALES = np.exp(np.linspace(np.log(0.45), np.log(2.2), 81))
_ALIKE = 0.2  # log of the two estimates' quotient


def check_intrinsics(measured: Measured) -> list[Answer]:
    """Whether K is there, possible, and what tilt and motion say it is."""
    return [answer for view in measured.episode.info.views for answer in _check(measured, view)]


def field_of_view(K: Float[np.ndarray, "3 3"], width: int) -> float:
    """Horizontal, degrees."""
    return float(np.degrees(2 * np.arctan(width / 2 / K[0, 0])))


def scaled(K: Float[np.ndarray, "3 3"], factor: float) -> Float[np.ndarray, "3 3"]:
    """K with both focal lengths multiplied."""
    changed = np.array(K, np.float64)
    changed[[0, 1], [0, 1]] *= factor
    return changed


def _check(measured: Measured, view: View) -> list[Answer]:
    kind, where, episode = Kind.INTRINSICS, f"{view}.K", measured.episode
    if not episode.has("K", view):
        return [_absent(view), unchecked(kind, where, "no K")]
    if f"K.{view}" in episode.info.assumed:
        return [unchecked(kind, where, "K is assumed, not recorded")]
    K, (height, width) = episode.intrinsics(view), episode.image_size(view)
    if impossible := _impossible(K, width, height):
        return _impossible_answers(measured, view, impossible)
    if lacks := measured.missing(view, "depth", "T_world_camera", "state"):
        said = f"field of view {field_of_view(K, width):.1f}°, principal point and pixels plausible; the rest: {lacks}"
        return [unchecked(kind, where, said)]
    found = calibration(measured, view)
    said = f"field of view {field_of_view(K, width):.1f}°; {found.words()}"
    if found.measures == 0:
        return [unchecked(kind, where, "no plane and no motion to measure by")]
    tilted = found.tilt > LEVEL
    if not tilted and not found.too_fast:
        return [checked(kind, where, said)]
    factor, sure = _focal(measured, view, K)
    if factor is None:
        # what is wrong is not the focal length: the next check says what
        return [checked(kind, where, f"{said}; no focal length explains that")]
    fov = field_of_view(scaled(K, factor), width)
    title = f"The {view} intrinsics are wrong: the focal length is {1 / factor:.2f} times what it should be"
    picture = tool_track(measured, view, {"K as stored": (K, None), f"K of {fov:.1f}°": (scaled(K, factor), None)})
    finding = Finding(
        kind=kind,
        where=where,
        severity="error",
        confidence=sure,
        title=title,
        detail=f"With K as stored: {found.words()}. With {factor:.2f} times the focal length all of that fits.",
        fix=f"Set the horizontal field of view to {fov:.1f}° (K says {field_of_view(K, width):.1f}°).",
        setting=view_setting(view, ViewSetting(fov_degrees=fov), title + "."),
        evidence=picture.image,
        caption=picture.caption,
    )
    return [finding, checked(kind, where, said)]


def _focal(measured: Measured, view: View, K: np.ndarray) -> tuple[float | None, float]:
    """The factor on the focal length that levels the table and explains the speeds, and how sure; None if none does."""
    T = measured.episode.T_world_camera(view)
    by_speed = calibration(measured, view).ratio
    tilts = np.array([tilt(measured, view, scaled(K, s), T) for s in _SCALES[::4]])
    if np.isnan(tilts).all():
        return None, 0.0
    coarse = float(_SCALES[::4][int(np.nanargmin(tilts))])
    near = _SCALES[np.abs(np.log(_SCALES / coarse)) < 0.09]
    fine = [tilt(measured, view, scaled(K, float(s)), T) for s in near]
    by_tilt, least = float(near[int(np.nanargmin(fine))]), float(np.nanmin(fine))
    # the wrist looks straight down: any focal length leaves its table level
    tells = float(np.nanmax(tilts)) > 4 * LEVEL
    if np.isnan(by_speed):
        if not tells or least >= 0.5 * LEVEL or abs(np.log(by_tilt)) <= 0.05:
            return None, 0.0
        # a wrong pose tilts the table too, but then no focal length brings the tool into sight
        works = calibration(measured, view, other_K=scaled(K, by_tilt))
        return (by_tilt, 0.6) if not works.broken else (None, 0.0)
    if view == "wrist" or not tells:
        works = calibration(measured, view, other_K=scaled(K, by_speed))
        return (by_speed, 0.8) if not works.broken else (None, 0.0)
    if least < 0.5 * LEVEL and abs(np.log(by_tilt / by_speed)) < _ALIKE:
        return by_tilt, 0.95
    return None, 0.0


def _impossible(K: np.ndarray, width: int, height: int) -> str:
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    if not (np.isfinite(K).all() and fx > 0 and fy > 0):
        return f"a focal length of {fx:.4g}, {fy:.4g} pixels"
    if max(abs(cx / width - 0.5), abs(cy / height - 0.5)) > _CENTRE:
        return f"a principal point at ({cx:.1f}, {cy:.1f}) in an image of {width} x {height}"
    if max(fx / fy, fy / fx) > _SQUARE:
        return f"pixels that are {fx / fy:.2f} times as wide as high"
    if not _FIELD[0] < field_of_view(K, width) < _FIELD[1]:
        return f"a field of view of {field_of_view(K, width):.1f}°"
    return ""


def _impossible_answers(measured: Measured, view: View, impossible: str) -> list[Answer]:
    """K belongs to an image of another size if halving the image at its principal point makes it possible."""
    K, (height, width) = measured.episode.intrinsics(view), measured.episode.image_size(view)
    across, down = K[0, 2] / (width / 2), K[1, 2] / (height / 2)
    ratios = np.array([1 / across, 1 / down]) if min(across, down) > 0 else np.zeros(2)
    fits = ratios.all() and not _impossible(np.diag([ratios[0], ratios[1], 1.0]) @ K, width, height)
    setting, fix = None, "Give the camera's real K."
    if fits:
        fraction = (K[0, 0] / 2 / K[0, 2], K[1, 1] / 2 / K[1, 2], 0.5, 0.5)
        setting = view_setting(view, ViewSetting(K=fraction), f"The {view} K belongs to an image of another size.")
        fix = f"Scale K to the image: it fits one of {2 * K[0, 2]:.0f} x {2 * K[1, 2]:.0f} pixels."
    finding = Finding(
        kind=Kind.INTRINSICS,
        where=f"{view}.K",
        severity="error",
        confidence=0.95,
        title=f"The {view} K belongs to another image" if fits else f"The {view} K is impossible",
        detail=f"K says {impossible}.",
        fix=fix,
        setting=setting,
    )
    return [finding, checked(Kind.INTRINSICS, f"{view}.K", impossible)]


def _absent(view: View) -> Finding:
    return Finding(
        kind=Kind.INTRINSICS,
        where=f"{view}.K",
        severity="note",
        confidence=1.0,
        title=f"The {view} camera has no intrinsics",
        detail="The source records no K; nothing in 3D can be computed from this view without one.",
        fix="Give the field of view, as a setting of the source or with --fov.",
    )

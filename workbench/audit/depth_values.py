"""Depth in the wrong unit: millimetres, or the renderer's normalised buffer instead of metres.

Metres: z of a table-top scene lies within centimetres and ten metres, and the depth seen at the tool is the tool's.
Buffer: d = (1/n - 1/z) / (1/n - 1/f) for the near and far planes n, f; it lies in 0..1, crowds towards 1, and is
affine in the pixel on a plane, which z is not. The planes come from the data: 1/z = B (rho + d) has two unknowns; that
the largest plane is level gives rho, that the tool is where it is gives B.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trainer.episodes.corrected import corrected
from trainer.episodes.episode import View
from trainer.episodes.source_settings import ViewSetting

from .answers import Answer, checked, unchecked, view_setting
from .calibration import calibration
from .finding import Finding, Kind
from .measured import Measured, from_world, project, to_world, unproject
from .motion import most_frequent
from .pictures import depth_histogram, plane_residuals
from .planes import fit_affine

_FRAMES = 6
_TOO_FAR, _TOO_NEAR = 30.0, 0.01  # metres of the median, for a camera that looks at a robot's hand
_NEAR_PLANES = (1e-4, 1.0)  # metres
_NEVER_FAR = 1e4  # metres; a far plane beyond any scene


@dataclass(frozen=True, kw_only=True)
class Values:
    """Depth over a few frames: low, median and high of what is valid, and how well its largest planes are affine."""

    low: float
    median: float
    high: float
    buffer_unexplained: float
    z_unexplained: float


def check_depth_unit(measured: Measured) -> list[Answer]:
    """Whether depth is in metres."""
    return [answer for view in measured.episode.info.views for answer in _check(measured, view)]


def _check(measured: Measured, view: View) -> list[Answer]:
    kind, where, episode = Kind.DEPTH_UNIT, f"{view}.depth", measured.episode
    if not episode.has("depth", view):
        return [unchecked(kind, where, "no depth")]
    if episode.info.depth_scale == "relative":
        return [unchecked(kind, where, "the source says it is relative")]
    values = depth_values(measured, view)
    if values is None:
        return [unchecked(kind, where, "hardly any pixel has a depth")]
    span = f"{values.low:.3g} to {values.high:.3g}, median {values.median:.3g}"
    if values.median > _TOO_FAR or values.median < _TOO_NEAR:
        return _unit(measured, view, values, span)
    if _is_buffer(measured, view, values):
        return _buffer(measured, view, values, span)
    return [checked(kind, where, f"{span} m")]


def depth_values(measured: Measured, view: View) -> Values | None:
    """What depth looks like; None where hardly any pixel is valid."""
    maps = [measured.episode.depth(view, step) for step in measured.spread(_FRAMES)]
    valid = np.concatenate([image[np.isfinite(image) & (image > 0)] for image in maps])
    if len(valid) < 500:
        return None
    low, median, high = (float(x) for x in np.quantile(valid, (0.02, 0.5, 0.98)))
    fits = [(fit_affine(image), fit_affine(_inverse(image))) for image in maps[::2]]
    both = [(a.unexplained, b.unexplained) for a, b in fits if a is not None and b is not None]
    buffer, z = np.median(np.array(both), axis=0) if both else (np.nan, np.nan)
    return Values(low=low, median=median, high=high, buffer_unexplained=float(buffer), z_unexplained=float(z))


def _is_buffer(measured: Measured, view: View, values: Values) -> bool:
    """In 0..1, crowded near 1, and affine on planes where z would not be, or a wall as z.

    A wrist camera looks straight down on its table, where neither z nor a buffer has a slope: there it is one if only
    as a buffer it fits the robot's motion.
    """
    if not (values.high <= 1.0 and values.median > 0.7):
        return False
    crowded = (values.high - values.low) / (1 - values.median + 1e-9) > 0.5 and values.high - values.low < 0.06
    if crowded or values.buffer_unexplained < 0.4 * values.z_unexplained:
        return True
    if measured.missing(view, "K", "T_world_camera", "state"):
        return False
    planes = buffer_planes(measured, view)
    if planes is None or not calibration(measured, view).broken:
        return False
    setting = view_setting(view, ViewSetting(depth_planes=planes), "Depth is a normalised buffer.")
    return not calibration(Measured(corrected(measured.episode, setting)), view).broken


def _unit(measured: Measured, view: View, values: Values, span: str) -> list[Answer]:
    """The power of ten that brings the median into reach, or what puts the tool's surroundings where the tool is."""
    factor = (
        10.0 ** -round(np.log10(values.median / 0.9))
        if values.median > _TOO_FAR
        else 10.0 ** round(-np.log10(values.median / 0.9))
    )
    if 1e2 < values.median < 2e4:
        factor = 1e-3
    at_tool = tool_depth_ratio(measured, view)
    confidence = 0.9
    said = f"Depth runs from {span}: no metres that a camera at a table sees"
    if at_tool is not None:
        confidence = 0.99 if 0.5 < at_tool * factor < 2 else 0.6
        said += f"; where the tool is, it is {at_tool:.4g} times the tool's distance"
    unit = {1e-3: "millimetres", 1e-2: "centimetres", 1e-4: "tenths of a millimetre"}.get(factor, f"{factor:g} m")
    picture = depth_histogram(measured, view, factor)
    finding = Finding(
        kind=Kind.DEPTH_UNIT,
        where=f"{view}.depth",
        severity="error",
        confidence=confidence,
        title=f"The {view} depth is in {unit}",
        detail=f"{said}.",
        fix=f"Multiply depth by {factor:g}.",
        setting=view_setting(view, ViewSetting(depth_factor=factor), f"{view} depth is in {unit}."),
        evidence=picture.image,
        caption=picture.caption,
    )
    return [finding, checked(Kind.DEPTH_UNIT, f"{view}.depth", span)]


def _buffer(measured: Measured, view: View, values: Values, span: str) -> list[Answer]:
    planes = buffer_planes(measured, view)
    fix = "State the near and far planes of the renderer: the data do not tell them here."
    setting = None
    if planes is not None:
        near, far = planes
        beyond = "far away" if far >= _NEVER_FAR else f"at {far:.3g} m"
        fix = f"Turn the buffer into metres with the near plane at {near:.3g} m and the far one {beyond} (about 10 %)."
        setting = view_setting(
            view, ViewSetting(depth_planes=planes), f"{view} depth is a normalised buffer; planes from the robot."
        )
    picture = plane_residuals(
        measured, view, {"taken as metres": _inverse, "taken as a buffer": lambda image: image.astype(np.float64)}
    )
    finding = Finding(
        kind=Kind.DEPTH_UNIT,
        where=f"{view}.depth",
        severity="error",
        confidence=0.95 if values.buffer_unexplained < 0.4 * values.z_unexplained else 0.85,
        title=f"The {view} depth is a normalised buffer",
        detail=f"Depth runs from {span}, crowded below 1. As a buffer the largest plane is flat to "
        f"{values.buffer_unexplained:.1e} of its slope, as metres to {values.z_unexplained:.1e}.",
        fix=fix,
        setting=setting,
        evidence=picture.image,
        caption=picture.caption,
    )
    return [finding, checked(Kind.DEPTH_UNIT, f"{view}.depth", span)]


def tool_depth_ratio(measured: Measured, view: View, offset: float | None = None) -> float | None:
    """Depth where the moving hand is over the tool's true distance; with `offset` of 1 / (-(offset + d)) instead.

    None without K, pose, state or motion, and for the wrist view, where the hand does not move.
    """
    if view != "static" or measured.missing(view, "K", "T_world_camera", "state"):
        return None
    episode, tool = measured.episode, measured.tool
    K, T = episode.intrinsics(view), episode.T_world_camera(view)
    ratios: list[float] = []
    for pair in measured.pairs(view):
        at = from_world(tool[pair.start, :3, 3], T[pair.start])
        u, v = project(at, K)
        rows, columns = np.nonzero(pair.moving)
        near = np.hypot(columns - u, rows - v) < 0.06 * K[0, 0] / max(at[2], 1e-6)  # 6 cm around the tool
        depth = episode.depth(view, pair.start)[rows[near], columns[near]].astype(np.float64)
        if offset is not None:
            depth = 1 / np.maximum(-(offset + depth), 1e-9)
        if np.isfinite(depth).sum() > 5:
            ratios.append(float(np.nanquantile(depth, 0.3) / at[2]))  # the hand stands before the rest
    return float(np.median(ratios)) if len(ratios) >= 4 else None


def buffer_planes(measured: Measured, view: View) -> tuple[float, float] | None:
    """Near and far plane in metres; None where pose, motion or a plane is missing."""
    if measured.missing(view, "K", "T_world_camera", "state"):
        return None
    rho = _offset(measured, view)
    B = tool_depth_ratio(measured, view, rho) if view == "static" else _wrist_scale(measured, rho)
    if B is None or not B > 0:
        return None
    # 1/z = B (-(rho) - d): 1/n = -rho B at d = 0, 1/f = (-rho - 1) B at d = 1
    near, one_over_far = 1 / (-rho * B), (-rho - 1) * B
    if not _NEAR_PLANES[0] < near < _NEAR_PLANES[1]:
        return None
    return float(near), float(1 / one_over_far) if one_over_far > 1 / _NEVER_FAR else _NEVER_FAR


def _offset(measured: Measured, view: View) -> float:
    """rho, so that the static view's largest plane is level; -1, a far plane at infinity, where that says nothing."""
    if view != "static":
        return -1.0
    K, T = measured.episode.intrinsics(view), measured.episode.T_world_camera(view)
    found: list[float] = []
    for step in measured.spread(_FRAMES):
        fit = fit_affine(measured.episode.depth(view, step).astype(np.float64))
        if fit is None:
            continue
        up, axis = T[step][:3, :3].T @ [0.0, 0, 1], np.array([0.0, 0, 1])
        slope, across = np.cross(K.T @ fit.coefficients, up), np.cross(axis, up)
        found.append(float(-(slope @ across) / max(across @ across, 1e-9)))
    rho = float(np.median(found)) if found else -1.0
    return rho if -1.5 < rho < -1 - 1e-7 else -1.0


def _wrist_scale(measured: Measured, rho: float) -> float | None:
    """B, so that the table moves through the wrist image as fast as it does: flow falls with 1 / z."""
    episode = measured.episode
    K, T = episode.intrinsics("wrist"), episode.T_world_camera("wrist")
    ratios: list[np.ndarray] = []
    rays = unproject(np.ones(episode.image_size("wrist")), K)
    for pair in measured.pairs("wrist"):
        nominal = 1 / np.maximum(-(rho + episode.depth("wrist", pair.start).astype(np.float64)), 1e-9)
        between = np.linalg.inv(T[pair.end]) @ T[pair.start]
        turned = project(rays @ between[:3, :3].T, K)  # rotation moves every depth alike
        shift = project(to_world(rays, between), K) - turned  # at one metre
        own, square = pair.flow - (turned - project(rays, K)), (shift**2).sum(-1)
        usable = pair.textured & (square > 0.5)
        ratios.append(((own * shift).sum(-1) / np.maximum(square, 1e-9) * nominal)[usable])
    found = np.concatenate(ratios) if ratios else np.zeros(0)
    value, share = most_frequent(found[np.isfinite(found)])
    return value if share > 0.15 else None


def _inverse(image: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return 1 / image.astype(np.float64)

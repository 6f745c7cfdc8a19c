"""What actions command against what the tool then does: their scale and the axes they are in.

Sums over a quarter of a second of commanded and made motion are compared, so that a controller's lag hardly matters. A
controller may make less than is commanded (robosuite's makes about a quarter) but hardly more, and not next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from trainer.episodes.episode import ActionSpace
from trainer.episodes.rotations import axis_angle
from trainer.episodes.source_settings import SourceSetting

from .answers import Answer, checked, sentence, unchecked
from .finding import Finding, Kind
from .measured import Measured
from .pictures import command_scatter

_WINDOW = 5  # steps
_LEAST_STEPS = 20
_FOLLOWS = 0.75  # correlation from which commanded and made motion are one thing
_LEAD = 0.2  # by which the right axes must win
_GAIN = (0.06, 1.7)  # made over commanded
_LEAST_TRAVEL = 0.02  # metres, in all
_LEAST_TURN = 0.1  # radians, in all
_KNOWN = {"libero": (0.05, 0.5), "robosuite": (0.05, 0.5), "calvin": (0.02, 0.05)}
"""Metres and radians of 1.0 by source: robosuite's OSC_POSE controller, CALVIN's relative actions."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Fit:
    """Commanded (in some axes) against made motion of the base frame.

    Attributes:
        correlation: Uncentred, all three axes together.
        gain: Made over commanded, least squares.
    """

    correlation: float
    gain: float


def check_actions(measured: Measured) -> list[Answer]:
    """Whether an action's scale and frame are what the episode says."""
    episode = measured.episode
    space, kinds = episode.info.action_space, (Kind.ACTION_SCALE, Kind.ACTION_FRAME)
    reason = ""
    if not episode.has("action") or not measured.has_tool:
        reason = "no action" if measured.has_tool else "no state"
    elif space is None:
        reason = "the source does not say how to read its actions"
    elif len(measured.tool) < _LEAST_STEPS:
        reason = f"{len(measured.tool)} steps are too few"
    elif _path(measured) < _LEAST_TRAVEL:
        reason = "the tool hardly moves"
    if reason or space is None:
        return [unchecked(kind, "action", reason) for kind in kinds]
    made = np.diff(measured.tool[:, :3, 3], axis=0)
    commanded = np.asarray(episode.action, np.float64)[:-1, :3] * space.metres_per_unit
    fits = {"base": _fit(commanded, made), "tool": _fit(_in_base(measured, commanded), made)}
    stated, other = fits[space.frame], fits["tool" if space.frame == "base" else "base"]
    answers = _frame(measured, space, stated, other, commanded, made)
    best = stated if stated.correlation >= other.correlation else other
    return [*answers, *_translation(measured, space, best, commanded, made), *_rotation(measured, space)]


def _frame(
    measured: Measured, space: ActionSpace, stated: Fit, other: Fit, commanded: np.ndarray, made: np.ndarray
) -> list[Answer]:
    kind, right = Kind.ACTION_FRAME, "tool" if space.frame == "base" else "base"
    said = f"correlation {stated.correlation:.2f} in {space.frame} axes, {other.correlation:.2f} in {right} axes"
    if max(stated.correlation, other.correlation) < _FOLLOWS:
        return [unchecked(kind, "action", f"the tool does not follow its actions in either: {said}")]
    if abs(stated.correlation - other.correlation) < _LEAD:
        return [unchecked(kind, "action", f"the motion does not tell: {said}")]
    if stated.correlation > other.correlation:
        return [checked(kind, "action", said)]
    turned = _in_base(measured, commanded)
    ways = (turned, commanded) if space.frame == "tool" else (commanded, turned)
    picture = command_scatter(ways, made, (f"read in {space.frame} axes", f"read in {right} axes"))
    title = f"Actions are in {right} axes, not in {space.frame} axes"
    finding = Finding(
        kind=kind,
        where="action",
        severity="error",
        confidence=min(0.99, 0.6 + (other.correlation - stated.correlation)),
        title=title,
        detail=f"Commanded against made motion: {said}.",
        fix=f"Read actions in {right} axes.",
        setting=SourceSetting(action_frame=right, why=(title + ".",)),
        evidence=picture.image,
        caption=picture.caption,
    )
    return [finding, checked(kind, "action", said)]


def _translation(
    measured: Measured, space: ActionSpace, best: Fit, commanded: np.ndarray, made: np.ndarray
) -> list[Answer]:
    kind, said = Kind.ACTION_SCALE, f"the tool makes {best.gain:.3g} of the commanded translation"
    if best.correlation < _FOLLOWS:
        return [unchecked(kind, "action", f"the tool does not follow its actions (correlation {best.correlation:.2f})")]
    if _GAIN[0] < best.gain < _GAIN[1]:
        return [checked(kind, "action", said)]
    unit = _unit(measured, 0, space.metres_per_unit * best.gain)
    picture = command_scatter(
        (commanded, commanded * unit / space.metres_per_unit),
        made,
        (f"1.0 = {space.metres_per_unit:g} m", f"1.0 = {unit:g} m"),
    )
    title = f"An action of 1.0 is {unit:.3g} m, not {space.metres_per_unit:g} m"
    finding = Finding(
        kind=kind,
        where="action",
        severity="error",
        confidence=min(0.99, 0.5 + best.correlation / 2),
        title=title,
        detail=sentence(f"{said} (correlation {best.correlation:.2f})"),
        fix=f"Set {unit:.3g} m a unit.",
        setting=SourceSetting(metres_per_unit=unit, why=(title + ".",)),
        evidence=picture.image,
        caption=picture.caption,
    )
    return [finding, checked(kind, "action", said)]


def _rotation(measured: Measured, space: ActionSpace) -> list[Answer]:
    kind, where = Kind.ACTION_SCALE, "action rotation"
    R = measured.tool[:, :3, :3]
    own = axis_angle(np.einsum("tji,tjk->tik", R[:-1], R[1:]))
    if np.linalg.norm(own, axis=1).sum() < _LEAST_TURN:
        return [unchecked(kind, where, "the tool hardly turns")]
    commanded = np.asarray(measured.episode.action, np.float64)[:-1, 3:6] * space.radians_per_unit
    in_base = _fit(commanded, np.einsum("tij,tj->ti", R[:-1], own))
    in_tool = _fit(commanded, own)
    best = in_base if in_base.correlation >= in_tool.correlation else in_tool
    said = f"the tool makes {best.gain:.3g} of the commanded rotation"
    if best.correlation < _FOLLOWS:
        return [unchecked(kind, where, f"it does not follow its actions (correlation {best.correlation:.2f})")]
    if _GAIN[0] < best.gain < _GAIN[1]:
        return [checked(kind, where, said)]
    unit = _unit(measured, 1, space.radians_per_unit * best.gain)
    title = f"A rotation of 1.0 is {unit:.3g} rad, not {space.radians_per_unit:g} rad"
    finding = Finding(
        kind=kind,
        where=where,
        severity="error",
        confidence=min(0.95, 0.5 + best.correlation / 2),
        title=title,
        detail=sentence(f"{said} (correlation {best.correlation:.2f})"),
        fix=f"Set {unit:.3g} rad a unit.",
        setting=SourceSetting(radians_per_unit=unit, why=(title + ".",)),
    )
    return [finding, checked(kind, where, said)]


def _unit(measured: Measured, which: int, made_by_one: float) -> float:
    """What the source's controller is known to mean by 1.0 if that fits, else what 1.0 achieved here."""
    known = _KNOWN.get(measured.episode.info.source.split()[0].lower())
    if known is not None and _GAIN[0] < made_by_one / known[which] < _GAIN[1]:
        return known[which]
    return float(f"{made_by_one:.2g}")


def _fit(commanded: Float[np.ndarray, "t 3"], made: Float[np.ndarray, "t 3"]) -> Fit:
    a, b = _summed(commanded), _summed(made)
    product, square = float((a * b).sum()), float((a**2).sum())
    norm = np.sqrt(square * float((b**2).sum()))
    return Fit(correlation=product / max(norm, 1e-12), gain=product / max(square, 1e-12))


def _summed(steps: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, "s 3"]:
    total = np.cumsum(np.concatenate([np.zeros((1, 3)), steps]), axis=0)
    return total[_WINDOW:] - total[:-_WINDOW]


def _in_base(measured: Measured, commanded: np.ndarray) -> np.ndarray:
    return np.einsum("tij,tj->ti", measured.tool[:-1, :3, :3], commanded)


def _path(measured: Measured) -> float:
    return float(np.linalg.norm(np.diff(measured.tool[:, :3, 3], axis=0), axis=1).sum())

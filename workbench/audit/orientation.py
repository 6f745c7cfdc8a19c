"""Upside-down and mirrored images: the robot's own motion, as the camera should see it, against what the image does.

The directions of the optical flow are predicted from K, camera pose and the tool's motion under each way the image may
lie (as it is, rotated by 180 degrees, mirrored, flipped top to bottom); only the right one agrees. No depth is needed:
hand and table are put at the tool's own depth, which changes lengths but hardly directions.

Without K or pose, a static camera is taken to stand upright and to look down on the table: `handedness`.
"""

from __future__ import annotations

from typing import get_args

import numpy as np

from trainer.episodes.episode import View
from trainer.episodes.source_settings import REVERSES, Pose, Turn, ViewSetting

from .answers import Answer, checked, sentence, unchecked, view_setting
from .finding import Finding, Kind
from .handedness import turn_by_hand
from .measured import FlowPair, Measured, from_world, project, reposed, some_pixels, to_world
from .pictures import depth_beside_rgb, turned_motion

_LEAST_PAIRS = 6
_SURE, _MARGIN = 0.5, 0.2  # mean cosine of the right way, and how far it must lead
_REACH = 0.25
_PIXELS = 600  # of a pair, at most
_WORDS: dict[Turn, str] = {"rotate-180": "rotated by 180°", "mirror": "mirrored", "flip": "flipped top to bottom"}
_ADVICE: dict[Turn, str] = {
    "rotate-180": "Rotate images and depth by 180°.",
    "mirror": "Mirror images and depth left to right.",
    "flip": "Flip images and depth top to bottom.",
}


def check_orientation(measured: Measured) -> list[Answer]:
    """Whether each view is upright and not mirrored, and whether its depth lies as its images do."""
    answers: list[Answer] = []
    for view in measured.episode.info.views:
        said = _check(measured, view)
        answers += said
        if measured.episode.has("depth", view) and not any(isinstance(answer, Finding) for answer in said):
            answers += _check_depth(measured, view)
    return answers


def reversed_axes(image: np.ndarray, turn: Turn) -> np.ndarray:
    """An image as it lies after a turn."""
    rows, columns = REVERSES[turn]
    return image[:: -1 if rows else 1, :: -1 if columns else 1]


def _check(measured: Measured, view: View) -> list[Answer]:
    where = f"{view}.rgb"
    lacks = measured.missing(view, "state")
    if not lacks and len(measured.pairs(view)) < _LEAST_PAIRS:
        lacks = "the tool hardly moves"
    if lacks:
        return [unchecked(kind, where, lacks) for kind in (Kind.UPSIDE_DOWN, Kind.MIRRORED)]
    if measured.missing(view, "K", "T_world_camera"):
        return _check_by_hand(measured, view)
    cosines: dict[Turn, float] = {turn: _cosine(measured, view, turn) for turn in REVERSES}
    order = sorted(cosines, key=lambda turn: -cosines[turn])
    best, lead = order[0], cosines[order[0]] - cosines[order[1]]
    said = f"image and tool move alike: cosine {cosines['none']:.2f} as stored, {cosines[best]:.2f} {_said(best)}"
    if cosines[best] < _SURE or lead < _MARGIN:
        reason = f"image and tool agree in no way clearly (cosine {cosines[best]:.2f}, next {cosines[order[1]]:.2f})"
        return [unchecked(kind, where, reason) for kind in (Kind.UPSIDE_DOWN, Kind.MIRRORED)]
    if best == "none":
        said = f"image and tool move alike: cosine {cosines['none']:.2f}, any other way at most {cosines[order[1]]:.2f}"
        return [checked(kind, where, said) for kind in (Kind.UPSIDE_DOWN, Kind.MIRRORED)]
    posed, cosine = _best_pose(measured, view)
    if cosine > cosines[best]:
        said = f"image and tool move alike (cosine {cosine:.2f}) if the pose is {posed}: see extrinsics"
        return [checked(kind, where, said) for kind in (Kind.UPSIDE_DOWN, Kind.MIRRORED)]
    ways: tuple[Turn, ...] = ("none", best)
    predicted: dict[Turn, tuple[np.ndarray, np.ndarray]] = {way: directions(measured, view, way) for way in ways}
    return _verdict(measured, view, best, min(0.99, 0.6 + lead), said, predicted)


def _check_by_hand(measured: Measured, view: View) -> list[Answer]:
    lacks, kinds = measured.missing(view, "K", "T_world_camera"), (Kind.UPSIDE_DOWN, Kind.MIRRORED)
    if view == "wrist":
        return [unchecked(kind, "wrist.rgb", lacks) for kind in kinds]
    turn, sure, reason = turn_by_hand(measured)
    if turn is None:
        return [unchecked(kind, "static.rgb", f"{lacks}, and {reason}") for kind in kinds]
    if turn == "none":
        return [checked(kind, "static.rgb", f"{reason}, if the camera stands upright and looks down") for kind in kinds]
    return _verdict(measured, view, turn, 0.8 * sure, f"{reason}, if the camera stands upright and looks down", None)


def _verdict(
    measured: Measured,
    view: View,
    turn: Turn,
    confidence: float,
    said: str,
    predicted: dict[Turn, tuple[np.ndarray, np.ndarray]] | None,
) -> list[Answer]:
    kind = Kind.MIRRORED if turn == "mirror" else Kind.UPSIDE_DOWN
    other = Kind.UPSIDE_DOWN if turn == "mirror" else Kind.MIRRORED
    title = f"The {view} images are {_WORDS[turn]}"
    setting, fix = view_setting(view, ViewSetting(turn=turn), title + "."), _ADVICE[turn]
    if measured.episode.has("depth", view):
        depth = depth_turn(measured, view)
        if depth is not None and depth != "none":
            setting, fix = None, "Turn the images alone: the depth lies otherwise and no setting can turn only one."
    picture = turned_motion(measured, view, turn, predicted)
    finding = Finding(
        kind=kind,
        where=f"{view}.rgb",
        severity="error",
        confidence=confidence,
        title=title,
        detail=sentence(said),
        fix=fix,
        setting=setting,
        evidence=picture.image,
        caption=picture.caption,
    )
    return [finding, checked(kind, f"{view}.rgb", said), checked(other, f"{view}.rgb", said)]


def _check_depth(measured: Measured, view: View) -> list[Answer]:
    """Whether depth lies as the images do: what moves in one moves in the other."""
    turn, where = depth_turn(measured, view), f"{view}.depth"
    if turn is None:
        return [unchecked(Kind.UPSIDE_DOWN, where, "too little moves to compare depth with the images")]
    if turn == "none":
        return [checked(Kind.UPSIDE_DOWN, where, "depth changes where the image does")]
    picture = depth_beside_rgb(measured, view)
    return [
        Finding(
            kind=Kind.MIRRORED if turn == "mirror" else Kind.UPSIDE_DOWN,
            where=where,
            severity="error",
            confidence=0.9,
            title=f"The {view} depth is {_WORDS[turn]} against its images",
            detail=f"What moves in the image moves in the depth only after the depth is {_WORDS[turn]}.",
            fix="Turn the depth in the source; a setting turns images and depth together.",
            evidence=picture.image,
            caption=picture.caption,
        )
    ]


def depth_turn(measured: Measured, view: View) -> Turn | None:
    """How depth must be turned to lie as the images do, by where both change; None where too little does."""
    shares: dict[Turn, list[float]] = {turn: [] for turn in REVERSES}
    for pair in measured.pairs(view)[::2]:
        with np.errstate(divide="ignore", invalid="ignore"):
            change = np.abs(1 / measured.episode.depth(view, pair.start) - 1 / measured.episode.depth(view, pair.end))
        known = np.isfinite(change)
        if known.sum() < 500 or pair.moving.sum() < 30:
            continue
        changed = known & (change > np.quantile(change[known], 0.9))
        for turn in REVERSES:
            there = reversed_axes(changed, turn)
            shares[turn].append(float((there & pair.moving).sum() / max((there | pair.moving).sum(), 1)))
    if len(shares["none"]) < 3:
        return None
    means: dict[Turn, float] = {turn: float(np.mean(values)) for turn, values in shares.items()}
    order = sorted(means, key=lambda turn: -means[turn])
    return order[0] if means[order[0]] > 0.15 and means[order[0]] > 1.5 * means[order[1]] else None


def directions(
    measured: Measured, view: View, turn: Turn, other_T: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and measured flow (n, 2) of the pixels that count, all pairs, with the image lying after a turn."""
    T = measured.episode.T_world_camera(view) if other_T is None else other_T
    parts = [_directions_of(measured, view, pair, turn, T) for pair in measured.pairs(view)]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _best_pose(measured: Measured, view: View) -> tuple[Pose, float]:
    """The other way to store a pose that explains the images as they lie best, and the cosine that it reaches."""
    T = measured.episode.T_world_camera(view)
    found = {pose: _cosine(measured, view, "none", reposed(T, pose)) for pose in get_args(Pose)[1:]}
    best = max(found, key=lambda pose: found[pose])
    return best, found[best]


def _cosine(measured: Measured, view: View, turn: Turn, T: np.ndarray | None = None) -> float:
    predicted, flow = directions(measured, view, turn, T)
    if len(predicted) < 100:
        return 0.0
    return float(np.mean((predicted * flow).sum(1) / np.linalg.norm(predicted, axis=1) / np.linalg.norm(flow, axis=1)))


def _directions_of(
    measured: Measured, view: View, pair: FlowPair, turn: Turn, T: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    episode, tool = measured.episode, measured.tool
    K = episode.intrinsics(view)
    depth = from_world(tool[pair.start, :3, 3], T[pair.start])[2]
    if view == "wrist":
        depth = 2 * max(depth, 0.05)  # the table lies beyond the tool
    if depth <= 0:
        return np.zeros((0, 2)), np.zeros((0, 2))
    candidates = pair.moving if view == "static" else pair.textured
    at, flow = some_pixels(reversed_axes(candidates, turn), reversed_axes(pair.flow, turn), _PIXELS, pair.start)
    flow = flow * [-1.0 if flips else 1.0 for flips in REVERSES[turn][::-1]]
    rays = np.concatenate([(at - K[:2, 2]) / K[[0, 1], [0, 1]], np.ones((len(at), 1))], 1)
    world = to_world(depth * rays, T[pair.start])
    near = (
        np.linalg.norm(world - tool[pair.start, :3, 3], axis=-1) < _REACH
        if view == "static"
        else np.ones(len(at), bool)
    )
    later = to_world(from_world(world, tool[pair.start]), tool[pair.end]) if view == "static" else world
    predicted = project(from_world(later, T[pair.end]), K) - at
    clear = near & (np.linalg.norm(np.nan_to_num(predicted), axis=-1) > 1) & (np.linalg.norm(flow, axis=-1) > 0.3)
    return predicted[clear], flow[clear]


def _said(turn: Turn) -> str:
    return "as stored" if turn == "none" else f"if it is {_WORDS[turn]}"

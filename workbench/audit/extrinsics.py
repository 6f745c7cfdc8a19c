"""Camera poses that contradict the robot's own motion.

The tool's pose is known from the robot; a camera pose is right if the tool projects onto the moving hand
(`tool_in_sight`), the table is level, the wrist camera stays in its place in the hand (`calibration`), and the static
camera sees what the wrist's does (`two_views`). What is wrong is compared with the two ways in which poses are commonly
stored otherwise, world to camera and with the axes of OpenGL, and with the same camera in another place.
"""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
from jaxtyping import Float

from trainer.episodes.episode import View
from trainer.episodes.source_settings import Pose, ViewSetting

from .answers import Answer, checked, sentence, unchecked, view_setting
from .calibration import HAND_EYE, calibration, hand_eye
from .finding import Finding, Kind
from .measured import Measured, reposed
from .pictures import tool_track
from .tool_in_sight import tool_seen
from .two_views import TwoViews, two_views

_WORDS: dict[Pose, str] = {"inverted": "stored as world to camera", "opengl": "stored with the axes of OpenGL"}


def check_extrinsics(measured: Measured) -> list[Answer]:
    """Whether each camera's pose fits what the robot does."""
    return [answer for view in measured.episode.info.views for answer in _check(measured, view)]


def _check(measured: Measured, view: View) -> list[Answer]:
    kind, where, episode = Kind.EXTRINSICS, f"{view}.T_world_camera", measured.episode
    if lacks := measured.missing(view, "T_world_camera", "K", "state"):
        return [unchecked(kind, where, lacks)]
    if f"T_world_camera.{view}" in episode.info.assumed:
        return [unchecked(kind, where, "the pose is assumed, not recorded")]
    T = episode.T_world_camera(view)
    if not np.isfinite(T).all() or np.abs(np.linalg.det(T[:, :3, :3]) - 1).max() > 0.01:
        return _not_rigid(view)
    broken, said = _broken(measured, view, T)
    right = _right_pose(measured, view, T) if broken else None
    pair = _beside_wrist(measured) if view == "static" and right is None else None
    if pair is not None:
        said = ", ".join(part for part in (said, pair.words) if part)
        broken = [*broken, pair.words] if pair.contradict else broken
    if not said:
        return [unchecked(kind, where, "no depth and no motion of the tool to measure by")]
    if not broken:
        return [checked(kind, where, said)]
    if right is not None:
        return [_stored_otherwise(measured, view, broken, right), checked(kind, where, said)]
    shift = pair.shift if pair is not None and pair.contradict else None
    return [_elsewhere(measured, view, broken, shift), checked(kind, where, said)]


def _broken(measured: Measured, view: View, T: np.ndarray) -> tuple[list[str], str]:
    """What contradicts the robot, and all that was measured; "" if nothing could be."""
    broken: list[str] = []
    said: list[str] = []
    if view == "wrist" and _moves(measured):
        shift, turn = hand_eye(measured, T)
        said.append(f"moves in the hand by {1000 * shift:.1f} mm and {turn:.1f}°")
        if shift > HAND_EYE[0] or turn > HAND_EYE[1]:
            broken.append(f"the camera moves in the hand by {1000 * shift:.0f} mm and {turn:.0f}°")
    if view == "static":
        seen = tool_seen(measured, measured.episode.intrinsics(view), T)
        said += [seen.words] if seen.words else []
        broken += [seen.words] if seen.contradicts else []
    if measured.episode.has("depth", view):
        found = calibration(measured, view, other_T=T)
        if found.measures:
            said.append(found.words())
            broken += found.broken
    return broken, ", ".join(said)


def _right_pose(measured: Measured, view: View, T: np.ndarray) -> Pose | None:
    """The other way to store a pose in which nothing contradicts the robot."""
    return next((pose for pose in get_args(Pose)[1:] if not _broken(measured, view, reposed(T, pose))[0]), None)


def _beside_wrist(measured: Measured) -> TwoViews | None:
    """The two views compared, unless the wrist camera itself cannot be trusted."""
    if measured.missing("wrist", "T_world_camera"):
        return None
    shift, turn = hand_eye(measured, measured.episode.T_world_camera("wrist"))
    return two_views(measured) if shift <= HAND_EYE[0] and turn <= HAND_EYE[1] else None


def _stored_otherwise(measured: Measured, view: View, broken: list[str], right: Pose) -> Finding:
    title = f"The {view} camera's pose is {_WORDS[right]}"
    fix = {"inverted": "Invert it.", "opengl": "Turn its y and z axes around."}[right]
    confidence = min(0.99, 0.85 + 0.1 * len(broken))
    moved = reposed(measured.episode.T_world_camera(view), right)
    finding = _finding(measured, view, broken, title, fix, confidence, {_WORDS[right]: moved})
    return replace(finding, setting=view_setting(view, ViewSetting(pose=right), title + "."))


def _elsewhere(measured: Measured, view: View, broken: list[str], shift: Float[np.ndarray, " 3"] | None) -> Finding:
    """The pose is wrong by itself: the camera stands elsewhere, by `shift` (world, metres) where that is known."""
    confidence = min(0.99, 0.7 + 0.1 * len(broken))
    title = f"The {view} camera's pose contradicts the robot's motion"
    fix = "Calibrate the camera again, or leave its pose out: 3D of this view is wrong."
    if shift is None:
        return _finding(measured, view, broken, title, fix, confidence, {})
    moved = measured.episode.T_world_camera(view).copy()
    moved[:, :3, 3] += shift
    if _broken(measured, view, moved)[0]:  # more than its place is wrong
        return _finding(measured, view, broken, title, fix, confidence, {})
    centimetres = 100 * float(np.linalg.norm(shift))
    title = f"The {view} camera stands {centimetres:.0f} cm from where its pose says"
    x, y, z = shift
    fix = (
        f"Measure the camera again. To about 2 cm, its position in the world lacks ({x:+.2f}, {y:+.2f}, {z:+.2f}) m; "
        "no setting moves a camera."
    )
    way = f"moved by {centimetres:.0f} cm"
    return _finding(measured, view, broken, title, fix, min(0.99, confidence + 0.15), {way: moved})


def _finding(
    measured: Measured,
    view: View,
    broken: list[str],
    title: str,
    fix: str,
    confidence: float,
    others: dict[str, Float[np.ndarray, "t 4 4"]],
) -> Finding:
    """With the tool's way through the picture under the stored pose and others."""
    K, T = measured.episode.intrinsics(view), measured.episode.T_world_camera(view)
    picture = tool_track(measured, view, {"as stored": (K, T)} | {way: (K, pose) for way, pose in others.items()})
    return Finding(
        kind=Kind.EXTRINSICS,
        where=f"{view}.T_world_camera",
        severity="error",
        confidence=confidence,
        title=title,
        detail=sentence("; ".join(broken)),
        fix=fix,
        evidence=picture.image,
        caption=picture.caption,
    )


def _not_rigid(view: View) -> list[Answer]:
    where = f"{view}.T_world_camera"
    finding = Finding(
        kind=Kind.EXTRINSICS,
        where=where,
        severity="error",
        confidence=1.0,
        title=f"The {view} camera's pose is no rigid motion",
        detail="Its rotation has a determinant that is not 1, or entries that are not numbers.",
        fix="Give proper rotations; a reflection means that an axis was negated on the way.",
    )
    return [finding, checked(Kind.EXTRINSICS, where, "no rigid motion")]


def _moves(measured: Measured) -> bool:
    return len(measured.pairs("wrist")) >= 6

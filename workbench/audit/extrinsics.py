"""Camera poses that contradict the robot's own motion.

The tool's pose is known from the robot; a camera pose is right if the tool projects onto the moving hand, the table is
level, and the wrist camera stays in its place in the hand (`calibration`). What is wrong is compared with the two ways
in which poses are commonly stored otherwise: world to camera, and with the axes of OpenGL.
"""

from __future__ import annotations

from typing import get_args

import numpy as np

from trainer.episodes.episode import View
from trainer.episodes.source_settings import Pose, ViewSetting

from .answers import Answer, checked, sentence, unchecked, view_setting
from .calibration import HAND_EYE, calibration, hand_eye
from .finding import Finding, Kind
from .measured import Measured, reposed
from .pictures import tool_track

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
    if not said:
        return [unchecked(kind, where, "no depth and no motion of the tool to measure by")]
    if not broken:
        return [checked(kind, where, said)]
    right = next((pose for pose in get_args(Pose)[1:] if not _broken(measured, view, reposed(T, pose))[0]), None)
    return [_finding(measured, view, broken, right), checked(kind, where, said)]


def _broken(measured: Measured, view: View, T: np.ndarray) -> tuple[list[str], str]:
    """What contradicts the robot, and all that was measured; "" if nothing could be."""
    broken: list[str] = []
    said: list[str] = []
    if view == "wrist" and _moves(measured):
        shift, turn = hand_eye(measured, T)
        said.append(f"moves in the hand by {1000 * shift:.1f} mm and {turn:.1f}°")
        if shift > HAND_EYE[0] or turn > HAND_EYE[1]:
            broken.append(f"the camera moves in the hand by {1000 * shift:.0f} mm and {turn:.0f}°")
    if measured.episode.has("depth", view):
        found = calibration(measured, view, other_T=T)
        if found.measures:
            said.append(found.words())
            broken += found.broken
    return broken, ", ".join(said)


def _finding(measured: Measured, view: View, broken: list[str], right: Pose | None) -> Finding:
    K, T = measured.episode.intrinsics(view), measured.episode.T_world_camera(view)
    title = f"The {view} camera's pose contradicts the robot's motion"
    ways: dict[str, tuple[np.ndarray, np.ndarray | None]] = {"as stored": (K, T)}
    setting, fix = None, "Calibrate the camera again, or leave its pose out: 3D of this view is wrong."
    if right is not None:
        title = f"The {view} camera's pose is {_WORDS[right]}"
        ways[_WORDS[right]] = (K, reposed(T, right))
        setting = view_setting(view, ViewSetting(pose=right), title + ".")
        fix = {"inverted": "Invert it.", "opengl": "Turn its y and z axes around."}[right]
    picture = tool_track(measured, view, ways)
    return Finding(
        kind=Kind.EXTRINSICS,
        where=f"{view}.T_world_camera",
        severity="error",
        confidence=min(0.99, 0.7 + 0.1 * len(broken) + (0.15 if right is not None else 0)),
        title=title,
        detail=sentence("; ".join(broken)),
        fix=fix,
        setting=setting,
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

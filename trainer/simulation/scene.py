"""A MuJoCo model with its data, and the few quantities of it that a recording needs.

Dimensions: q simulator state (time, qpos, qvel), n rigid body.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from trainer.episodes.episode import View

from .extra import load

CAMERAS: dict[View, str] = {"static": "agentview", "wrist": "robot0_eye_in_hand"}
_TOOL_SITE = "gripper0_grip_site"
_FINGER_JOINTS = ("gripper0_finger_joint1", "gripper0_finger_joint2")
_FULL_OPENING = 0.08  # metres between the Panda's fingertips
_MUJOCO_TO_OPENCV = np.diag([1.0, -1.0, -1.0])  # MuJoCo cameras look along -z with y up


class Scene:
    """Read and replay one simulated world with a single Panda arm."""

    def __init__(self, model: Any, data: Any) -> None:
        self.mujoco = load("mujoco")
        self.model = model
        self.data = data
        self.rigid_of_body, roots = _rigid_bodies(model)
        self._roots = roots
        self.rigid_names = ("world", *(model.body(root).name for root in roots[1:]))
        self._tool = model.site(_TOOL_SITE).id
        self._fingers = [model.joint(name).qposadr[0] for name in _FINGER_JOINTS]

    def state(self) -> Float[np.ndarray, " q"]:
        """The simulator state: everything `show` needs."""
        return np.concatenate([[self.data.time], self.data.qpos, self.data.qvel])

    def show(self, state: Float[np.ndarray, " q"]) -> None:
        """Puts the world into a simulator state and updates every derived pose."""
        positions = self.model.nq
        self.data.time = state[0]
        self.data.qpos[:] = state[1 : 1 + positions]
        self.data.qvel[:] = state[1 + positions :]
        self.mujoco.mj_forward(self.model, self.data)

    def tool_position(self) -> Float[np.ndarray, " 3"]:
        """The point between the fingertips, metres, world."""
        return self.data.site_xpos[self._tool].copy()

    def tool_rotation(self) -> Float[np.ndarray, "3 3"]:
        """Tool axes in the world: z out of the hand, x the axis along which the fingers close."""
        return self.data.site_xmat[self._tool].reshape(3, 3).copy()

    def opening(self) -> float:
        """Gripper opening, 0 shut .. 1 open."""
        first, second = (float(self.data.qpos[address]) for address in self._fingers)
        return float(np.clip((first - second) / _FULL_OPENING, 0.0, 1.0))

    def proprioception(self) -> Float[np.ndarray, " 8"]:
        """Tool position, quaternion wxyz, gripper opening: the row of `Recording.state`."""
        quaternion = np.empty(4)
        self.mujoco.mju_mat2Quat(quaternion, self.data.site_xmat[self._tool])
        quaternion *= 1.0 if quaternion[0] >= 0 else -1.0
        return np.concatenate([self.tool_position(), quaternion, [self.opening()]])

    def T_world_camera(self, view: View) -> Float[np.ndarray, "4 4"]:  # noqa: N802 - the field's name
        """Camera to world, OpenCV axes, metres."""
        camera = self.model.camera(CAMERAS[view]).id
        rotation = self.data.cam_xmat[camera].reshape(3, 3) @ _MUJOCO_TO_OPENCV
        return _transform(rotation, self.data.cam_xpos[camera])

    def intrinsics(self, view: View, height: int, width: int) -> Float[np.ndarray, "3 3"]:
        """K in pixels; the centre of pixel (0, 0) is (0.5, 0.5)."""
        field_of_view = float(self.model.camera(CAMERAS[view]).fovy[0])
        focal = 0.5 * height / np.tan(np.radians(field_of_view) / 2)
        return np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]])

    def rigid_poses(self) -> Float[np.ndarray, "n 4 4"]:
        """Pose of every rigid body in the world; entry 0, the static world, is the identity."""
        poses = np.tile(np.eye(4), (len(self._roots), 1, 1))
        poses[1:, :3, :3] = self.data.xmat[self._roots[1:]].reshape(-1, 3, 3)
        poses[1:, :3, 3] = self.data.xpos[self._roots[1:]]
        return poses


def _rigid_bodies(model: Any) -> tuple[Integer[np.ndarray, " body"], Integer[np.ndarray, " n"]]:
    """Groups bodies that are welded together: (rigid body of each MuJoCo body, the MuJoCo body each group is named by).

    Group 0 is all that is welded to the world, so it never moves.
    """
    roots, rigid_of_body = np.unique(np.asarray(model.body_weldid), return_inverse=True)
    if len(roots) > 255:
        raise ValueError(f"{len(roots)} moving bodies do not fit into uint8 body images")
    return rigid_of_body, roots


def _transform(rotation: Float[np.ndarray, "3 3"], translation: Float[np.ndarray, " 3"]) -> Float[np.ndarray, "4 4"]:
    transform = np.eye(4)
    transform[:3, :3] = rotation
    transform[:3, 3] = translation
    return transform

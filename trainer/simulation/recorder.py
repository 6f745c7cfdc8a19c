"""Turns stored simulator states into a `Recording`: replays them, reads every pose, renders every n-th step.

Dimensions: t control step, f rendered frame, n rigid body, q simulator state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from trainer.episodes.episode import EpisodeInfo, View
from trainer.episodes.recording import Recording, ViewRecording

from .renderer import Frame, Renderer
from .scene import Scene

# Metres, and entries of the rotation matrix: resting objects tremble by less, and it is 0.002 px and a fifth of the
# depth's storage step.
_STILL = 2e-5

VIEWS: tuple[View, ...] = ("static", "wrist")


def replay(
    scene: Scene,
    renderer: Renderer,
    *,
    info: EpisodeInfo,
    states: Float[np.ndarray, "t q"],
    actions: Float[np.ndarray, "t 7"],
) -> Recording:
    """Records an episode by state replay. `info.frame_stride` says which steps are rendered.

    Args:
        scene: The world the states belong to.
        renderer: Draws that world.
        info: What to record about the episode; it comes out as it is.
        states: Simulator state before each action.
        actions: Episode actions (gripper 0 shut .. 1 open).
    """
    frame_steps = np.arange(0, len(states), info.frame_stride)
    poses = _poses(scene, states)
    scene.show(states[0])
    for view in VIEWS:
        if _is_still(poses.cameras[view]):
            renderer.keep(view, poses.still_bodies())
    frames: dict[View, list[Frame]] = {view: [] for view in VIEWS}
    for step in frame_steps:
        scene.show(states[step])
        for view in VIEWS:
            frames[view].append(renderer.render(view))
    for view in VIEWS:
        renderer.forget(view)
    return Recording(
        info=info,
        frame_steps=frame_steps,
        views={view: _stack(scene, view, frames[view], poses.cameras[view]) for view in VIEWS},
        state=poses.proprioception,
        action=np.asarray(actions, dtype=np.float64),
        body_pose=poses.bodies,
        body_names=scene.rigid_names,
        simulator_state=states,
    )


@dataclass(frozen=True, kw_only=True)
class _Poses:
    """Everything a recording holds at every control step."""

    proprioception: Float[np.ndarray, "t 8"]
    bodies: Float[np.ndarray, "t n 4 4"]
    cameras: dict[View, Float[np.ndarray, "t 4 4"]]

    def still_bodies(self) -> Bool[np.ndarray, " n"]:
        return np.array([_is_still(self.bodies[:, body]) for body in range(self.bodies.shape[1])])


def _poses(scene: Scene, states: Float[np.ndarray, "t q"]) -> _Poses:
    proprioception: list[np.ndarray] = []
    bodies: list[np.ndarray] = []
    cameras: dict[View, list[np.ndarray]] = {view: [] for view in VIEWS}
    for state in states:
        scene.show(state)
        proprioception.append(scene.proprioception())
        bodies.append(scene.rigid_poses())
        for view in VIEWS:
            cameras[view].append(scene.T_world_camera(view))
    return _Poses(
        proprioception=np.stack(proprioception),
        bodies=np.stack(bodies),
        cameras={view: np.stack(poses) for view, poses in cameras.items()},
    )


def _is_still(poses: Float[np.ndarray, "t 4 4"]) -> bool:
    return bool(np.abs(poses - poses[0]).max() < _STILL)


def _stack(scene: Scene, view: View, frames: Sequence[Frame], cameras: Float[np.ndarray, "t 4 4"]) -> ViewRecording:
    height, width = frames[0].depth.shape
    return ViewRecording(
        rgb=np.stack([frame.rgb for frame in frames]),
        depth=np.stack([frame.depth for frame in frames]),
        body=np.stack([frame.body for frame in frames]),
        K=scene.intrinsics(view, height, width),
        T_world_camera=cameras,
    )

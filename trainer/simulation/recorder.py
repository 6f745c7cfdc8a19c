"""Turns stored simulator states into a `Recording`: replays them, reads every pose, renders every n-th step.

Dimensions: t control step, f rendered frame, n rigid body, q simulator state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from trainer.episodes.episode import EpisodeInfo, View
from trainer.episodes.recording import Recording, ViewRecording

from .renderer import Frame, Renderer
from .scene import Scene

VIEWS: tuple[View, ...] = ("static", "wrist")


def replay(
    scene: Scene,
    renderer: Renderer,
    *,
    info: EpisodeInfo,
    states: Float[np.ndarray, "t q"],
    actions: Float[np.ndarray, "t 7"],
    on_frame: Callable[[int, int], None] = lambda done, total: None,
) -> Recording:
    """Records an episode by state replay. `info.frame_stride` says which steps are rendered.

    Args:
        scene: The world the states belong to.
        renderer: Draws that world.
        info: What to record about the episode; `views` and `renderer` are filled in here.
        states: Simulator state before each action.
        actions: Episode actions (gripper 0 shut .. 1 open).
        on_frame: Told (frames rendered, frames in all) after each frame.
    """
    length = len(states)
    frame_steps = np.arange(0, length, info.frame_stride)
    frames: dict[View, list[Frame]] = {view: [] for view in VIEWS}
    cameras: dict[View, list[np.ndarray]] = {view: [] for view in VIEWS}
    proprioception: list[np.ndarray] = []
    poses: list[np.ndarray] = []
    for step in range(length):
        scene.show(states[step])
        proprioception.append(scene.proprioception())
        poses.append(scene.rigid_poses())
        for view in VIEWS:
            cameras[view].append(scene.T_world_camera(view))
            if step % info.frame_stride == 0:
                frames[view].append(renderer.render(view))
        if step % info.frame_stride == 0:
            on_frame(len(frames["static"]), len(frame_steps))
    return Recording(
        info=info,
        frame_steps=frame_steps,
        views={view: _stack(scene, view, frames[view], cameras[view]) for view in VIEWS},
        state=np.stack(proprioception),
        action=np.asarray(actions, dtype=np.float64),
        body_pose=np.stack(poses),
        body_names=scene.rigid_names,
        simulator_state=states,
    )


def _stack(scene: Scene, view: View, frames: Sequence[Frame], cameras: Sequence[np.ndarray]) -> ViewRecording:
    height, width = frames[0].depth.shape
    return ViewRecording(
        rgb=np.stack([frame.rgb for frame in frames]),
        depth=np.stack([frame.depth for frame in frames]),
        body=np.stack([frame.body for frame in frames]),
        K=scene.intrinsics(view, height, width),
        T_world_camera=np.stack(cameras),
    )

"""Human demonstrations that the robosuite wheel carries, recorded by state replay like everything else.

Three teleoperated episodes of lifting a cube (Panda, OSC_POSE, 20 Hz), with the model they were made in.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from model.errors import EpisodeError
from trainer.episodes import safe_hdf5
from trainer.episodes.episode import EpisodeInfo
from trainer.episodes.recording import Recording

from .environment import ACTION_SPACE, CONTROL_HZ
from .extra import load
from .recorder import VIEWS, replay
from .renderer import Renderer
from .scene import Scene
from .stored_model import stored_scene

_INSTRUCTION = "lift the cube"
_LIFTED = 0.04  # metres above the table: robosuite's own criterion of success


@dataclass(frozen=True, kw_only=True)
class HumanDemo:
    """One teleoperated episode.

    Attributes:
        name: Its name in the file, `demo_1` ...
        scene: The world it was made in.
        states: Simulator state before each action.
        actions: Episode actions (gripper 0 shut .. 1 open), clipped to what the controller accepts.
    """

    name: str
    scene: Scene
    states: Float[np.ndarray, "t q"]
    actions: Float[np.ndarray, "t 7"]

    def succeeded(self) -> bool:
        """Whether the cube ends above the table by robosuite's own measure."""
        self.scene.show(self.states[-1])
        data = self.scene.data
        return bool(data.body("cube_main").xpos[2] > data.site("table_top").xpos[2] + _LIFTED)


def lift_demos() -> list[HumanDemo]:
    """Opens the wheel's demonstrations of Lift.

    Raises:
        ConfigError: The [libero] extra is missing.
        EpisodeError: The file is not as released.
    """
    root = Path(str(load("robosuite").__file__)).parent
    path = root / "models" / "assets" / "demonstrations" / "lift" / "demo.hdf5"
    demos: list[HumanDemo] = []
    with safe_hdf5.open_hdf5(path) as file:
        data = safe_hdf5.group(file, "data")
        for name in sorted(safe_hdf5.children(data)):
            demo = safe_hdf5.group(data, name)
            scene = stored_scene(safe_hdf5.text(demo, "model_file"), f"{path}: {name}/model_file")
            width = 1 + scene.model.nq + scene.model.nv
            states = safe_hdf5.array(demo, "states", columns=width)
            actions = safe_hdf5.array(demo, "actions", columns=7)
            if len(states) != len(actions):
                raise EpisodeError(f"{path}: {name}: {len(states)} states but {len(actions)} actions")
            demos.append(HumanDemo(name=name, scene=scene, states=states, actions=_episode_actions(actions)))
    return demos


def record_demo(demo: HumanDemo, *, resolution: int, frame_stride: int) -> Recording:
    """Records a demonstration with depth, bodies and poses."""
    with Renderer(demo.scene, resolution, resolution) as renderer:
        info = EpisodeInfo(
            source="robosuite human",
            instruction=_INSTRUCTION,
            length=len(demo.states),
            control_hz=CONTROL_HZ,
            frame_stride=frame_stride,
            views=VIEWS,
            depth_scale="metric",
            depth_origin="true",
            has_exact_flow=True,
            outcome="success" if demo.succeeded() else "failure",
            action_space=ACTION_SPACE,
            task="lift",
            renderer=renderer.name,
        )
        return replay(demo.scene, renderer, info=info, states=demo.states, actions=demo.actions)


def _episode_actions(actions: Float[np.ndarray, "t 7"]) -> Float[np.ndarray, "t 7"]:
    """Robosuite's actions (gripper -1 open .. 1 shut, unclipped) in the episode's convention."""
    clipped = np.clip(actions, -1.0, 1.0)
    clipped[:, 6] = (1.0 - clipped[:, 6]) / 2.0
    return clipped

"""Demonstrations of a LIBERO HDF5 file, replayed from their stored states: RGB-D at any size, and exact flow.

The states lie before the actions of the same index, so unlike the file's own images they need no shift.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from model.errors import EpisodeError
from trainer.episodes import safe_hdf5
from trainer.episodes.episode import EpisodeInfo
from trainer.episodes.readers.libero_demo import DemoFacts, read_facts
from trainer.episodes.recording import Recording

from .environment import ACTION_SPACE, CONTROL_HZ
from .recorder import VIEWS, replay
from .renderer import Renderer
from .stored_model import stored_scene


def rerendered(
    path: Path, *, resolution: int, frame_stride: int, names: frozenset[str] | None = None
) -> Iterator[tuple[str, Recording]]:
    """Replays the demonstrations of a file one after the other: name in the file, recording.

    Args:
        path: A LIBERO HDF5 file with states and models.
        resolution: Height and width of the images, pixels.
        frame_stride: Render every n-th control step.
        names: Only these, such as `demo_0`; None = all.

    Raises:
        EpisodeError: A demonstration has no states or no model, or they do not belong together.
        UnsafeFileError: The model refers to files outside of the simulator's packages.
        ConfigError: The [libero] extra is missing.
    """
    facts = read_facts(path)
    for demo in facts.demos:
        if names is None or demo.name in names:
            yield demo.name, _rerender(path, demo, facts.instruction, resolution, frame_stride)


def demo_names(path: Path) -> list[str]:
    """The demonstrations of a file, in the order of their numbers."""
    return [demo.name for demo in read_facts(path).demos]


def _rerender(path: Path, demo: DemoFacts, instruction: str, resolution: int, frame_stride: int) -> Recording:
    with safe_hdf5.open_hdf5(path) as file:
        group = safe_hdf5.group(safe_hdf5.group(file, "data"), demo.name)
        scene = stored_scene(safe_hdf5.text(group, "model_file"), f"{path}: {demo.name}/model_file")
        states = safe_hdf5.array(group, "states", columns=1 + scene.model.nq + scene.model.nv)
        actions = safe_hdf5.array(group, "actions", columns=7)
    if len(states) != len(actions):
        raise EpisodeError(f"{path}: {demo.name}: {len(states)} states but {len(actions)} actions")
    actions = np.clip(actions, -1.0, 1.0)
    actions[:, 6] = (1.0 - actions[:, 6]) / 2.0
    with Renderer(scene, resolution, resolution) as renderer:
        info = EpisodeInfo(
            source="libero",
            instruction=instruction,
            length=len(states),
            control_hz=CONTROL_HZ,
            frame_stride=frame_stride,
            views=VIEWS,
            depth_scale="metric",
            depth_origin="true",
            has_exact_flow=True,
            outcome="success" if demo.succeeded else None,
            action_space=ACTION_SPACE,
            task=path.stem.removesuffix("_demo"),
            renderer=renderer.name,
            notes=("rendered again from stored states",),
        )
        return replay(scene, renderer, info=info, states=states, actions=actions)

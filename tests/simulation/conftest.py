"""One real LIBERO task for the whole folder: bowls stacked one on the other, the movement that goes depth-wise."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from trainer.episodes.episode import EpisodeInfo
from trainer.episodes.recording import Recording
from trainer.simulation.demonstrate import Demonstration, demonstrate
from trainer.simulation.environment import ACTION_SPACE, CONTROL_HZ, Environment
from trainer.simulation.recorder import VIEWS, replay
from trainer.simulation.renderer import Renderer
from trainer.simulation.tasks import find_task

SIZE = 224
STACK = ("libero_90", "16")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    missing = importlib.util.find_spec("libero") is None
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.simulation)
            # the extra's packages warn about their own future (numpy 2 names, pkg_resources)
            item.add_marker(pytest.mark.filterwarnings("default"))
            if missing:
                item.add_marker(pytest.mark.skip(reason="needs the extra [libero]"))


@dataclass(frozen=True)
class World:
    """A live task, its model as text, one demonstration of it, and its recording at every 20th step, 224 px."""

    environment: Environment
    model_xml: str
    demonstration: Demonstration
    renderer: Renderer
    recording: Recording


def episode_info(length: int, frame_stride: int) -> EpisodeInfo:
    return EpisodeInfo(
        source="libero",
        instruction="stack",
        length=length,
        control_hz=CONTROL_HZ,
        frame_stride=frame_stride,
        views=VIEWS,
        depth_scale="metric",
        depth_origin="true",
        has_exact_flow=True,
        outcome="success",
        action_space=ACTION_SPACE,
    )


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    environment = Environment(find_task(*STACK))
    # at once: MuJoCo can only write the model that this process compiled last
    xml = environment._env.sim.model.get_xml()  # pyright: ignore[reportPrivateUsage]
    demonstration = demonstrate(environment, 0, 0)
    states, actions = demonstration.states, demonstration.actions
    with Renderer(environment.scene, SIZE, SIZE) as renderer:
        recording = replay(
            environment.scene, renderer, info=episode_info(len(states), 20), states=states, actions=actions
        )
        yield World(environment, xml, demonstration, renderer, recording)

"""How much of the frames of foreign episodes stays in memory."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest

from trainer.episodes import lazy
from trainer.episodes.camera import Camera
from trainer.episodes.episode import EpisodeInfo
from trainer.episodes.lazy import LazyEpisode
from trainer.episodes.media.kept import KeptArrays

SIZE = (40, 50)
FRAME = 40 * 50 * 3


def episode(name: str, rgb: Callable[[int], np.ndarray]) -> LazyEpisode:
    info = EpisodeInfo(
        source="video",
        instruction="",
        length=30,
        control_hz=10.0,
        views=("static",),
        depth_scale=None,
        depth_origin=None,
        has_exact_flow=False,
        outcome=None,
        action_space=None,
    )
    cameras = {"static": Camera(source_name="static", size=SIZE, rgb=rgb)}
    return LazyEpisode(name=name, info=info, content_hash="0", frame_steps=np.arange(30), cameras=cameras)


def drawn(step: int) -> np.ndarray:
    return np.full((*SIZE, 3), step, np.uint8)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> KeptArrays:
    budget = KeptArrays(10 * FRAME)
    monkeypatch.setattr(lazy, "_KEPT", budget)
    return budget


def test_all_episodes_share_one_budget_of_bytes(kept: KeptArrays) -> None:
    episodes = [episode(f"{number}#0", drawn) for number in range(4)]
    for one in episodes:
        for step in range(30):
            assert one.rgb("static", step)[0, 0, 0] == step
            assert kept._bytes <= 10 * FRAME
    assert kept._bytes == 10 * FRAME
    del one, episodes
    gc.collect()
    assert kept._bytes == 0
    assert not kept._arrays
    assert not kept._owners


def test_a_frame_is_decoded_once_while_it_is_kept(kept: KeptArrays) -> None:
    asked: list[int] = []

    def rgb(step: int) -> np.ndarray:
        asked.append(step)
        return drawn(step)

    one = episode("one#0", rgb)
    one.rgb("static", 3)[:] = 0  # a copy
    assert one.rgb("static", 3)[0, 0, 0] == 3
    assert asked == [3]


def test_what_its_maker_keeps_is_not_kept_again(kept: KeptArrays) -> None:
    run = np.stack([drawn(step) for step in range(30)])
    one = episode("one#0", lambda step: run[step])
    assert one.rgb("static", 7)[0, 0, 0] == 7
    assert not kept._arrays

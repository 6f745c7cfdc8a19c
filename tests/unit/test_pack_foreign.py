"""Packing what is not ours: the same episode comes out, what fails is listed, training takes it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from model.cli import run_command
from model.config import PolicyConfig, WindowConfig, preset
from tests.calvin_factory import FIRST_STEP, write_calvin_split
from trainer.__main__ import COMMANDS
from trainer.data.absent import absent, absent_metrics
from trainer.data.loader import Sampling, WindowDataset, window_loader
from trainer.data.statistics import measure_statistics
from trainer.data.windows import observation_at, targets_at
from trainer.episodes.open import find_episodes, open_episode
from trainer.loop.setup import describe_data

LENGTH = 24


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESIGHT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def split(tmp_path: Path) -> Path:
    write_calvin_split(tmp_path / "calvin" / "training", length=LENGTH, windows=((0, 15), (4, 19)))
    return tmp_path / "calvin" / "training"


def trainer(*arguments: object) -> int:
    return run_command("trainer", COMMANDS, [str(argument) for argument in arguments])


def test_what_was_packed_is_what_was_read(split: Path, tmp_path: Path) -> None:
    assert trainer("pack", split.parent, tmp_path / "packed", "--verify") == 0
    names = find_episodes(tmp_path / "packed")
    assert names == [f"{tmp_path / 'packed' / 'training' / index}#0" for index in ("000000", "000001")]
    for name, source in zip(names, find_episodes(split), strict=False):
        packed, episode = open_episode(name), open_episode(source)
        assert packed.info == episode.info
        for step in (0, 7, 15):
            np.testing.assert_array_equal(packed.rgb("static", step), episode.rgb("static", step))
            assert np.abs(packed.rgb("wrist", step) - episode.rgb("wrist", step).astype(int)).mean() < 8  # JPEG
            for view in ("static", "wrist"):
                a, b = packed.depth(view, step), episode.depth(view, step)
                np.testing.assert_allclose(a, np.where(b < 6.5534, b, np.nan), atol=5.1e-5)
        np.testing.assert_array_equal(packed.state, episode.state)
        np.testing.assert_array_equal(packed.action, episode.action)
        np.testing.assert_array_equal(packed.features["scene_obs"], episode.features["scene_obs"])
        np.testing.assert_array_equal(packed.T_world_camera("static"), episode.T_world_camera("static"))
        assert not packed.has("T_world_camera", "wrist")


def test_pack_goes_on_where_it_was_and_lists_what_fails(
    split: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = split / f"episode_{FIRST_STEP:07d}.npz"
    content = first.read_bytes()
    first.unlink()
    assert trainer("pack", split, tmp_path / "packed") == 2
    assert f"{first.name}: missing" in capfd.readouterr().err
    names = find_episodes(tmp_path / "packed")
    assert [Path(name).name for name in names] == ["000001#0"]
    manifest = tmp_path / "packed" / "000001" / "manifest.json"
    made = manifest.stat().st_mtime_ns
    first.write_bytes(content)
    assert trainer("pack", split, tmp_path / "packed") == 0
    assert manifest.stat().st_mtime_ns == made
    assert len(find_episodes(tmp_path / "packed")) == 2


def test_another_data_set_does_not_count_as_packed(
    split: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_calvin_split(tmp_path / "other", length=LENGTH, windows=((1, 16), (4, 19)))  # as long, with the same words
    assert trainer("pack", split, tmp_path / "packed") == 0
    assert trainer("pack", split, tmp_path / "packed") == 0
    capfd.readouterr()
    assert trainer("pack", tmp_path / "other", tmp_path / "packed") == 2
    assert "000000#0: holds another episode than" in capfd.readouterr().err


def test_play_without_words_is_packed_on_demand_and_in_pieces(split: Path, tmp_path: Path) -> None:
    assert trainer("pack", split, tmp_path / "packed", "--silent-play", "--longest", 10) == 0
    folders = sorted(path.name for path in (tmp_path / "packed").iterdir())
    assert folders == [
        *("000000-000", "000000-001", "000001-000", "000001-001"),
        *("000002-000", "000002-001", "000002-002"),
    ]
    play = open_episode(f"{split}#2")
    piece = open_episode(tmp_path / "packed" / "000002-002")
    assert piece.info.length == 4
    np.testing.assert_array_equal(piece.rgb("static", 3), play.rgb("static", 23))
    np.testing.assert_array_equal(piece.state, play.state[20:])
    assert trainer("pack", f"{split}#1", tmp_path / "one") == 0
    assert open_episode(tmp_path / "one" / "000001").info.instruction == "move the box 1"


@pytest.fixture
def config() -> PolicyConfig:
    window = WindowConfig(n_obs_steps=3, obs_stride=2, future_offset=4, flow_steps=2, flow_stride=2, chunk_size=4)
    return dataclasses.replace(preset("tiny"), window=window)


def tokenize(texts: object) -> torch.Tensor:
    return torch.ones(len(list(texts)), 4, dtype=torch.int64)  # type: ignore[call-overload]


def test_training_takes_packed_calvin_with_the_flow_masked(split: Path, tmp_path: Path, config: PolicyConfig) -> None:
    assert trainer("pack", split, tmp_path / "packed") == 0
    episodes = [open_episode(name) for name in find_episodes(tmp_path / "packed")]
    statistics = measure_statistics(episodes, config)
    assert (statistics.action_metres_per_unit, statistics.action_radians_per_unit) == (0.02, 0.05)
    assert len(describe_data(episodes)["action_mean"]) == 7
    loader = window_loader(WindowDataset(episodes, config, tokenize), Sampling(batch_size=4, flow_points=8), epoch=0)
    observation, targets = next(iter(loader))
    assert (targets.flow_weight == 0).all()
    assert targets.depth_valid.float().mean() > 0.5
    assert targets.future_mask.any()
    assert targets.action_mask.any()
    assert observation.view_mask.all()
    assert observation.state_arm.abs().max() > 0


def test_what_is_missing_is_masked_zero_and_named(split: Path, config: PolicyConfig) -> None:
    for path in split.glob("episode_*.npz"):
        with np.load(path) as arrays:
            bare = {"rgb_static": arrays["rgb_static"]}
        np.savez_compressed(path, **bare)
    (split / ".hydra" / "merged_config.yaml").unlink()
    episode = open_episode(f"{split}#2")
    observation = observation_at(episode, 10, config, tokenize)
    targets = targets_at(episode, 10, config, frames=[2], points=8)
    assert observation.view_mask.tolist() == [[True, False]]
    assert observation.state_arm.abs().max() == 0
    for mask in (targets.depth_valid, targets.future_depth_valid, targets.action_mask, targets.flow_weight):
        assert not mask.any()
    assert targets.future_mask[0, 0].tolist() == [True, False]
    named = " ".join(absent(episode, config))
    for word in ("wrist camera", "instruction", "state", "actions", "static depth", "static intrinsics", "true flow"):
        assert word in named
    reasons = absent_metrics(episode, config)
    assert set(reasons) == {"wrist.", "static.depth.", "static.future_depth.", "flow", "action.", "progress."}
    whole = absent_metrics(open_episode(f"{split}#0"), config)
    assert whole == reasons

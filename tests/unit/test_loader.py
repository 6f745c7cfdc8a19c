"""Batches: repeatable, resumable, the same with any number of workers; labels move with their images."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from model.config import PolicyConfig, WindowConfig, preset
from model.errors import ConfigError, EpisodeError
from tests.factories import make_recording
from trainer.data.augment import random_offsets, shift
from trainer.data.statistics import measure_statistics
from trainer.data.windows import (
    Batch,
    Sampling,
    WindowBatches,
    WindowDataset,
    observation_at,
    targets_at,
    window_loader,
)
from trainer.episodes.memory import MemoryEpisode
from trainer.episodes.packed import PackedEpisode, save_packed

SAMPLING = Sampling(batch_size=3, seed=7, flow_points=16)


def tokenize(texts: list[str]) -> torch.Tensor:
    return torch.tensor([[len(text), 1] for text in texts])


@pytest.fixture(scope="module")
def config() -> PolicyConfig:
    window = WindowConfig(n_obs_steps=3, obs_stride=2, future_offset=4, flow_steps=2, flow_stride=2, chunk_size=4)
    return replace(preset("tiny"), window=window, image_size=32)


@pytest.fixture(scope="module")
def dataset(config: PolicyConfig, tmp_path_factory: pytest.TempPathFactory) -> WindowDataset:
    root = tmp_path_factory.mktemp("episodes")
    for seed in range(3):
        save_packed(make_recording(length=12 + 2 * seed, size=(32, 32), seed=seed), root / str(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FORESIGHT_CACHE", str(root / "cache"))
        return WindowDataset([PackedEpisode(root / str(seed)) for seed in range(3)], config, tokenize)


@pytest.fixture(scope="module")
def epoch(dataset: WindowDataset) -> list[Batch]:
    """All batches of epoch 0."""
    return list(window_loader(dataset, SAMPLING, epoch=0))


def assert_equal(first: Batch, second: Batch) -> None:
    for one, other in zip(first, second, strict=True):
        for field in fields(one):
            first_value, second_value = getattr(one, field.name), getattr(other, field.name)
            assert first_value is second_value is None or torch.equal(first_value, second_value), field.name


def test_every_full_window_is_there_once(dataset: WindowDataset) -> None:
    windows = [(episode.content_hash, step) for episode, step in map(dataset.window, range(len(dataset)))]
    assert len(windows) == len(set(windows)) == sum((12 + 2 * seed - 4 + 1) // 2 for seed in range(3))
    assert min(step for _, step in windows) == 4


def test_an_epoch_is_a_permutation(dataset: WindowDataset) -> None:
    epochs = [WindowBatches(dataset, SAMPLING, epoch) for epoch in (0, 1)]
    orders = [[index for batch in range(len(epoch)) for index in epoch.windows(batch)] for epoch in epochs]
    assert orders[0] != orders[1]
    for order in orders:
        assert len(set(order)) == len(order) == len(dataset) // 3 * 3


def test_workers_change_nothing(dataset: WindowDataset, epoch: list[Batch]) -> None:
    loader = window_loader(dataset, SAMPLING, epoch=0, num_workers=2)
    assert len(loader) == len(epoch) == 5
    for batch, expected in zip(loader, epoch, strict=True):
        assert_equal(batch, expected)


def test_a_batch_does_not_depend_on_those_before(dataset: WindowDataset, epoch: list[Batch]) -> None:
    assert_equal(WindowBatches(dataset, SAMPLING, 0)[2], epoch[2])


def test_another_seed_or_epoch_gives_other_batches(dataset: WindowDataset, epoch: list[Batch]) -> None:
    for sampling, number in ((SAMPLING, 1), (replace(SAMPLING, seed=8), 0)):
        assert not torch.equal(WindowBatches(dataset, sampling, number)[0][0].rgb, epoch[0][0].rgb)


def test_resuming_inside_an_epoch_continues_it(dataset: WindowDataset, epoch: list[Batch]) -> None:
    rest = list(window_loader(dataset, SAMPLING, epoch=0, start_batch=2))
    for one, other in zip(epoch[2:], rest, strict=True):
        assert_equal(one, other)
    assert list(window_loader(dataset, SAMPLING, epoch=0, start_batch=len(epoch))) == []
    with pytest.raises(ConfigError, match="start_batch"):
        window_loader(dataset, SAMPLING, epoch=0, start_batch=len(epoch) + 1)


def test_the_newest_frame_is_always_supervised(epoch: list[Batch]) -> None:
    seen: set[int] = set()
    for observation, targets in epoch:
        assert observation.rgb.shape == (3, 3, 2, 3, 32, 32)
        assert targets.frames.tolist()[-1] == 2
        assert len(targets.frames) == targets.depth.shape[1] == 2
        seen |= set(targets.frames.tolist())
    assert seen == {0, 1, 2}


def test_without_augmentation_a_batch_is_its_windows(dataset: WindowDataset, config: PolicyConfig) -> None:
    batches = WindowBatches(dataset, replace(SAMPLING, random_shift=False), 0)
    observation, targets = batches[2]
    for row, index in enumerate(batches.windows(2)):
        episode, step = dataset.window(index)
        assert torch.equal(observation.rgb[row : row + 1], observation_at(episode, step, config, tokenize).rgb)
        truth = targets_at(episode, step, config, frames=targets.frames.tolist(), points=8)
        assert torch.equal(targets.depth[row : row + 1], truth.depth)
        assert torch.equal(targets.future_rgb[row : row + 1], truth.future_rgb)


def test_bad_requests(dataset: WindowDataset, config: PolicyConfig) -> None:
    with pytest.raises(EpisodeError, match="no episodes"):
        WindowDataset([], config, tokenize)
    with pytest.raises(ConfigError, match="windows only"):
        WindowBatches(dataset, Sampling(batch_size=1000), 0)
    with pytest.raises(ConfigError, match="flow_points"):
        Sampling(batch_size=1, flow_points=0)


def test_a_short_episode_still_gives_a_window(config: PolicyConfig) -> None:
    dataset = WindowDataset([MemoryEpisode(make_recording(length=3, size=(32, 32)))], config, tokenize)
    observation, _ = WindowBatches(dataset, Sampling(batch_size=1, flow_points=4), 0)[0]
    assert observation.frame_mask.tolist() == [[True, True, False]]


@pytest.mark.parametrize("offset", [(0, 0), (3, 0), (0, -2), (-4, 5)])
def test_shift_moves_images_and_labels_together(config: PolicyConfig, offset: tuple[int, int]) -> None:
    episode = MemoryEpisode(make_recording(length=30, size=(32, 32)))
    observation = observation_at(episode, 16, config, tokenize)
    targets = targets_at(episode, 16, config, frames=[0, 2], points=400)
    offsets = torch.tensor([offset, (1, 1)])
    moved_observation, moved = shift(observation, targets, config, offsets)
    dx, dy = offset
    rows, columns = np.clip(np.arange(32) - dy, 0, 31), np.clip(np.arange(32) - dx, 0, 31)
    for before, after in (
        (observation.rgb, moved_observation.rgb),
        *((getattr(targets, name), getattr(moved, name)) for name in ("depth", "depth_valid", "future_rgb")),
        *((getattr(targets, name), getattr(moved, name)) for name in ("future_depth", "future_depth_valid")),
    ):
        static = before[:, :, 0].numpy()
        np.testing.assert_array_equal(after[:, :, 0].numpy(), static[..., rows[:, None], columns])
        np.testing.assert_array_equal(after[:, :, 1, ..., 1:, 1:], before[:, :, 1, ..., :-1, :-1])
    # every point still carries the depth of the pixel it lies on, and points outside count for nothing
    x, y, z = moved.flow_start[0, 1].numpy().T
    inside = (x >= 0) & (x < 1) & (y >= 0) & (y < 1)
    picked = moved.depth[0, 1, 0].numpy()[(y[inside] * 32).astype(int), (x[inside] * 32).astype(int)]
    np.testing.assert_array_equal(picked, z[inside])
    assert not moved.flow_weight[0, 1][torch.from_numpy(~inside)].any()
    assert not moved.flow_visible[0, 1][torch.from_numpy(~inside)].any()
    assert torch.equal(moved.flow_delta, targets.flow_delta)
    if offset == (0, 0):
        assert torch.equal(moved.flow_weight, targets.flow_weight)
    else:
        assert not inside.all()


def test_offsets_reach_five_per_cent(config: PolicyConfig) -> None:
    large = replace(config, image_size=128)
    rng = np.random.default_rng(0)
    offsets = torch.stack([random_offsets(rng, large) for _ in range(300)])
    assert offsets.shape[1:] == (2, 2)
    assert offsets.min() == -6
    assert offsets.max() == 6


def test_statistics_of_the_scene(config: PolicyConfig) -> None:
    episodes = [MemoryEpisode(make_recording(length=20, size=(32, 32), seed=seed)) for seed in range(2)]
    stats = measure_statistics(episodes, config)
    depth = np.concatenate([episode.depth("static", 2 * i).ravel() for episode in episodes for i in range(10)])
    assert stats.depth_mean[0] == pytest.approx(depth.mean(), rel=0.05)
    assert stats.depth_std[0] == pytest.approx(depth.std(), rel=0.2)
    assert 0.005 < stats.flow_scale_xy < 0.2
    assert 0.005 < stats.flow_scale_depth < 0.1
    assert (stats.action_metres_per_unit, stats.action_radians_per_unit) == (0.05, 0.5)
    assert measure_statistics(episodes, config) == stats


def test_statistics_keep_what_cannot_be_measured(config: PolicyConfig) -> None:
    full = make_recording(length=6, size=(16, 16), views=("static",))
    info = replace(full.info, has_exact_flow=False, depth_scale=None, depth_origin=None, action_space=None)
    episode = MemoryEpisode(replace(full, info=info))
    assert measure_statistics([episode], config) == config.stats


def test_actions_in_different_units_are_not_mixed(config: PolicyConfig) -> None:
    full = make_recording(length=6, size=(16, 16))
    assert full.info.action_space is not None
    other = replace(full, info=replace(full.info, action_space=replace(full.info.action_space, metres_per_unit=0.02)))
    with pytest.raises(EpisodeError, match="different units"):
        measure_statistics([MemoryEpisode(full), MemoryEpisode(other)], config)

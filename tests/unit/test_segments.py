"""Segments: windows that overlap share their images, and nothing but the cost changes."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.batch import Observation, SharedObservation, Targets
from model.config import PolicyConfig, WindowConfig, preset
from model.errors import ConfigError
from model.losses import loss_terms, total_loss
from model.policy import Policy
from tests.factories import make_recording
from tests.policy_factories import composite_tiny, make_policy
from trainer.data.segments import cut_segments
from trainer.data.windows import Sampling, WindowBatches, WindowDataset
from trainer.episodes.memory import MemoryEpisode
from trainer.loop.options import TrainOptions

SAMPLING = Sampling(batch_size=8, seed=3, flow_points=16, windows_per_segment=4)


def _config(base: PolicyConfig) -> PolicyConfig:
    window = WindowConfig(n_obs_steps=3, obs_stride=2, future_offset=4, flow_steps=2, flow_stride=2, chunk_size=4)
    return replace(base, window=window)


def tokenize(texts: list[str]) -> torch.Tensor:
    return torch.tensor([[len(text), 1] for text in texts])


@pytest.fixture(scope="module")
def dataset() -> WindowDataset:
    """Two episodes, the second without a wrist camera, and one of a single short window."""
    recordings = [
        make_recording(length=22, size=(32, 32)),
        make_recording(length=20, size=(32, 32), views=("static",), seed=1),
        make_recording(length=3, size=(32, 32), seed=2),
    ]
    return WindowDataset([MemoryEpisode(item) for item in recordings], _config(preset("tiny")), tokenize)


def test_cuts_cover_all_windows_and_keep_neighbours() -> None:
    windows = [(episode, step) for episode in range(2) for step in range(4, 21)]
    seen: set[int] = set()
    counts: set[int] = set()
    for seed in range(20):
        segments = cut_segments(windows, 3, 2, np.random.default_rng(seed))
        counts.add(len(segments))
        flat = [index for segment in segments for index in segment]
        assert len(set(flat)) == len(flat)
        seen |= set(flat)
        for segment in segments:
            places = [windows[index] for index in segment]
            assert {(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(places)} == {(0, 2)}
    assert counts == {2 * (3 + 2)}
    assert seen == set(range(len(windows)))


def test_few_windows_are_repeated_to_fill_a_segment() -> None:
    assert cut_segments([(0, 4), (0, 6)], 5, 2, np.random.default_rng(0)) == [[0, 1, 0, 1, 0]]


@pytest.fixture(scope="module")
def batches(dataset: WindowDataset) -> list[tuple[SharedObservation, Targets]]:
    found = WindowBatches(dataset, SAMPLING, epoch=0)
    assert len(found) >= 2
    return [found[index] for index in range(len(found))]  # pyright: ignore[reportReturnType]


def test_what_is_said_to_be_equal_is(batches: list[tuple[SharedObservation, Targets]]) -> None:
    """And few images are left: (T + m - 1) V a segment, always."""
    for observation, _ in batches:
        assert len(observation.images) == 2 * (3 + 4 - 1) * 2
        flat = observation.rgb.flatten(0, 2)
        assert torch.equal(flat[observation.images][observation.image_of], observation.rgb)
        assert torch.equal(observation.text[observation.texts][observation.text_of], observation.text)


def test_different_images_stay_different(batches: list[tuple[SharedObservation, Targets]]) -> None:
    observation = batches[0][0]
    distinct = len(observation.image_of.unique())
    assert distinct == len(torch.unique(observation.rgb.flatten(0, 2)[observation.images], dim=0))


def test_a_segment_is_shifted_as_a_whole_and_each_epoch_otherwise(dataset: WindowDataset) -> None:
    plain = WindowBatches(dataset, replace(SAMPLING, random_shift=False), epoch=0)[0][0]
    shifted = WindowBatches(dataset, SAMPLING, epoch=0)[0][0]
    assert not torch.equal(plain.rgb, shifted.rgb)
    assert WindowBatches(dataset, SAMPLING, 0).windows(0) != WindowBatches(dataset, SAMPLING, 1).windows(0)
    again = WindowBatches(dataset, SAMPLING, epoch=0)[0][0]
    assert torch.equal(again.rgb, shifted.rgb)


def _plain(observation: Observation) -> Observation:
    return Observation(**{item.name: getattr(observation, item.name) for item in fields(Observation)})


def _loss(policy: Policy, observation: Observation, targets: Targets) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    torch.manual_seed(0)
    out = policy(observation, frames=targets.frames, flow_start=targets.flow_start, action=targets.action)
    terms = loss_terms(out, targets, observation, policy.config)
    policy.zero_grad()
    total_loss(terms, policy.config.loss, with_action=True).backward()
    return terms, torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])


@pytest.mark.parametrize("trained_encoder", [False, True])
def test_losses_and_gradients_are_those_of_the_plain_path(dataset: WindowDataset, trained_encoder: bool) -> None:
    config = _config(composite_tiny() if trained_encoder else preset("tiny"))
    policy, encoded = make_policy(config), []
    policy.embedding.image.register_forward_pre_hook(lambda _, arguments: encoded.append(len(arguments[0])))
    observation, targets = WindowBatches(dataset, SAMPLING, epoch=0)[0]
    shared, shared_gradient = _loss(policy, observation, targets)
    plain, gradient = _loss(policy, _plain(observation), targets)
    assert encoded == [24, 8 * 3 * 2]
    assert shared.keys() == plain.keys()
    for name, value in plain.items():
        assert torch.allclose(shared[name], value, rtol=1e-5), name
    assert (shared_gradient - gradient).abs().max() < 1e-5 * gradient.abs().max()


def test_a_batch_holds_whole_segments() -> None:
    with pytest.raises(ConfigError, match="multiple of windows_per_segment"):
        Sampling(batch_size=6, windows_per_segment=4)


def test_segments_are_the_default_of_frozen_encoders_only() -> None:
    options = TrainOptions(data=(Path("x"),), out=Path("y"), batch_size=12)
    assert options.segment_size(preset("compact")) == 1
    frozen = replace(preset("tiny").image, kind="vit", layers=1, heads=2)
    assert options.segment_size(replace(preset("tiny"), image=frozen)) == 4
    assert replace(options, windows_per_segment=2).segment_size(preset("compact")) == 2

"""Training on labels: they are targets where there is nothing better, count less, and the card says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.batch import Observation, Targets
from model.cli import run_command
from model.config import PolicyConfig, preset
from model.losses import loss_terms
from tests.factories import make_recording
from tests.policy_factories import make_policy
from tests.unit.test_label_overlay import TRACKS, colours_only, perfect_depth
from trainer.__main__ import COMMANDS
from trainer.data.statistics import measure_statistics
from trainer.data.windows import observation_at, targets_at
from trainer.episodes.episode import Episode
from trainer.episodes.open import open_episode
from trainer.episodes.packed import PackedEpisode, save_packed
from trainer.labels.jobs import Job, run_job
from trainer.labels.overlay import with_labels, with_random_access

STEP = 8
SIZE = (72, 96)
RECORDING = make_recording(length=16, frame_stride=1, size=SIZE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exact episode, the same as cameras alone saw it, and a store with labels of the latter."""
    folder = tmp_path_factory.mktemp("labelled")
    save_packed(RECORDING, folder / "exact")
    save_packed(colours_only(RECORDING), folder / "bare")
    exact = PackedEpisode(folder / "exact")
    for labeller in (TRACKS, perfect_depth(folder, exact)):
        assert run_job(Job(episode=str(folder / "bare"), labeller=labeller, store=folder / "store")).status == "made"
    return folder


@pytest.fixture(scope="module")
def config() -> PolicyConfig:
    return preset("tiny")


@pytest.fixture
def labelled(folder: Path) -> Episode:
    return with_labels(open_episode(folder / "bare"), folder / "store")


def targets(episode: Episode, config: PolicyConfig) -> Targets:
    return targets_at(episode, STEP, config, frames=[config.window.n_obs_steps - 1], points=64)


def test_labels_are_targets_that_count_less(labelled: Episode, folder: Path, config: PolicyConfig) -> None:
    exact, pseudo = (targets(episode, config) for episode in (open_episode(folder / "exact"), labelled))
    bare = targets(open_episode(folder / "bare"), config)
    assert not bare.depth_valid.any()
    assert not bare.flow_weight.any()
    np.testing.assert_allclose(pseudo.depth[0, 0, 0], exact.depth[0, 0, 0], atol=1e-3)
    assert not pseudo.depth_valid[0, 0, 1].any()  # the wrist has no label
    assert (pseudo.flow_weight > 0).float().mean() > 0.3
    assert pseudo.flow_moving.any()
    for found, trust in ((exact, 1.0), (pseudo, config.loss.pseudo)):
        assert found.depth_trust == found.flow_trust == torch.tensor([trust])


def losses(observation: Observation, truth: Targets, config: PolicyConfig) -> dict[str, float]:
    policy = make_policy(config).eval()
    with torch.no_grad():
        prediction = policy(observation, frames=truth.frames, flow_start=truth.flow_start)
    return {name: float(value) for name, value in loss_terms(prediction, truth, observation, config).items()}


def test_trust_scales_depth_and_flow_and_nothing_else(labelled: Episode, config: PolicyConfig) -> None:
    policy, truth = make_policy(config), targets(labelled, config)
    observation = observation_at(labelled, STEP, config, policy.tokenize)
    half = losses(observation, truth, config)
    whole = losses(observation, replace(truth, depth_trust=None, flow_trust=None), config)
    for name in ("depth", "future_depth", "flow"):
        assert half[name] == pytest.approx(config.loss.pseudo * whole[name], rel=1e-5)
        assert whole[name] > 0
    assert half["future_rgb"] == whole["future_rgb"]
    assert half["flow_visibility"] == 0  # a lost point is not a hidden one
    assert whole["flow_visibility"] > 0


def test_statistics_are_of_what_was_recorded_where_anything_was(
    labelled: Episode, folder: Path, config: PolicyConfig
) -> None:
    exact = open_episode(folder / "exact")
    alone, mixed = (measure_statistics(episodes, config) for episodes in ([exact], [labelled, exact]))
    assert mixed.flow_scale_xy == alone.flow_scale_xy
    assert mixed.depth_mean[0] == alone.depth_mean[0]
    estimated = measure_statistics([labelled], config)
    assert estimated.depth_mean[0] == pytest.approx(alone.depth_mean[0], rel=0.02)
    assert estimated.flow_scale_xy != config.stats.flow_scale_xy


def test_labels_stay_over_a_mapped_episode(labelled: Episode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESIGHT_CACHE", str(tmp_path))
    fast = with_random_access(labelled)
    assert fast.content_hash == labelled.content_hash
    assert (tmp_path / "episodes").is_dir()
    np.testing.assert_array_equal(fast.depth("static", STEP), labelled.depth("static", STEP))
    assert fast.rgb("static", STEP).shape == (*SIZE, 3)


def test_the_command_trains_on_them_and_the_card_says_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORESIGHT_CACHE", str(tmp_path / "cache"))
    argv = ["train", "--preset", "tiny", "--data", str(folder / "bare"), "--labels", str(folder / "store")]
    argv += ["--out", str(tmp_path / "run"), "--steps", "2", "--batch-size", "2", "--workers", "0", "--threads", "1"]
    assert run_command("trainer", COMMANDS, argv) == 0
    card = (tmp_path / "run" / "final" / "card.md").read_text()
    assert "| pseudo_labels.episodes_with_pseudo_depth | 1 |" in card
    assert "| pseudo_labels.episodes_with_pseudo_tracks | 1 |" in card
    assert "| loss.pseudo | 0.5 |" in card
    assert run_command("trainer", COMMANDS, [*argv[:6], str(tmp_path / "none"), "--out", str(tmp_path / "b")]) == 2

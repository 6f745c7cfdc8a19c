"""Training the paper's presets in small: frozen encoders stay out of the run, goal and progress come from the data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model.config import preset, to_json
from model.errors import CheckpointError, ConfigError
from tests.encoder_factories import save_clip, save_mae
from tests.factories import make_recording
from tests.policy_factories import small
from trainer.data.goal import add_goal
from trainer.data.images import read_rgb
from trainer.data.observation import observation_at
from trainer.data.targets import targets_at
from trainer.data.windows import Sampling, WindowBatches, WindowDataset
from trainer.episodes.episode import Episode
from trainer.episodes.open import find_episodes, open_episode
from trainer.episodes.packed import save_packed
from trainer.loop.checkpoint import load_checkpoint
from trainer.loop.options import TrainOptions
from trainer.loop.train import main


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("episodes")
    for seed in range(2):
        recording = make_recording(length=20, size=(32, 32), frame_stride=1, seed=seed, instruction="lift box")
        save_packed(recording, folder / f"e{seed}", encoding="mapped")
    return folder


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoders")
    save_mae(folder / "mae")
    save_clip(folder / "clip")
    return folder


def _episode(data: Path) -> Episode:
    return open_episode(find_episodes(data)[0])


def _words(texts: object) -> torch.Tensor:
    return torch.tensor([[53, 8, 54, 0, 0, 0, 0, 0, 0, 0]]).expand(len(texts), -1)  # pyright: ignore[reportArgumentType]


def _arguments(name: str, data: Path, encoders: Path, out: Path, steps: int = 3) -> list[str]:
    config = out.parent / f"{name}.json"
    config.write_text(to_json(small(name)))
    options = {
        "preset": config, "data": data, "out": out, "steps": steps, "image-weights": encoders / "mae",
        "text-weights": encoders / "clip", "batch-size": 2, "workers": 0, "threads": 1, "device": "cpu",
        "precision": "fp32", "flow-points": 8, "log-every": 1, "save-every": 100, "probe-every": 100,
        "phase1-fraction": 0.34,
    }  # fmt: skip
    return [text for key, value in options.items() for text in (f"--{key}", str(value))]


TERMS = {
    "foresight": {"depth", "future_rgb", "future_depth", "flow", "flow_visibility"},
    "foresight_2d": {"future_rgb", "flow", "flow_visibility"},
    "gr_mg": {"future_rgb"},
}
ACTION = {"action_arm", "action_gripper", "action_kl"}


@pytest.mark.parametrize("name", TERMS)
def test_presets_train(name: str, data: Path, encoders: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(_arguments(name, data, encoders, out)) == 0
    first, *_, last = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert set(first["terms"]) == TERMS[name]
    assert set(last["terms"]) == TERMS[name] | ACTION | ({"progress"} if name == "gr_mg" else set())
    saved = load_file(out / "final" / "weights.safetensors")
    assert not [key for key in saved if key.startswith(("embedding.image.", "embedding.text."))]
    assert len(list((out / "probes").glob("*.png"))) == 1
    loaded = load_checkpoint(out / "final")
    assert loaded.metadata["encoders"]["image"]["parameters"] > 1000
    card = (out / "final" / "card.md").read_text()
    assert loaded.metadata["encoders"]["text"]["sha256"] in card
    assert "tokens.input_causality | " + ("token" if name == "gr_mg" else "frame") in card


def test_another_encoder_in_its_place_is_refused(data: Path, encoders: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    own = tmp_path / "own"
    save_mae(own / "mae")
    save_clip(own / "clip")
    main(_arguments("gr_mg", data, own, out))
    load_checkpoint(out / "final")
    (own / "mae" / "model.safetensors").unlink()
    save_mae(own / "mae", seed=1)
    with pytest.raises(CheckpointError, match=r"encoders\.image.*another image encoder"):
        load_checkpoint(out / "final")
    with pytest.raises(CheckpointError, match="another image encoder"):
        main([*_arguments("gr_mg", data, own, out, steps=4), "--resume"])


def test_a_preset_without_its_encoders_says_what_to_give(tmp_path: Path) -> None:
    options = TrainOptions(data=(tmp_path,), out=tmp_path, preset="foresight")
    with pytest.raises(ConfigError, match="needs a pretrained image encoder; add --image-weights FOLDER"):
        options.policy_config()
    trial = replace(options, image_weights="random", text_weights="random").policy_config()
    assert trial == preset("foresight")
    with pytest.raises(ConfigError, match="--text-weights: the text encoder of 'tiny' learns"):
        TrainOptions(data=(tmp_path,), out=tmp_path, preset="tiny", text_weights="clip").policy_config()


def test_facts_name_encoders_without_their_folders(encoders: Path, tmp_path: Path) -> None:
    options = TrainOptions(data=(tmp_path,), out=tmp_path, image_weights=str(encoders / "mae"), text_weights="a/b")
    assert (options.facts()["image_weights"], options.facts()["text_weights"]) == ("mae", "a/b")


def test_the_goal_lies_ahead_and_moves_with_the_images(data: Path) -> None:
    config, episode = small("gr_mg"), _episode(data)
    config = replace(config, window=replace(config.window, goal_horizon=4))
    observation = observation_at(episode, 10, config, _words)
    assert observation.goal_rgb is not None
    assert torch.equal(observation.goal_rgb, read_rgb(episode, "static", [14], 32))
    end = observation_at(episode, 19, config, _words).goal_rgb
    assert end is not None
    assert torch.equal(end, read_rgb(episode, "static", [19], 32))
    bare = replace(observation, goal_rgb=None)
    rng = np.random.default_rng(0)
    drawn = [add_goal(bare, episode, 10, config, rng).goal_rgb for _ in range(40)]
    frames = read_rgb(episode, "static", range(10, 15), 32)
    found = {next(i for i, frame in enumerate(frames) if torch.equal(frame[None], goal)) for goal in drawn}  # pyright: ignore[reportArgumentType]
    assert found == {0, 1, 2, 3, 4}


def test_batches_carry_goal_and_progress(data: Path) -> None:
    config = small("gr_mg")
    dataset = WindowDataset([_episode(data)], config, _words)
    observation, targets = WindowBatches(dataset, Sampling(batch_size=3, flow_points=4), 0)[0]
    assert observation.goal_rgb is not None
    assert observation.goal_rgb.shape == (3, 3, 32, 32)
    assert targets.progress is not None
    assert ((targets.progress[:, 1:] - targets.progress[:, :-1]) * 19).round().eq(1).all()


def test_progress_is_the_share_that_has_passed(data: Path) -> None:
    episode = _episode(data)
    progress = targets_at(episode, 1, small("gr_mg"), frames=[0], points=4).progress
    assert progress is not None
    assert progress.tolist() == [[0.0, pytest.approx(1 / 19), 0.0]]
    assert targets_at(episode, 1, preset("tiny"), frames=[0], points=4).progress is None

"""`evaluate`: the table, the JSON, tasks that were never trained on, and policies whose figures are known."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from model.config import preset
from model.errors import ConfigError, EpisodeError
from tests.factories import make_checkpoint, make_recording
from tests.policy_factories import make_policy
from trainer.episodes.packed import PackedEpisode, save_packed
from trainer.loop.checkpoint import load_checkpoint, save_inference_checkpoint
from trainer.metrics.catalog import METRICS
from trainer.metrics.evaluate import main
from trainer.metrics.summary import EpisodeScores, as_text, summarise_episode, table
from trainer.metrics.window import predict_window, rgb_now, score_window


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("episodes")
    for seed in range(2):
        save_packed(make_recording(length=24, size=(32, 32), frame_stride=1, seed=seed), folder / f"e{seed}")
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny")


def test_every_figure_is_reported_with_its_baseline(
    data: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(checkpoint), "--data", str(data), "--stride", "6", "--points", "40", "--threads", "1"]
    assert main([*arguments, "--json", str(tmp_path / "report.json")]) == 0
    printed = capsys.readouterr().out
    report = json.loads((tmp_path / "report.json").read_text())
    rows = next(iter(report["groups"].values()))
    per_view = {name for name in METRICS if name.startswith(("depth", "future"))}
    expected = {f"{view}.{name}" for view in ("static", "wrist") for name in per_view} | (METRICS.keys() - per_view)
    expected -= {"progress.abs_error"}  # this policy has no such head
    assert {row["metric"] for row in rows} == expected
    assert all(row["baseline"]["mean"] is not None for row in rows)
    assert all(row["model"]["n"] == 2 for row in rows)
    assert all(row["metric"] in printed for row in rows)
    assert [episode["times"] for episode in report["episodes"]] == [4, 4]
    assert report["content_hash"] == load_checkpoint(checkpoint).content_hash
    assert "NaN" not in (tmp_path / "report.json").read_text()


def test_tasks_that_were_not_trained_on_stand_apart(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    tiny = load_checkpoint(make_checkpoint(tmp_path / "tiny"))
    trained = {"tasks": ["another-task"], "episode_hashes": [PackedEpisode(data / "e0").content_hash[:12]]}
    save_inference_checkpoint(tmp_path / "told", tiny.policy, tiny.config, {"data": trained})
    options = ["--data", str(data), "--stride", "12", "--points", "8", "--threads", "1"]
    with caplog.at_level(logging.WARNING):
        main([str(tmp_path / "told"), *options])
    printed = capsys.readouterr().out
    assert "tasks never seen in training: 2 episodes" in printed
    assert "tasks seen" not in printed
    assert caplog.text.count("was trained on") == 1
    main([str(tmp_path / "tiny"), *options, "--unseen-task", "synthetic-lift"])
    assert "tasks never seen in training: 2 episodes" in capsys.readouterr().out


def test_a_window_is_scored_against_what_the_episode_really_shows(data: Path, checkpoint: Path) -> None:
    loaded, episode = load_checkpoint(checkpoint), PackedEpisode(data / "e0")
    window = predict_window(loaded.policy, episode, 10, points=40)
    np.testing.assert_array_equal(rgb_now(window, 0), episode.rgb("static", 10))
    scores = score_window(window, loaded.config)
    depth, mean = episode.depth("static", 10), loaded.config.stats.depth_mean[0]
    assert scores["static.depth.rmse_m.baseline"] == pytest.approx(np.sqrt(np.nanmean((depth - mean) ** 2)), rel=1e-5)
    later = episode.rgb("static", 13).astype(float)
    error = np.mean(((episode.rgb("static", 10) - later) / 255) ** 2)
    assert scores["static.future_rgb.psnr_db.baseline"] == pytest.approx(-10 * math.log10(error), rel=1e-6)
    assert window.prediction.flow_delta is not None
    still = dataclasses.replace(window.prediction, flow_delta=torch.zeros_like(window.prediction.flow_delta))
    scores = score_window(dataclasses.replace(window, prediction=still), loaded.config)
    assert scores["flow.moving.epe_mm"] == pytest.approx(scores["flow.moving.epe_mm.baseline"], rel=1e-9)
    assert scores["flow.moving.epe_mm"] > 1.0
    assert scores["flow_predicted_start.moving.epe_mm"] != pytest.approx(scores["flow.moving.epe_mm"], rel=1e-2)


def test_progress_stands_beside_one_half(data: Path) -> None:
    policy, episode = make_policy(dataclasses.replace(preset("tiny"), progress=True)), PackedEpisode(data / "e0")
    window = predict_window(policy, episode, 4, points=8)
    scores, true = score_window(window, policy.config), 4 / (episode.info.length - 1)
    assert window.prediction.progress is not None
    assert scores["progress.abs_error"] == pytest.approx(abs(float(window.prediction.progress[0, 2]) - true))
    assert scores["progress.abs_error.baseline"] == pytest.approx(0.5 - true)


def test_the_end_of_an_episode_has_no_future_to_score(data: Path, checkpoint: Path) -> None:
    loaded, episode = load_checkpoint(checkpoint), PackedEpisode(data / "e0")
    scores = score_window(predict_window(loaded.policy, episode, 23, points=8), loaded.config)
    assert "static.depth.abs_rel" in scores
    assert not any(name.startswith(("static.future", "flow")) for name in scores)
    first = score_window(predict_window(loaded.policy, episode, 0, points=8), loaded.config)
    assert "static.future_rgb.psnr_db" in first  # one frame of history is enough


def test_episodes_weigh_the_same_whatever_their_length() -> None:
    long = summarise_episode("a", "t", [{"depth.rmse_m": 1.0, "depth.rmse_m.baseline": 2.0}] * 9)
    short = summarise_episode(
        "b", "t", [{"depth.rmse_m": 3.0, "depth.rmse_m.baseline": 2.0}, {"depth.rmse_m": math.nan}]
    )
    row = table([long, short])[0]
    assert (row.model.mean, row.baseline.mean, row.skill, row.model.n) == (2.0, 2.0, 0.0, 2)
    nothing = EpisodeScores(name="c", task="t", values={"depth.rmse_m": math.nan}, times=1)
    assert "-" in as_text(table([nothing]))


def test_bad_input_is_named(checkpoint: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(checkpoint), "--data", str(data), "--stride", "0"])
    assert "--stride must be" in capsys.readouterr().err
    with pytest.raises(EpisodeError, match="does not exist"):
        main([str(checkpoint), "--data", str(tmp_path / "absent")])
    with pytest.raises(ConfigError, match="no packed episode"):
        main([str(checkpoint), "--data", str(checkpoint)])
    for place in (tmp_path, tmp_path / "absent" / "report.json"):
        with pytest.raises(ConfigError, match="--json"):
            main([str(checkpoint), "--data", str(data), "--json", str(place)])


def test_a_decoder_that_is_given_the_true_depth_has_no_figures_from_a_predicted_start(data: Path) -> None:
    tiny = preset("tiny")
    policy = make_policy(dataclasses.replace(tiny, flow=dataclasses.replace(tiny.flow, start_depth=True)))
    scores = score_window(predict_window(policy, PackedEpisode(data / "e0"), 10, points=8), policy.config)
    assert "flow.moving.epe_mm" in scores
    assert not any(name.startswith("flow_predicted_start") for name in scores)

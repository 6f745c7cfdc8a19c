"""What is said of a foreign episode: what is new to the policy, what was supplied, what could not be computed."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from model.cli import run_command
from model.errors import ConfigError
from tests.factories import make_checkpoint
from tests.foreign_factories import SIZE, plain_frames, write_video
from trainer.episodes.field_of_view import with_field_of_view
from trainer.episodes.open import open_episode
from trainer.metrics.catalog import metric_of
from workbench.__main__ import COMMANDS
from workbench.export.not_computed import all_metrics, not_computed
from workbench.familiar import assumed, unfamiliar

METADATA = {"data": {"tasks": ["libero_90-0"], "instructions": ["close the drawer"]}}


@pytest.fixture
def video(tmp_path: Path) -> str:
    write_video(tmp_path / "trial.mp4", plain_frames(0, 0, 4))
    return str(tmp_path / "trial.mp4")


def test_a_new_source_task_or_instruction_is_said(video: str) -> None:
    info = open_episode(video).info
    assert unfamiliar(info, METADATA) == ["source and camera never seen in training"]
    libero = dataclasses.replace(info, source="libero", instruction="fly", task="libero_90-7")
    assert unfamiliar(libero, METADATA) == ["task never seen in training", "instruction never seen in training"]
    known = dataclasses.replace(info, source="libero", instruction="close the drawer", task="libero_90-0")
    assert unfamiliar(known, METADATA) == []
    assert unfamiliar(info, {"data": {"sources": ["video"]}}) == []
    assert unfamiliar(info, {}) == unfamiliar(info, {"data": 3}) == []


def test_an_asked_for_field_of_view_is_marked_and_travels(video: str) -> None:
    plain = open_episode(video)
    episode = with_field_of_view(plain, 90.0)
    assert assumed(episode.info) == ["assumed: static intrinsics, static camera pose"]
    height, width = SIZE
    np.testing.assert_allclose(
        episode.intrinsics("static"), [[width / 2, 0, width / 2], [0, width / 2, height / 2], [0, 0, 1]]
    )
    forward = episode.T_world_camera("static")[0] @ [0, 0, 1, 0]
    np.testing.assert_allclose(forward, [1, 0, 0, 0])
    assert np.linalg.det(episode.T_world_camera("static")[0]) == pytest.approx(1)
    assert episode.content_hash != plain.content_hash
    again = copy.copy(episode)
    assert (again.content_hash, again.info) == (episode.content_hash, episode.info)
    assert with_field_of_view(episode, 30.0) is episode  # nothing is missing any more
    with pytest.raises(ConfigError, match="'fov_degrees' must be a number from 1 to 170"):
        with_field_of_view(plain, 180.0)


def test_a_lone_video_goes_through_inspect_with_and_without_a_field_of_view(video: str, tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "final")
    for fov in (None, 60):
        out = tmp_path / f"out-{fov}"
        flags = ["--checkpoint", str(tmp_path / "final"), "--out", str(out), "--stride", "3"]
        flags += [] if fov is None else ["--fov", str(fov)]
        assert run_command("workbench", COMMANDS, ["inspect", video, *flags]) == 0
        numbers = json.loads((out / "metrics.json").read_text())
        computed = {row["name"] for row in numbers["summary"]}
        missing = {row["name"]: row["reason"] for row in numbers["not_computed"]}
        assert missing["static.depth.rmse_m"] == "the episode has no static depth"
        assert missing["action.translation_mm"] == "the episode has no actions in known units"
        assert not computed & missing.keys()
        assert "no wrist camera: masked" in numbers["absent"]
        report = (out / "report.html").read_text()
        assert "no instruction" in report
        assert ("assumed: static intrinsics" in report) == (fov is not None)
        assert (out / "episode.rrd").stat().st_size > 1000


def test_every_figure_is_either_computed_or_null_with_its_reason() -> None:
    views = ("static", "wrist")
    names = all_metrics(views)
    assert all(metric_of(name) for name in names)
    reasons = {"wrist.": "no wrist", "static.depth.": "no depth", "flow": "no flow"}
    rows = not_computed(["static.future_rgb.psnr_db"], views, reasons)
    assert {row["name"] for row in rows} | {"static.future_rgb.psnr_db"} == set(names)
    told = {row["name"]: row["reason"] for row in rows}
    assert all(row["value"] is None for row in rows)
    assert told["wrist.depth.rmse_m"] == "no wrist"
    assert told["static.depth.rmse_m"] == "no depth"
    assert told["flow_predicted_start.still.epe_mm"] == "no flow"
    assert told["static.future_rgb.ssim"].startswith("no predicted step")

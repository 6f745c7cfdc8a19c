"""Labels by the commands, from the video to the report: pseudo is said wherever it touches anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.cli import run_command
from tests.factories import make_checkpoint, make_recording
from tests.foreign_factories import write_video
from tests.unit.test_label_depth import save_tiny_network
from trainer.__main__ import COMMANDS as TRAINER
from trainer.episodes.open import open_episode
from trainer.labels.overlay import Labelled, with_labels
from workbench.__main__ import COMMANDS as WORKBENCH
from workbench.charts.colours import ColourScale
from workbench.charts.panels import out_of_range
from workbench.pseudo import image_tracks, is_pseudo, label_badges, pseudo_remarks
from workbench.ui.payload import labelled_payload

REAL = Path(__file__).parents[3] / "shared" / "data" / "real"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video whose box moves, a checkpoint, a tiny depth network, and a store with tracks of the video."""
    folder = tmp_path_factory.mktemp("video")
    write_video(folder / "trial.mp4", make_recording(length=8, frame_stride=1, size=(96, 128)).views["static"].rgb)
    make_checkpoint(folder / "final")
    save_tiny_network(folder / "network", metric=True)
    labelled(folder, "tracks", "--grid", "12", "--reach", "5")
    return folder


def labelled(folder: Path, kind: str, *flags: str) -> None:
    store = ["--store", str(folder / "store"), "--workers", "1"]
    assert run_command("trainer", TRAINER, ["label", kind, str(folder / "trial.mp4"), *store, *flags]) == 0


def inspected(folder: Path, name: str, *flags: str) -> tuple[dict[str, Any], str]:
    argv = ["inspect", str(folder / "trial.mp4"), "--checkpoint", str(folder / "final"), "--out", str(folder / name)]
    argv += ["--labels", str(folder / "store"), "--stride", "3", *flags]
    assert run_command("workbench", WORKBENCH, argv) == 0
    return json.loads((folder / name / "metrics.json").read_text()), (folder / name / "report.html").read_text()


def test_a_video_has_2d_tracks_and_says_what_would_give_it_depth(work: Path) -> None:
    numbers, report = inspected(work, "tracks-only")
    said = " ".join(numbers["episode"]["notes"])
    assert "2D tracks by the classical recipe" in said
    assert "depth and 3D tracks are absent" in said
    assert "label depth trial.mp4#0 --view static --store store --model FOLDER" in said
    assert "Depth-Anything-V2" in said
    assert numbers["pseudo_truth"] == []
    assert "static 2D tracks: pseudo" in report
    assert "2D tracks by a tracker (pseudo)" in report
    assert "points move until t" in report


def test_a_depth_network_makes_it_3d_and_everything_says_pseudo(work: Path) -> None:
    labelled(work, "depth", "--model", str(work / "network"))
    numbers, report = inspected(work, "with-depth", "--fov", "60")
    assert (numbers["episode"]["depth_origin"], numbers["episode"]["depth_scale"]) == ("pseudo", "metric")
    truths = {row["name"]: row["truth"] for row in numbers["summary"]}
    assert truths["static.depth.rmse_m"] == truths["static.future_depth.rmse_m"] == "pseudo"
    assert truths["static.future_rgb.psnr_db"] == "recorded"
    assert any(name.startswith("flow.") for name in numbers["pseudo_truth"])
    assert {name for name, truth in truths.items() if truth == "pseudo"} == set(numbers["pseudo_truth"])
    heading = (work / "with-depth" / "numbers.csv").read_text().splitlines()[0]
    assert "static.depth.rmse_m (pseudo),static.depth.rmse_m.baseline (pseudo)" in heading
    assert "static.future_rgb.psnr_db," in heading
    for words in ("pseudo depth, metric", "static 3D tracks: pseudo", "depth minus pseudo", "against pseudo", "faded"):
        assert words in report
    assert "depth true<" not in report


def test_which_figures_compare_with_an_estimate() -> None:
    depth, tracks = ("pseudo_depth",), ("pseudo_tracks",)
    assert is_pseudo("static.depth.rmse_m", depth)
    assert is_pseudo("wrist.future_depth.rmse_m", depth)
    assert not is_pseudo("static.future_rgb.psnr_db", (*depth, *tracks))
    assert not is_pseudo("action.translation_mm", (*depth, *tracks))
    assert not is_pseudo("static.depth.rmse_m", tracks)
    assert is_pseudo("flow.moving.epe_mm", tracks)
    assert is_pseudo("flow_predicted_start.moving.epe_mm", tracks)
    assert not is_pseudo("flow.moving.epe_mm", ())


def test_lines_over_the_picture_start_at_the_grid_and_end_where_they_are_lost(work: Path) -> None:
    episode = with_labels(open_episode(work / "trial.mp4"), work / "store")
    assert isinstance(episode, Labelled)
    assert label_badges(episode) == ["static 2D tracks: pseudo"]  # no field of view: nothing in space
    assert "pseudo_tracks" not in pseudo_remarks(episode, ("static",))
    found = image_tracks(episode, "static", 0, (48, 64))
    assert found is not None
    assert found["of"] == 144
    assert found["until"] == 7
    lines = found["lines"]
    assert 3 < len(lines) < 144
    np.testing.assert_allclose(lines[:, 0] * 12 / (64, 48) % 1, 0.5, atol=1e-6)
    assert np.isnan(lines[:, 6:]).all()  # beyond the label's reach
    payload = labelled_payload(episode, 0, "static", (48, 64))
    assert payload is not None
    assert payload["lines"][0][7] == [None, None]
    assert labelled_payload(episode, 0, "static", None) is None
    assert image_tracks(episode, "wrist", 0, (48, 64)) is None


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real videos in ../shared/data/real")
@pytest.mark.parametrize("name", ["bridge_real_1.mp4", "rt1_coke.mp4"])
def test_real_videos_get_2d_tracks(name: str, tmp_path: Path) -> None:
    argv = ["label", "tracks", str(REAL / name), "--store", str(tmp_path), "--workers", "1", "--reach", "4"]
    assert run_command("trainer", TRAINER, argv) == 0
    episode = with_labels(open_episode(REAL / name), tmp_path)
    assert label_badges(episode) == ["static 2D tracks: pseudo"]
    assert not episode.has("depth", "static")
    moving = [image_tracks(episode, "static", int(step), (224, 224)) for step in episode.frame_steps[:-1:4]]
    assert max(len(item["lines"]) for item in moving if item) > 20
    assert "depth and 3D tracks are absent" in " ".join(episode.info.notes)


# --- true depth of another range than the policy knows ---

CALVIN = Path(__file__).parents[3] / "shared" / "data" / "calvin_mini"


def test_a_prediction_beyond_the_clips_colours_is_said_to_be_flat() -> None:
    scale = ColourScale(low=3.2, high=4.5, unit="m", label="depth")
    near = np.linspace(0.5, 1.1, 100).reshape(10, 10)
    assert out_of_range(near, scale).startswith("predicted depth is 0.51-1.09 m, the clip's range 3.20-4.50 m")
    assert out_of_range(near + 3, scale) == ""
    assert out_of_range(np.full((4, 4), np.nan), scale) == ""


@pytest.mark.skipif(not CALVIN.is_dir(), reason="needs the CALVIN episodes in ../shared/data/calvin_mini")
def test_metrics_on_calvin_use_its_true_depth(tmp_path: Path) -> None:
    make_checkpoint(tmp_path / "final")
    argv = [
        "inspect",
        str(CALVIN / "training"),
        "--checkpoint",
        str(tmp_path / "final"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert run_command("workbench", WORKBENCH, [*argv, "--stride", "40"]) == 0
    numbers = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert (numbers["episode"]["depth_origin"], numbers["pseudo_truth"]) == ("true", [])
    rows = {row["name"]: row for row in numbers["summary"]}
    for view in ("static", "wrist"):
        assert rows[f"{view}.depth.rmse_m"]["truth"] == "recorded"
        assert rows[f"{view}.future_depth.rmse_m"]["n"] >= 1
    episode = open_episode(CALVIN / "training")
    true = episode.depth("static", int(episode.frame_steps[0]))
    assert 3 < np.nanmedian(true) < 5
    assert rows["static.depth.rmse_m"]["value"] > 0.5 * np.nanmedian(true)  # the policy knows another distance

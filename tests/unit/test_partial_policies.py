"""Policies that predict only some of it: everything else is shown, and what is absent is said, not drawn."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.config import PolicyConfig, preset
from tests.factories import make_recording
from tests.policy_factories import make_policy, small
from trainer.episodes.episode import Episode
from trainer.episodes.open import open_episode
from trainer.episodes.packed import save_packed
from trainer.loop.checkpoint import save_inference_checkpoint
from workbench.attention.explain import Question
from workbench.attention.maps import GOAL
from workbench.attention.weights import raw_weights
from workbench.charts.attention_time import drawn_names
from workbench.charts.panels import clip_scales, future_panels, now_panels
from workbench.charts.tracks import tracks_panel
from workbench.foresight import REMARKS, Foresight
from workbench.inspect import Options, inspect_episode
from workbench.predict import Predictor
from workbench.ui.attention_view import attention_payload
from workbench.ui.payload import frame_payload

POLICIES = {
    "no_depth": ("tiny+no_depth", {"no_depth"}),
    "no_future": ("tiny+no_future", {"no_future"}),
    "no_flow": ("tiny+no_flow", {"no_flow"}),
    "only_flow": ("tiny+only_flow", {"no_depth", "no_future"}),
    "foresight": ("foresight", {"patch_colours"}),
    "foresight_2d": ("foresight_2d", {"no_depth", "no_future_depth", "flat_flow", "patch_colours"}),
    "gr_mg": ("gr_mg", {"no_depth", "no_future_depth", "no_flow", "patch_colours", "given_goal"}),
}


def _config(name: str) -> PolicyConfig:
    return preset(name) if name.startswith("tiny") else small(name)


@pytest.fixture(scope="module")
def episode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("episode") / "e"
    save_packed(make_recording(length=16, size=(32, 32), frame_stride=1), folder, encoding="mapped")
    return folder


def _predictor(name: str, folder: Path) -> Predictor:
    config = _config(name)
    save_inference_checkpoint(folder / "checkpoint", make_policy(config), config, {"weights": "EMA"})
    return Predictor(folder / "checkpoint")


def _panels(foresight: Foresight, episode: Episode) -> dict[str, Any]:
    scales = clip_scales(episode, fallback={})
    shown = [*now_panels(foresight, "static", scales), *future_panels(foresight, "static", scales)]
    return {panel.key.removeprefix("static."): panel for panel in shown}


@pytest.mark.parametrize("case", POLICIES)
def test_what_is_absent_is_said(case: str, episode: Path, tmp_path: Path) -> None:
    name, remarks = POLICIES[case]
    opened = open_episode(episode)
    foresight = _predictor(name, tmp_path).foresee(opened, 6)
    assert set(foresight.remarks) == remarks
    seen, panels = foresight.views["static"], _panels(foresight, opened)
    assert (seen.depth is None) == ("no_depth" in remarks)
    assert (seen.future_rgb is None) == ("no_future" in remarks)
    assert (seen.future_depth is None) == bool(remarks & {"no_future", "no_future_depth"})
    for key in ("rgb", "depth_true", "future_rgb_true", "copy_last", "future_depth_true"):
        assert panels[key].image is not None, key
    if "no_depth" in remarks:
        assert [panels[key].note for key in ("depth", "depth_error")] == [REMARKS["no_depth"]] * 2
    if remarks & {"no_future", "no_future_depth"}:
        assert panels["future_depth"].image is None
        assert "predicts no future" in panels["future_depth"].note
        assert panels["future_depth_error"].note == panels["future_depth"].note
    if "patch_colours" in remarks:
        assert panels["future_rgb"].note == REMARKS["patch_colours"]
    if "given_goal" in remarks:
        assert REMARKS["given_goal"] in panels["rgb"].note
    scores = {
        metric.split(".")[0] if metric.startswith("flow") else metric.split(".")[1] for metric in foresight.metrics
    }
    assert ("depth" in scores) == ("no_depth" not in remarks)
    assert ("flow" in scores) == ("no_flow" not in remarks)


@pytest.mark.parametrize("case", ["no_flow", "gr_mg"])
def test_without_flow_there_are_no_points(case: str, episode: Path, tmp_path: Path) -> None:
    opened = open_episode(episode)
    foresight = _predictor(POLICIES[case][0], tmp_path).foresee(opened, 6)
    assert foresight.flow.uvz.shape == (0, 4, 3)
    assert not foresight.attention.has_flow
    assert "FLOW" not in drawn_names([foresight])
    assert tracks_panel(foresight).note == REMARKS["no_flow"]
    shown = attention_payload(foresight, Question(), raw_weights(foresight.attention.maps), 0, opened.rgb)
    assert len(shown["overlays"]) == 2
    assert any("no FLOW tokens" in line for line in shown["what"])
    payload = json.loads(
        json.dumps(frame_payload(foresight, "static", clip_scales(opened, fallback={}), origin="live"))
    )
    assert payload["no_points"] == REMARKS["no_flow"]
    assert payload["tracks"]["of"] == 0
    assert np.allclose(foresight.attention.to_group.sum(-1), 1.0, atol=1e-4)
    assert (GOAL in foresight.attention.groups) == (case == "gr_mg")


def test_lateral_flow_keeps_the_depth_of_its_start(episode: Path, tmp_path: Path) -> None:
    foresight = _predictor("foresight_2d", tmp_path).foresee(open_episode(episode), 6)
    assert np.ptp(foresight.flow.uvz[:, :, 2], axis=1).max() == 0
    assert np.ptp(foresight.flow.uvz[:, :, 0], axis=1).max() > 0
    assert REMARKS["flat_flow"] in tracks_panel(foresight).note


@pytest.mark.parametrize("case", ["foresight_2d", "gr_mg"])
def test_inspect_writes_all_it_can(case: str, episode: Path, tmp_path: Path) -> None:
    _predictor(POLICIES[case][0], tmp_path)
    options = Options(episode=str(episode), checkpoint=tmp_path / "checkpoint", out=tmp_path / "out", stride=5)
    inspect_episode(options)
    report = (tmp_path / "out" / "report.html").read_text()
    assert REMARKS["no_depth"] in report
    said = [REMARKS[name] for name in sorted(POLICIES[case][1])]
    assert all(f"<p class=quiet>{remark}</p>" in report for remark in said)
    numbers = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert sorted(numbers["remarks"]) == sorted(said)  # the goal that was given among them
    without = {row["name"]: row["reason"] for row in numbers["not_computed"]}
    assert without["static.depth.rmse_m"] == "the policy predicts no depth"
    assert ("progress.abs_error" in without) == (case != "gr_mg")
    assert (tmp_path / "out" / "episode.rrd").stat().st_size > 1000


def test_nobody_knows_the_depth(tmp_path: Path) -> None:
    """A policy without depth on an episode without depth: tracks in the image, nothing in 3D."""
    full, bare = make_recording(length=16, size=(32, 32), frame_stride=1), tmp_path / "e"
    views = {view: replace(seen, depth=None, body=None) for view, seen in full.views.items()}
    info = replace(full.info, depth_scale=None, depth_origin=None, has_exact_flow=False)
    recording = replace(full, info=info, views=views, body_pose=None, body_names=())
    save_packed(recording, bare, encoding="mapped")
    options = Options(
        episode=str(bare), checkpoint=_predictor("foresight_2d", tmp_path).checkpoint, out=tmp_path / "out", stride=8
    )
    inspect_episode(options)
    foresight = Predictor(tmp_path / "checkpoint").foresee(open_episode(bare), 6)
    assert np.isnan(foresight.flow.uvz[:, :, 2]).all()
    assert np.isfinite(foresight.flow.uvz[:, :, :2]).all()

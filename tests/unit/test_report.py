"""The exports: complete, offline, without anything that a browser or a spreadsheet would run."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import re

import numpy as np
import pytest
from safetensors.numpy import load

from tests.factories import make_foresight, make_recording
from trainer.episodes.memory import MemoryEpisode
from workbench.charts.panels import clip_scales
from workbench.export.numbers import metrics_json, numbers_csv, provenance, summary_rows
from workbench.export.predictions import MEANINGS, predictions_bytes, predictions_json
from workbench.export.report import MOMENTS, chosen_moments, report_html
from workbench.foresight import Foresight
from workbench.predict import CheckpointSummary

SUMMARY = CheckpointSummary(
    name="final", preset="tiny", weights="EMA", parameters=1, content_hash="c" * 64, metadata={}
)


@pytest.fixture(scope="module")
def episode() -> MemoryEpisode:
    return MemoryEpisode(make_recording(length=24, size=(32, 32), instruction="lift <b>the</b> box"))


@pytest.fixture(scope="module")
def foresights(episode: MemoryEpisode) -> list[Foresight]:
    return [make_foresight(episode, int(step)) for step in episode.frame_steps]


def test_summary_is_the_mean_over_steps_with_a_value(foresights: list[Foresight]) -> None:
    rows = {row.name: row for row in summary_rows(foresights)}
    assert "action.translation_mm" not in rows  # NaN at every step
    row = rows["flow.moving.epe_mm"]
    assert row.n == len(foresights) == 12
    assert row.baseline == pytest.approx(20 + np.mean([f.step for f in foresights]))
    assert row.skill == pytest.approx(1 - 10 / row.baseline)
    gone = dataclasses.replace(foresights[0], metrics={"flow.moving.epe_mm": math.nan})
    assert next(r.n for r in summary_rows([gone, *foresights]) if r.name == "flow.moving.epe_mm") == 12


def test_metrics_json_is_strict_json_with_its_origin(episode: MemoryEpisode, foresights: list[Foresight]) -> None:
    facts = provenance(episode, SUMMARY)
    text = metrics_json(facts, summary_rows(foresights), foresights, [], {})
    data = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert data["episode"]["sha256"] == episode.content_hash
    assert data["checkpoint"]["sha256"] == "c" * 64
    assert data["versions"]["torch"]
    assert [step["step"] for step in data["steps"]] == episode.frame_steps.tolist()
    assert data["steps"][0]["metrics"]["action.translation_mm"] is None


def test_csv_has_a_line_a_step(foresights: list[Foresight]) -> None:
    table = list(csv.DictReader(io.StringIO(numbers_csv(foresights))))
    assert len(table) == 12
    assert table[1]["step"] == "2"
    assert float(table[1]["flow.moving.epe_mm.baseline"]) == 22.0
    assert table[1]["action.translation_mm"] == ""


def test_arrays_have_the_time_in_front(episode: MemoryEpisode, foresights: list[Foresight]) -> None:
    arrays = load(predictions_bytes(foresights))
    assert arrays["step"].tolist() == episode.frame_steps.tolist()
    assert arrays["views.static.depth"].shape == (12, 32, 32)
    np.testing.assert_array_equal(arrays["flow.uvz"][3], foresights[3].flow.uvz)
    assert not any(name.endswith("_true") for name in arrays)
    facts = json.loads(predictions_json(provenance(episode, SUMMARY), foresights))
    described = [re.compile(name.replace(".", r"\.").replace("*", r"\w+")) for name in MEANINGS]
    unnamed = [n for n in arrays if n not in ("step", "future_step") and not any(p.fullmatch(n) for p in described)]
    assert not unnamed
    assert facts["flow_start_depth"] == "true"


def test_moments_start_with_the_worst(foresights: list[Foresight]) -> None:
    chosen = chosen_moments(foresights)
    assert len(chosen) == MOMENTS
    assert [f.step for f, _ in chosen] == sorted(f.step for f, _ in chosen)
    reasons = {f.step: why for f, why in chosen}
    assert "3D flow" in reasons[0]  # the baseline grows with the step, so the skill is lowest at 0
    assert chosen_moments(foresights[:1])[0][0].step == 0


def test_report_opens_offline_and_shows_what_is_there(episode: MemoryEpisode, foresights: list[Foresight]) -> None:
    scales = clip_scales(episode, fallback={})
    html = report_html(episode, foresights, summary_rows(foresights), scales, provenance(episode, SUMMARY), {})
    assert "<script" not in html
    assert "lift &lt;b&gt;the&lt;/b&gt; box" in html
    assert "<b>" not in html
    assert not re.search(r'(?:src|href)="(?!data:|#)', html)
    assert not re.search(r"url\((?!#)", html)
    assert len(html) < 10e6
    for text in ("depth predicted", "RGB copy-last", "through the resampler", "moving points", "prefers-color-scheme"):
        assert text in html
    assert html.count("<svg") == 2
    assert "could not be predicted" not in html
    assert "NaN" not in html


def test_report_names_the_steps_that_it_lacks(episode: MemoryEpisode, foresights: list[Foresight]) -> None:
    scales, facts = clip_scales(episode, fallback={}), provenance(episode, SUMMARY)
    html = report_html(episode, foresights, [], scales, facts, {7: "7.png is <cut>"})
    assert "1 step could not be predicted" in html
    assert "<td>7</td><td>7.png is &lt;cut&gt;</td>" in html


def test_report_of_an_episode_that_lacks_nearly_everything(foresights: list[Foresight]) -> None:
    recording = make_recording(length=24, size=(32, 32), views=("static",))
    info = dataclasses.replace(recording.info, depth_origin=None, depth_scale=None, has_exact_flow=False)
    view = dataclasses.replace(recording.views["static"], depth=None, body=None, K=None, T_world_camera=None)
    blind = MemoryEpisode(dataclasses.replace(recording, info=info, views={"static": view}, body_pose=None))
    seen = dataclasses.replace(
        foresights[0].views["static"], depth_true=None, future_depth_true=None, K=None, T_world_camera=None
    )
    flow = dataclasses.replace(
        foresights[0].flow, uvz_true=None, known=None, visible_true=None, start_depth="predicted"
    )
    attention = foresights[0].attention
    attention = dataclasses.replace(attention, through_resampler={"static": attention.through_resampler["static"]})
    bare = dataclasses.replace(
        foresights[0], views={"static": seen}, flow=flow, attention=attention, metrics={}, action_true=None
    )
    scales = clip_scales(blind, fallback={"static": (0.5, 2.0)})
    html = report_html(blind, [bare], summary_rows([bare]), scales, provenance(blind, SUMMARY), {})
    assert "no true depth" in html
    assert "No figure has a value" in html

"""Panels, colour scales, figures and their table twins: drawn from the truth's range, sorted, complete."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from model.errors import ConfigError
from tests.factories import make_foresight, make_recording
from trainer.episodes.episode import View
from trainer.episodes.memory import MemoryEpisode
from trainer.metrics.flow import unproject
from workbench.charts.attention_time import (
    ENTROPY,
    attention_rows,
    attention_share_timeline,
    attention_timeline,
    drawn_names,
)
from workbench.charts.colours import DEPTH_MAP, NO_VALUE, ColourScale, lookup_table, symmetric
from workbench.charts.features import MOST_TOGETHER, feature_figures
from workbench.charts.labels import HEADLINES, label_of, unit_of
from workbench.charts.panels import attention_overlay, attribution_overlay, clip_scales, future_panels, now_panels
from workbench.charts.tables import number_rows, point_rows, series_rows
from workbench.charts.timeline import error_timeline
from workbench.charts.tracks import tracks_panel
from workbench.foresight import Foresight


@pytest.fixture(scope="module")
def episode() -> MemoryEpisode:
    return MemoryEpisode(make_recording(length=20, size=(32, 32)))


@pytest.fixture(scope="module")
def foresights(episode: MemoryEpisode) -> list[Foresight]:
    return [make_foresight(episode, step) for step in (8, 4, 0)]  # any order


def test_scale_paints_ends_middle_and_nothing() -> None:
    scale = ColourScale(low=1.0, high=3.0, unit="m", label="depth")
    image = scale.paint(np.array([[0.0, 1.0, 2.0], [3.0, 9.0, np.nan]]))
    table = lookup_table(DEPTH_MAP)
    np.testing.assert_array_equal(image[0, 0], table[0])
    np.testing.assert_array_equal(image[0, 1], table[0])
    np.testing.assert_array_equal(image[0, 2], table[128])
    np.testing.assert_array_equal(image[1, 0], table[255])
    np.testing.assert_array_equal(image[1, 1], table[255])
    np.testing.assert_array_equal(image[1, 2], NO_VALUE)


def test_log_scale_gives_equal_ratios_equal_distances_and_its_bar_says_so() -> None:
    scale = ColourScale(low=0.04, high=4.0, unit="m", label="depth", log=True)
    image = scale.paint(np.array([[-1.0, 0.0, 0.04], [0.4, 4.0, np.nan]]))
    table = lookup_table(DEPTH_MAP)
    for pixel, colour in zip(image.reshape(-1, 3), (0, 0, 0, 128, 255), strict=False):
        np.testing.assert_array_equal(pixel, table[colour])
    np.testing.assert_array_equal(image[1, 2], NO_VALUE)
    assert [text for _, text in scale.ticks()] == ["0.04", "0.4", "4"]
    assert "[m], log scale, grey" in scale.bar_html()
    assert "log" not in dataclasses.replace(scale, log=False).bar_html()


def test_a_camera_that_sees_its_fingers_and_the_far_wall_keeps_contrast_between_them() -> None:
    class Lifted(MemoryEpisode):
        def depth(self, view: View, step: int) -> np.ndarray[Any, Any]:
            return np.where(np.arange(32) < 8, 0.04, 3.0 if step > 10 else 0.3) * np.ones((32, 32))

    scale = clip_scales(Lifted(make_recording(length=20, size=(32, 32))), fallback={}).depth["wrist"]
    assert scale.log
    finger, table, wall = scale.paint(np.array([[0.04, 0.3, 3.0]])).astype(int)[0]
    assert min(np.abs(finger - table).max(), np.abs(wall - table).max()) > 60
    assert not clip_scales(MemoryEpisode(make_recording(length=20, size=(32, 32))), fallback={}).depth["static"].log


def test_error_scale_has_its_lightest_colour_at_zero() -> None:
    colours = symmetric(50.0, unit="mm", label="error").paint(np.linspace(-50, 50, 101)[None]).astype(int)[0]
    assert abs(int(colours.sum(axis=-1).argmax()) - 50) <= 1
    assert colours[0, 2] > colours[0, 0]  # too near: blue
    assert colours[-1, 0] > colours[-1, 2]  # too far: red


def test_bar_says_what_and_escapes() -> None:
    bar = ColourScale(low=0.5, high=2.0, unit="m", label="<depth>").bar_html()
    for text in ("0.50", "1.25", "2.00", "[m]", "&lt;depth&gt;", "linear-gradient"):
        assert text in bar
    assert "<depth>" not in bar
    assert [text for _, text in symmetric(50.0, unit="mm", label="error").ticks()] == ["-50", "0", "50"]


def test_ranges_come_from_the_truth_and_never_from_the_prediction(
    episode: MemoryEpisode, foresights: list[Foresight]
) -> None:
    scales = clip_scales(episode, fallback={})
    depth = np.concatenate([episode.depth("static", int(step)).ravel() for step in episode.frame_steps])
    low, high = np.nanpercentile(depth, (2, 98))
    assert scales.depth["static"].low == pytest.approx(low, abs=0.02)
    assert scales.depth["static"].high == pytest.approx(high, abs=0.02)
    wild = dataclasses.replace(foresights[0].views["static"], depth=100 * foresights[0].views["static"].depth)
    spoilt = dataclasses.replace(foresights[0], views={**foresights[0].views, "static": wild})
    assert now_panels(spoilt, "static", scales)[1].scale == now_panels(spoilt, "static", scales)[2].scale


def test_now_panels_show_the_error_that_was_planted(episode: MemoryEpisode, foresights: list[Foresight]) -> None:
    scales = clip_scales(episode, fallback={})
    panels = now_panels(foresights[0], "static", scales)
    assert [panel.title for panel in panels] == ["RGB", "depth predicted", "depth true", "depth error"]
    image, scale = panels[3].image, panels[3].scale
    assert image is not None
    assert scale is not None
    np.testing.assert_array_equal(image, scale.paint(np.full((32, 32), 10.0)))  # 10 mm too far everywhere


def test_absent_things_are_absent_and_say_why(episode: MemoryEpisode) -> None:
    scales = clip_scales(episode, fallback={})
    last = make_foresight(episode, 18)
    seen = dataclasses.replace(last.views["static"], depth_true=None)
    late = dataclasses.replace(last, views={"static": seen})
    assert [panel.image is None for panel in now_panels(late, "static", scales)] == [False, False, True, True]
    assert all("wrist" in panel.note for panel in now_panels(late, "wrist", scales))
    future = {panel.title: panel for panel in future_panels(late, "static", scales)}
    assert future["RGB that came"].image is None
    assert future["RGB that came"].note
    assert future["RGB predicted"].image is not None


def test_scales_without_true_depth_are_the_stated_ones() -> None:
    recording = make_recording(length=8, size=(16, 16), views=("static",))
    info = dataclasses.replace(recording.info, depth_origin=None, depth_scale=None, has_exact_flow=False)
    view = dataclasses.replace(recording.views["static"], depth=None, body=None)
    blind = MemoryEpisode(dataclasses.replace(recording, info=info, views={"static": view}, body_pose=None))
    scales = clip_scales(blind, fallback={"static": (0.4, 1.6)})
    assert (scales.depth["static"].low, scales.depth["static"].high) == (0.4, 1.6)
    assert "true" not in scales.origin


def test_overlay_is_brightest_where_attention_is(foresights: list[Foresight]) -> None:
    rgb = np.full((8, 8, 3), 100, np.uint8)
    weight = np.zeros((8, 8))
    weight[2, 5] = 1.0
    image = attention_overlay(rgb, weight).image
    assert image is not None
    assert np.unravel_index(image.sum(axis=-1).argmax(), (8, 8)) == (2, 5)


def test_signed_overlay_is_red_where_it_raises_and_blue_where_it_lowers() -> None:
    weight = np.zeros((8, 8))
    weight[1, 1], weight[6, 6] = 2.0, -2.0
    panel = attribution_overlay(np.full((8, 8, 3), 100, np.uint8), weight, limit=2.0, unit="mm per patch")
    assert panel.image is not None
    red, _, blue = np.moveaxis(panel.image.astype(int), -1, 0)
    assert red[1, 1] > blue[1, 1] + 50
    assert blue[6, 6] > red[6, 6] + 50
    assert abs(red[4, 4] - blue[4, 4]) < 10


def test_tracks_are_drawn_where_points_move(foresights: list[Foresight]) -> None:
    panel = tracks_panel(foresights[0], enlarge=4)
    assert panel.image is not None
    assert panel.image.shape == (128, 128, 3)
    flow = foresights[0].flow
    resting = np.repeat(flow.uvz[:, :1], 4, axis=1)
    flat = dataclasses.replace(
        flow, uvz=resting, moving=np.zeros(60, bool), uvz_true=None, known=None, visible_true=None
    )
    plain = tracks_panel(dataclasses.replace(foresights[0], flow=flat), enlarge=4)
    assert plain.note.startswith("predicted solid, no true tracks here; 0 of 60")
    assert (panel.image != plain.image).any()


def test_point_rows_split_the_error_by_the_ray(foresights: list[Foresight]) -> None:
    foresight = foresights[0]
    rows = point_rows(foresight, limit=None)
    flow, K = foresight.flow, foresight.views["static"].K
    assert flow.known is not None
    assert flow.uvz_true is not None
    assert K is not None
    assert len(rows) == int(flow.known[:, 1:].any(axis=1).sum())
    sizes = [math.hypot(row.lateral_mm, row.along_mm) for row in rows]
    assert sizes == sorted(sizes, reverse=True)
    assert all(row.px == pytest.approx(0.0, abs=1e-6) and row.along_mm > 29 for row in rows)  # z is 30 mm too far
    worst = rows[0]
    last = int(np.flatnonzero(flow.steps == worst.step)[0])
    path = unproject(flow.uvz_true[worst.point, [0, last]], K)
    assert worst.moved_mm == pytest.approx(1000 * float(np.linalg.norm(path[1] - path[0])))
    assert len(point_rows(foresight)) == 20


def test_number_rows_carry_baseline_and_skill(foresights: list[Foresight]) -> None:
    rows = {row.name: row for row in number_rows(foresights[0])}
    assert rows["static.depth.rmse_m"].skill == pytest.approx(0.9)
    assert rows["flow.moving.along_mm"].skill is None  # a signed bias has none
    assert "action.translation_mm" not in rows  # no value at this time
    assert rows["flow.moving.epe_mm"].label == "3D flow · moving points · 3D error"


def test_timeline_is_sorted_gapped_and_json(foresights: list[Foresight]) -> None:
    figure = error_timeline(foresights, length=20, cursor=4)
    text = json.dumps(figure, allow_nan=False)
    assert "NaN" not in text
    by_name = {trace["name"]: trace for trace in figure["data"] if trace["name"] != "baseline"}
    assert by_name[label_of("static.depth.rmse_m")]["x"] == [0, 4, 8]
    assert by_name[label_of("action.translation_mm")]["y"] == [None, None, None]
    dotted = [trace for trace in figure["data"] if trace["line"].get("dash") == "dot"]
    assert len(dotted) == len(by_name) == 3
    assert figure["layout"]["shapes"][0]["x0"] == 4
    assert figure["layout"]["xaxis"]["range"] == [-0.5, 19.5]


def test_skill_timeline(foresights: list[Foresight]) -> None:
    figure = error_timeline(foresights, names=["flow.moving.epe_mm"], length=20, quantity="skill")
    assert figure["data"][0]["y"] == pytest.approx([1 - 10 / 20, 1 - 10 / 24, 1 - 10 / 28])
    assert error_timeline([], length=20)["data"] == []


def test_attention_heat_map_and_its_twin(foresights: list[Foresight]) -> None:
    figure = attention_timeline(foresights, length=20)
    rows = attention_rows(foresights)
    assert len(rows) == 3 * 2 * 4
    first = rows[0]
    assert figure["data"][0]["z"][0][0] == pytest.approx(first["lift"])
    assert first["lift"] == pytest.approx(first["share on FLOW"] / 0.1)
    assert (first["step"], first["layer"], first["head"]) == (0.0, 1.0, 1.0)
    assert len(figure["data"][0]["y"]) == 8
    json.dumps(figure, allow_nan=False)


def test_attention_over_time_can_be_drawn_for_every_group_and_as_entropy(foresights: list[Foresight]) -> None:
    assert drawn_names(foresights) == ["FLOW", "STATE", "earlier frames", ENTROPY]
    state = attention_share_timeline(foresights, length=20, name="STATE")["data"]
    mass = foresights[2].attention.to_group[0, :, 1].mean()  # step 0, layer 1
    assert state[0]["y"][0] == pytest.approx(100 * mass)
    assert state[-1]["y"] == pytest.approx([5.0] * 3)
    spread = attention_timeline(foresights, length=20, name=ENTROPY)["data"][0]
    assert spread["z"][0][0] == pytest.approx(foresights[2].attention.entropy[0, 0])
    assert (spread["zmin"], spread["zmax"]) == (0, 1)
    assert all(math.isnan(row["lift"]) for row in attention_rows(foresights, ENTROPY))
    with pytest.raises(ConfigError, match="no token group 'WINGS'"):
        attention_rows(foresights, "WINGS")


def test_series_rows_twin(foresights: list[Foresight]) -> None:
    rows = series_rows(foresights, ["flow.moving.epe_mm", "static.depth.delta1"])
    assert [row["step"] for row in rows] == [0.0, 4.0, 8.0]
    assert rows[1]["flow.moving.epe_mm.baseline"] == 24.0
    assert math.isnan(rows[0]["static.depth.delta1"])


def test_headlines_are_metrics() -> None:
    assert all(isinstance(unit_of(name), str) and label_of(name) for name in HEADLINES)


def test_charts_import_neither_plotly_nor_matplotlib_nor_torch() -> None:
    code = (
        "import sys, workbench.charts.panels, workbench.charts.timeline, workbench.charts.tables, "
        "workbench.charts.tracks, workbench.scene.picking; "
        "print([name for name in ('plotly', 'matplotlib', 'torch', 'rerun', 'cv2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_columns_of_a_table_share_a_figure_and_a_clock_stands_alone() -> None:
    column = np.arange(4.0)[:, None]
    many = {f"wide/c{index}": column for index in range(MOST_TOGETHER + 1)}
    features = {
        "arm/x": column,
        "reward": column,
        "arm/time": 1e9 + column,
        "arm/y": column + 1,
        "arm/pose": np.zeros((4, 7)),
        "alone/x": column,
        **many,
    }
    recording = dataclasses.replace(make_recording(length=4, size=(16, 16)), features=features)
    figures = {figure["name"]: figure for figure in feature_figures(MemoryEpisode(recording))}
    assert list(figures) == ["state", "action", "arm", "reward", "arm/time", "arm/pose", "alone/x", *many]
    assert figures["arm"]["columns"] == ["step", "x", "y"]
    assert [trace["y"] for trace in figures["arm"]["figure"]["data"]] == [[0, 1, 2, 3], [1, 2, 3, 4]]
    assert figures["arm"]["rows"][2] == [2, 2, 3]

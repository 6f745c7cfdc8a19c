"""What is drawn of the flow: the same points at every time, from the same pass as the numbers and beside them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.config import PolicyConfig, preset
from model.policy import Policy
from tests.factories import make_recording
from tests.policy_factories import make_policy
from trainer.episodes.memory import MemoryEpisode
from trainer.loop.checkpoint import save_inference_checkpoint
from trainer.metrics.window import predict_window, score_window
from workbench.charts.tracks import tracks_panel
from workbench.drawn_points import GRID, drawn_points, raster
from workbench.foresight import REMARKS, Foresight
from workbench.infer import assemble, gather, run_policy
from workbench.predict import Predictor

SIZE = 64


@pytest.fixture(scope="module")
def episode() -> MemoryEpisode:
    return MemoryEpisode(make_recording(length=14, frame_stride=1, size=(SIZE, SIZE)))


def _foresee(policy: Policy, episode: MemoryEpisode, steps: list[int]) -> list[Foresight]:
    inputs = [gather(policy, episode, step) for step in steps]
    made = run_policy(policy, inputs)
    return [assemble(policy, episode, item, out, None) for item, out in zip(inputs, made, strict=True)]


def test_the_raster_is_even_and_on_pixel_centres() -> None:
    uv = raster(128, 256)
    assert uv.shape == (GRID**2, 2)
    assert np.array_equal(uv % 1, np.full_like(uv, 0.5))
    for column, length in ((0, 256), (1, 128)):
        places = np.unique(uv[:, column])
        assert len(places) == GRID
        assert np.ptp(np.diff(places)) <= 1  # evenly, but for whole pixels
        assert places[0] + places[-1] == pytest.approx(length, abs=length / GRID)
    assert (raster(20, 20) < 20).all()  # more points than pixels: some twice


def test_a_track_does_not_jump_between_times(episode: MemoryEpisode) -> None:
    policy = make_policy(preset("tiny"))
    one, two = _foresee(policy, episode, [4, 5])
    assert np.array_equal(one.flow.uvz[:, 0, :2], two.flow.uvz[:, 0, :2])
    assert np.array_equal(one.flow.uvz[:, 0, :2] * SIZE / policy.config.image_size, raster(SIZE, SIZE))
    assert one.flow.moving.any()
    assert not np.array_equal(one.flow.uvz[:, 1:], two.flow.uvz[:, 1:])


def test_the_truth_is_that_of_the_drawn_points(episode: MemoryEpisode) -> None:
    policy = make_policy(preset("tiny"))
    (found,) = _foresee(policy, episode, [5])
    uv = raster(SIZE, SIZE)
    tracks = episode.tracks("static", 5, uv, np.array([6, 7, 8]))
    scale = policy.config.image_size / SIZE
    assert found.flow.uvz_true is not None
    assert found.flow.known is not None
    seen = found.flow.known[:, 1:]
    np.testing.assert_allclose(found.flow.uvz_true[:, 1:, :2][seen], tracks.uvz[..., :2][seen] * scale, atol=1e-4)
    assert found.flow.visible_true is not None
    np.testing.assert_array_equal(found.flow.visible_true[:, 1:], tracks.visible)
    assert found.attention.flow_points.shape == (GRID**2,)
    assert found.attention.flow_points.sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("attention", ["cross", "full"])
def test_the_numbers_are_those_without_drawing(attention: str, episode: MemoryEpisode) -> None:
    tiny = preset("tiny")
    policy = make_policy(replace(tiny, flow=replace(tiny.flow, attention=attention)))  # pyright: ignore[reportArgumentType]
    (found,) = _foresee(policy, episode, [5])
    alone = score_window(predict_window(policy, episode, 5, points=1250), policy.config)
    assert found.metrics == pytest.approx(alone, rel=1e-4, abs=1e-4, nan_ok=True)


def test_the_trunk_runs_once(episode: MemoryEpisode) -> None:
    policy = make_policy(preset("tiny"))
    calls: list[str] = []
    for name, part in (("trunk", policy.trunk), ("images", policy.images), ("flow", policy.flow)):
        assert part is not None
        part.register_forward_hook(lambda *_, name=name: calls.append(name))
    _foresee(policy, episode, [5])
    assert calls.count("trunk") == 1
    assert calls.count("flow") == 2


def _with(**changes: object) -> PolicyConfig:
    tiny = preset("tiny")
    return replace(tiny, flow=replace(tiny.flow, **changes))  # pyright: ignore[reportArgumentType]


def test_a_flow_in_metres_is_drawn_where_the_camera_sees_it(episode: MemoryEpisode) -> None:
    policy = make_policy(_with(coordinates="camera"))
    (found,) = _foresee(policy, episode, [5])
    inputs = gather(policy, episode, 5)
    (made,) = run_policy(policy, [inputs])
    assert made.drawn_flow.flow_delta is not None
    K = found.views["static"].K
    assert K is not None

    def place(uvz: np.ndarray) -> np.ndarray:
        x, y = (uvz[..., 0] - K[0, 2]) * uvz[..., 2] / K[0, 0], (uvz[..., 1] - K[1, 2]) * uvz[..., 2] / K[1, 1]
        return np.stack([x, y, uvz[..., 2]], -1)

    places = place(found.flow.uvz.astype(float))
    moved = places[:, 1:] - places[:, :1]
    np.testing.assert_allclose(moved, made.drawn_flow.flow_delta[0, 0].numpy(), atol=1e-4)


def test_without_truth_tracks_start_from_the_predicted_depth() -> None:
    full = make_recording(length=10, frame_stride=1, size=(SIZE, SIZE))
    info = replace(full.info, has_exact_flow=False, depth_scale=None, depth_origin=None)
    views = {view: replace(seen, depth=None, body=None) for view, seen in full.views.items()}
    blind = MemoryEpisode(replace(full, info=info, views=views, body_pose=None))
    policy = make_policy(_with(start_depth=True))
    (found,) = _foresee(policy, blind, [4])
    assert found.flow.start_depth == "predicted"
    depth = found.views["static"].depth
    assert depth is not None
    columns, rows = found.flow.uvz[:, 0, :2].astype(int).T
    np.testing.assert_allclose(found.flow.uvz[:, 0, 2], depth[rows, columns], rtol=1e-5)
    without_K = {view: replace(seen, K=None, T_world_camera=None) for view, seen in views.items()}
    lost = MemoryEpisode(replace(full, info=info, views=without_K, body_pose=None))
    assert drawn_points(lost, 4, policy.config) is not None
    assert drawn_points(lost, 4, _with(coordinates="camera")) is None  # metres have no place in an image without it


def test_the_flow_of_the_wrist_is_scored_and_said_not_drawn(episode: MemoryEpisode, tmp_path: Path) -> None:
    wrist, both = replace(preset("tiny"), flow_view="wrist"), replace(preset("tiny"), flow_view="both")
    (found,) = _foresee(make_policy(wrist), episode, [5])
    assert found.flow.uvz.shape[0] == 0
    assert found.remarks == ("wrist_flow",)
    assert np.isfinite(found.metrics["flow.still.epe_mm"])
    assert tracks_panel(found).note == REMARKS["wrist_flow"]
    policy = make_policy(both)
    save_inference_checkpoint(tmp_path / "both", policy, both, {"weights": "EMA"})
    found = Predictor(tmp_path / "both").foresee(episode, 5)
    assert found.flow.uvz.shape[0] == GRID**2
    assert found.remarks == ("also_wrist_flow",)
    assert REMARKS["also_wrist_flow"] in tracks_panel(found).note
    assert np.isfinite(found.metrics["wrist.flow.still.epe_mm"])
    assert found.metrics["wrist.flow.still.epe_mm"] != found.metrics["flow.still.epe_mm"]
    groups = found.attention.groups
    assert {"FLOW", "FLOW_W"} <= set(groups)


def test_points_of_the_static_view_are_those_of_a_single_decode(episode: MemoryEpisode) -> None:
    """A policy of both views decodes the raster twice and keeps the static half."""
    policy = make_policy(replace(preset("tiny"), flow_view="both"))
    inputs = gather(policy, episode, 5)
    assert inputs.drawn is not None
    (made,) = run_policy(policy, [inputs])
    start = inputs.drawn.start[None, None]
    with torch.no_grad():
        whole = policy(
            inputs.observation, frames=torch.tensor([inputs.newest]), flow_start=start.repeat(1, 1, 2, 1)
        ).flow_delta
    assert whole is not None
    assert made.drawn_flow.flow_delta is not None
    assert torch.allclose(made.drawn_flow.flow_delta, whole[:, :, : GRID**2], atol=1e-5)

"""The predictor: same numbers as evaluate, cached by content, cancellable, fit for several visitors."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from model.errors import CheckpointError, EpisodeError
from tests.factories import make_checkpoint, make_recording
from trainer.episodes.episode import Episode
from trainer.episodes.memory import MemoryEpisode
from trainer.loop.checkpoint import load_checkpoint
from trainer.metrics.window import predict_window, score_window
from workbench.cache import ForesightCache, Key
from workbench.foresight import Foresight
from workbench.foresight_arrays import arrays_of
from workbench.predict import CancelledError, Predictor


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("run") / "final")


@pytest.fixture(scope="module")
def episode() -> MemoryEpisode:
    return MemoryEpisode(make_recording(length=14, frame_stride=1, size=(32, 32)))


@pytest.fixture(scope="module")
def predictor(checkpoint: Path) -> Predictor:
    return Predictor(checkpoint)


def blind_episode(**changes: object) -> MemoryEpisode:
    """Static view only, without depth, bodies and cameras."""
    recording = make_recording(length=10, frame_stride=1, size=(32, 32), views=("static",))
    info = dataclasses.replace(recording.info, depth_origin=None, depth_scale=None, has_exact_flow=False)
    view = dataclasses.replace(recording.views["static"], depth=None, body=None, K=None, T_world_camera=None)
    return MemoryEpisode(dataclasses.replace(recording, info=info, views={"static": view}, body_pose=None))


def assert_same(one: Foresight, two: Foresight, tolerance: float = 0.0) -> None:
    arrays, others = arrays_of(one), arrays_of(two)
    assert arrays.keys() == others.keys()
    for name, values in arrays.items():
        np.testing.assert_allclose(values.astype(float), others[name].astype(float), atol=tolerance, err_msg=name)
    assert (one.step, one.future_step, one.remarks) == (two.step, two.future_step, two.remarks)
    assert one.metrics == pytest.approx(two.metrics, abs=tolerance, nan_ok=True)


def test_numbers_are_those_of_evaluate(predictor: Predictor, episode: MemoryEpisode, checkpoint: Path) -> None:
    foresight = predictor.foresee(episode, 4)
    loaded = load_checkpoint(checkpoint)
    window = predict_window(loaded.policy, episode, 4, points=1250)
    mean = np.array([0.0] * 6 + [0.5])
    assert foresight.metrics == pytest.approx(score_window(window, loaded.config, mean), nan_ok=True)
    assert np.isfinite(foresight.metrics["flow.moving.epe_mm"])
    assert "action.translation_mm.dataset_mean" in foresight.metrics


def test_truth_is_what_the_episode_holds(predictor: Predictor, episode: MemoryEpisode) -> None:
    foresight = predictor.foresee(episode, 4)
    seen, flow = foresight.views["static"], foresight.flow
    np.testing.assert_array_equal(seen.rgb, episode.rgb("static", 4))
    np.testing.assert_array_equal(seen.depth_true, episode.depth("static", 4))
    assert foresight.future_step == 7
    np.testing.assert_array_equal(seen.future_rgb_true, episode.rgb("static", 7))
    np.testing.assert_array_equal(seen.T_world_camera, episode.T_world_camera("static")[4])
    assert flow.steps.tolist() == [4, 5, 6, 7]
    tracks = episode.tracks("static", 4, flow.uvz[:, 0, :2].astype(float), flow.steps)
    assert flow.uvz_true is not None
    assert flow.known is not None
    np.testing.assert_allclose(flow.uvz_true[flow.known], tracks.uvz[flow.known], atol=1e-3)
    np.testing.assert_array_equal(flow.uvz[:, 0], flow.uvz_true[:, 0])  # both start from the true depth
    assert flow.start_depth == "true"
    np.testing.assert_allclose(foresight.action_true, episode.action[4:7], rtol=1e-6)
    assert ((foresight.action[:, 6] > 0) & (foresight.action[:, 6] < 1)).all()


def test_attention_conserves_weight(predictor: Predictor, episode: MemoryEpisode) -> None:
    attention = predictor.foresee(episode, 4).attention
    config = predictor.load().config
    assert attention.to_flow.shape == (config.trunk.layers, config.trunk.heads)
    np.testing.assert_allclose(attention.to_group.sum(axis=-1), 1.0, atol=1e-5)  # nothing outside what is allowed
    flow = attention.groups.index("FLOW")
    np.testing.assert_allclose(attention.to_group[..., flow], attention.to_flow, atol=1e-6)
    assert attention.flow_points.sum() == pytest.approx(1.0, abs=1e-5)
    assert attention.through_flow.sum() == pytest.approx(1.0, abs=1e-5)
    mean = attention.to_group.mean(axis=(0, 1))
    for view, letter in (("static", "S"), ("wrist", "W")):
        mass = mean[attention.groups.index(f"{letter}_PATCH")]
        assert attention.through_resampler[view].sum() == pytest.approx(mass, abs=1e-5)
    # LANG STATE 2 x (4 latents + CLS) in 3 frames, then 4 FLOW and 1 ACT of this frame
    assert attention.uniform == pytest.approx(4 / (3 * 12 + 5))


def test_early_and_last_steps(predictor: Predictor, episode: MemoryEpisode) -> None:
    first, last = predictor.foresee(episode, 0), predictor.foresee(episode, 13)
    assert first.attention.uniform == pytest.approx(4 / (12 + 5))  # one frame only
    assert first.attention.to_group[..., first.attention.groups.index("earlier frames")].max() == 0
    seen = last.views["static"]
    assert seen.future_rgb_true is None
    assert seen.future_depth_true is None
    assert last.flow.known is not None
    assert last.flow.known[:, 0].all()
    assert not last.flow.known[:, 1:].any()
    assert np.isnan(np.asarray(last.action_true)[1:]).all()


def test_a_range_equals_single_steps(checkpoint: Path, predictor: Predictor, episode: MemoryEpisode) -> None:
    told: list[tuple[int, int]] = []
    fresh = Predictor(checkpoint)
    found = list(fresh.foresee_range(episode, progress=lambda done, total: told.append((done, total))))
    assert [item.step for item in found] == list(range(14))
    assert told == [(i + 1, 14) for i in range(14)]
    for step in (0, 1, 7, 13):
        assert_same(found[step], predictor.foresee(episode, step), tolerance=2e-4)


def test_predictions_are_kept_by_content(checkpoint: Path, episode: MemoryEpisode) -> None:
    predictor = Predictor(checkpoint)
    assert predictor.origin(episode, 3) == "live"
    made = predictor.foresee(episode, 3)
    assert predictor.origin(episode, 3) == "memory"
    assert predictor.foresee(episode, 3) is made
    other = MemoryEpisode(make_recording(length=14, frame_stride=1, size=(32, 32), seed=5))
    assert predictor.origin(other, 3) == "live"


def test_predictions_are_kept_within_bytes(predictor: Predictor, episode: MemoryEpisode) -> None:
    made = predictor.foresee(episode, 3)
    size = sum(array.nbytes for array in arrays_of(made).values())
    cache = ForesightCache(int(2.5 * size))
    keys = [Key("checkpoint", "episode", step) for step in range(3)]
    cache.put(keys[0], made)
    cache.put(keys[1], made)
    assert cache.get(keys[0]) is made  # so that the other is the one used longest ago
    cache.put(keys[0], made)  # again: counted once
    cache.put(keys[2], made)
    assert [key in cache for key in keys] == [True, False, True]
    assert cache.get(keys[1]) is None
    small = ForesightCache(1)
    small.put(keys[0], made)
    assert small.get(keys[0]) is made


def test_cancelling(checkpoint: Path, episode: MemoryEpisode) -> None:
    cancel = threading.Event()
    cancel.set()
    predictor = Predictor(checkpoint)
    with pytest.raises(CancelledError):
        predictor.foresee(episode, 2, cancel)
    assert predictor.origin(episode, 2) == "live"
    cancel.clear()
    steps = predictor.foresee_range(episode, cancel=cancel)
    next(steps)
    cancel.set()
    with pytest.raises(CancelledError):
        list(steps)


def test_visitors_share_one_prediction(checkpoint: Path, episode: MemoryEpisode) -> None:
    predictor = Predictor(checkpoint)
    found: list[Foresight] = []
    threads = [threading.Thread(target=lambda: found.append(predictor.foresee(episode, 5))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(item is found[0] for item in found)


def test_what_is_absent_stays_absent(predictor: Predictor) -> None:
    foresight = predictor.foresee(blind_episode(), 4)
    assert list(foresight.views) == ["static"]
    seen, flow = foresight.views["static"], foresight.flow
    assert seen.depth_true is None
    assert seen.K is None
    assert seen.future_depth_true is None
    assert seen.future_rgb_true is not None
    assert flow.uvz_true is None
    assert flow.start_depth == "predicted"
    assert not flow.moving.any()
    columns, rows = flow.uvz[:, 0, :2].astype(int).T
    np.testing.assert_allclose(flow.uvz[:, 0, 2], seen.depth[rows, columns], rtol=1e-6)
    assert list(foresight.attention.through_resampler) == ["static"]
    assert foresight.attention.to_group.sum(axis=-1) == pytest.approx(1.0, abs=1e-5)
    assert not any(name.startswith(("static.depth", "flow", "wrist")) for name in foresight.metrics)
    assert "static.future_rgb.psnr_db" in foresight.metrics


def test_nan_depth_is_no_truth(predictor: Predictor) -> None:
    recording = make_recording(length=10, frame_stride=1, size=(32, 32))
    view = recording.views["static"]
    depth = np.asarray(view.depth).copy()
    depth[:, :16] = np.nan
    views = {**recording.views, "static": dataclasses.replace(view, depth=depth)}
    foresight = predictor.foresee(MemoryEpisode(dataclasses.replace(recording, views=views)), 4)
    truth = foresight.views["static"].depth_true
    assert truth is not None
    assert np.isnan(truth[:16]).all()
    assert np.isfinite(foresight.metrics["static.depth.rmse_m"])
    assert np.isfinite(foresight.flow.uvz).all()


def test_errors_say_what_to_do(checkpoint: Path, predictor: Predictor, episode: Episode, tmp_path: Path) -> None:
    with pytest.raises(EpisodeError, match="no image at step 99"):
        predictor.foresee(episode, 99)
    with pytest.raises(CheckpointError, match="no such folder"):
        Predictor(tmp_path / "absent").foresee(episode, 0)
    truncated = shutil.copytree(checkpoint, tmp_path / "truncated")
    weights = truncated / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"weights\.safetensors.*truncated"):
        Predictor(truncated).foresee(episode, 0)


def test_construction_touches_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from workbench.predict import Predictor; "
        f"Predictor({str(tmp_path / 'absent')!r}); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_summary_and_limits(predictor: Predictor) -> None:
    summary = predictor.summary()
    assert (summary.preset, summary.weights) == ("tiny", "EMA")
    assert summary.parameters > 1000
    low, high = predictor.depth_limits()["static"]
    assert 0 <= low < high

"""Scale and shift of pseudo-depth, anchors, and the labeller end to end with tiny random networks on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config, DPTImageProcessorPil

from model.errors import CheckpointError, ConfigError, EpisodeError
from tests.factories import make_recording
from trainer.episodes.packed import PackedEpisode, save_packed
from trainer.labels.align import align
from trainer.labels.anchors import find_anchors
from trainer.labels.depth_codes import depth_of
from trainer.labels.depth_labeller import DepthLabeller
from trainer.labels.depth_network import TransformersDepth


def save_tiny_network(folder: Path, *, metric: bool = False) -> Path:
    """A random Depth Anything V2 of the smallest size that its architecture allows."""
    torch.manual_seed(0)
    backbone = Dinov2Config(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=32,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16,
        head_hidden_size=8,
        depth_estimation_type="metric" if metric else "relative",
        max_depth=4 if metric else 1,
    )
    DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    DPTImageProcessorPil(
        size={"height": 56, "width": 56}, keep_aspect_ratio=True, ensure_multiple_of=14
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_network(tmp_path_factory.mktemp("relative"))


@pytest.fixture
def episode(tmp_path: Path) -> PackedEpisode:
    save_packed(make_recording(length=8, size=(48, 64)), tmp_path / "episode")
    return PackedEpisode(tmp_path / "episode")


# --- alignment ---


@pytest.mark.parametrize("space", ["inverse", "depth"])
def test_scale_and_shift_are_found_among_outliers(space: str) -> None:
    rng = np.random.default_rng(0)
    z = rng.uniform(0.5, 3, 2000)
    target = 1 / z if space == "inverse" else z
    raw = (target - 0.1) / 0.25 * (1 + rng.normal(0, 0.002, z.shape))
    wrong = rng.random(z.shape) < 0.4
    raw[wrong] = rng.uniform(raw.min(), raw.max(), wrong.sum())
    found = align(raw, z, np.arange(2000) // 100, space)
    assert found.scale == pytest.approx(0.25, rel=0.02)
    assert found.shift == pytest.approx(0.1, abs=0.01)
    assert 0.55 < found.inliers < 0.75
    np.testing.assert_allclose(found.metres(raw[~wrong]), z[~wrong], rtol=0.05)


def test_drift_between_frames_shows() -> None:
    z = np.tile(np.linspace(0.5, 3, 50), 10)
    frame = np.repeat(np.arange(10), 50)
    steady = align(1 / z, z, frame, "inverse")
    drifting = align((1 / z) * (1 + 0.004 * frame), z, frame, "inverse")
    assert steady.drift < 1e-6
    assert drifting.drift == pytest.approx(0.036, rel=0.1)


def test_too_few_or_contradicting_anchors_are_refused() -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(EpisodeError, match="too few"):
        align(np.ones(5), np.ones(5), np.zeros(5, int), "depth")
    with pytest.raises(EpisodeError, match="same for near and far"):
        align(np.ones(100), rng.uniform(1, 2, 100), np.zeros(100, int), "depth")
    with pytest.raises(EpisodeError, match="no one scale and shift"):
        align(rng.uniform(0, 1, 500), 10 ** rng.uniform(-2, 2, 500), np.zeros(500, int), "depth")


def test_nothing_lies_behind_the_camera() -> None:
    z = np.linspace(0.5, 3, 100)
    found = align(1 / z, z, np.zeros(100, int), "inverse")
    assert np.isnan(found.metres(np.array([-1.0, 0.0])[:1])).all()


# --- anchors ---


def test_sensor_anchors_are_the_true_depth(episode: PackedEpisode) -> None:
    found = find_anchors(episode, "static", "sensor")
    depth = episode.depth("static", int(episode.frame_steps[1]))
    of_second = found.frame == 1
    np.testing.assert_allclose(depth[found.rows[of_second], found.columns[of_second]], found.z[of_second], rtol=1e-6)


def test_plane_anchors_lie_on_the_table(episode: PackedEpisode) -> None:
    found = find_anchors(episode, "static", "plane", plane_height=0.0)
    depth = np.stack([episode.depth("static", int(step)) for step in episode.frame_steps])
    body = np.stack([episode.body("static", int(step)) for step in episode.frame_steps])
    at = (found.frame, found.rows, found.columns)
    table = body[at] == 0
    assert table.mean() > 0.5
    np.testing.assert_allclose(found.z[table], depth[at][table], atol=2e-4)
    with pytest.raises(ConfigError, match="plane-height"):
        find_anchors(episode, "static", "plane")


def test_tip_anchors_project_the_tool(episode: PackedEpisode) -> None:
    found = find_anchors(episode, "static", "tip")
    K, camera = episode.intrinsics("static"), episode.T_world_camera("static")
    for frame, row, column, z in zip(found.frame, found.rows, found.columns, found.z, strict=True):
        step = int(episode.frame_steps[frame])
        point = np.linalg.inv(camera[step]) @ np.append(episode.state[step, :3], 1)
        uv = (K @ point[:3])[:2] / point[2]
        assert (int(uv[0]), int(uv[1])) == (column, row)
        assert z == pytest.approx(point[2])


# --- the labeller ---


def test_relative_depth_stays_relative_and_says_so(network: Path, episode: PackedEpisode) -> None:
    label = DepthLabeller(model=str(network)).label(episode)
    assert label.facts["origin"] == "pseudo"
    assert label.facts["scale"] == "relative"
    assert label.facts["scale_audit"] is None
    frames = [episode.rgb("static", int(step)) for step in episode.frame_steps]
    said = TransformersDepth(str(network))(frames)
    span = float(np.ptp(said))
    np.testing.assert_allclose(depth_of(label, "static", 2, (48, 64)), said[2], atol=span / 60000)


def perfect_network(folder: Path, episode: PackedEpisode) -> str:
    """A plug-in that is right up to scale and shift of inverse depth, and blind for what episode it is asked."""
    true = np.stack([episode.depth("static", int(step)) for step in episode.frame_steps])
    np.save(folder / "raw.npy", (4.0 / true + 2.0).astype(np.float32))
    (folder / "steady.py").write_text(
        f"import numpy as np\ndef depth(frames):\n    return np.load({str(folder / 'raw.npy')!r})[:len(frames)]\n"
    )
    return f"{folder / 'steady.py'}:depth"


def test_with_a_sensor_it_becomes_metric_with_an_audit(episode: PackedEpisode, tmp_path: Path) -> None:
    label = DepthLabeller(temporal=perfect_network(tmp_path, episode), anchors="sensor").label(episode)
    assert label.facts["scale"] == "metric"
    assert label.facts["origin"] == "pseudo"
    assert label.facts["scale_audit"]["anchors_from"] == "sensor"
    assert label.facts["scale_audit"]["inliers"] == 1.0
    true = episode.depth("static", int(episode.frame_steps[3]))
    np.testing.assert_allclose(depth_of(label, "static", 3, true.shape), true, atol=2e-3)


def test_a_temporal_clip_takes_its_scale_from_a_metric_network(
    episode: PackedEpisode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labeller = DepthLabeller(
        model=str(save_tiny_network(tmp_path / "metric", metric=True)), temporal=perfect_network(tmp_path, episode)
    )
    true = np.stack([episode.depth("static", int(step)) for step in episode.frame_steps])
    monkeypatch.setattr(TransformersDepth, "__call__", lambda self, frames: true)  # random weights know nothing
    label = labeller.label(episode)
    assert label.facts["scale_audit"]["anchors_from"] == "model"
    np.testing.assert_allclose(depth_of(label, "static", 0, true[0].shape), true[0], atol=2e-3)


def test_a_metric_network_alone_is_metric(episode: PackedEpisode, tmp_path: Path) -> None:
    label = DepthLabeller(model=str(save_tiny_network(tmp_path / "metric", metric=True))).label(episode)
    assert label.facts["scale"] == "metric"
    assert label.facts["scale_audit"] is None


def test_no_network_is_bad_input() -> None:
    with pytest.raises(ConfigError, match="needs a network"):
        DepthLabeller()


def test_an_incomplete_network_is_refused(network: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("config.json", "preprocessor_config.json"):
        (broken / name).write_bytes((network / name).read_bytes())
    tensors = load_file(network / "model.safetensors")
    tensors.pop(sorted(tensors)[0])
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="lacks 1 tensors"):
        TransformersDepth(str(broken))
    with pytest.raises(CheckpointError, match="neither a folder"):
        TransformersDepth(str(tmp_path / "nothing"))

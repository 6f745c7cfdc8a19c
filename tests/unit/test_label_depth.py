"""Scale and shift of pseudo-depth, anchors, and the labeller end to end with tiny random networks on disk."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config, DPTImageProcessorPil

from model.cli import run_command
from model.errors import CheckpointError, ConfigError, EpisodeError
from tests.factories import make_recording
from trainer.__main__ import COMMANDS
from trainer.episodes.packed import PackedEpisode, save_packed
from trainer.labels import depth_clip, depth_labeller, depth_network, frames, gpus
from trainer.labels.align import align
from trainer.labels.anchors import find_anchors
from trainer.labels.depth_codes import depth_of
from trainer.labels.depth_labeller import DepthLabeller
from trainer.labels.depth_network import TransformersDepth
from trainer.labels.jobs import Job, run_job
from trainer.labels.labeller import Label


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
    said = TransformersDepth(str(network))(clip(episode))
    span = float(np.ptp(said))
    np.testing.assert_allclose(depth_of(label, "static", 2, (48, 64)), said[2], atol=span / 60000)


def clip(episode: PackedEpisode) -> np.ndarray:
    return np.stack([episode.rgb("static", int(step)) for step in episode.frame_steps])


def test_a_handful_at_once_says_what_each_frame_says(
    network: Path, episode: PackedEpisode, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = DepthLabeller(model=str(network)).label(episode)
    monkeypatch.setattr(TransformersDepth, "at_once", 3)  # of four frames
    together = DepthLabeller(model=str(network)).label(episode)
    a, b = (label.arrays["static.depth"].astype(int) for label in (alone, together))
    assert np.abs(a - b).max() <= 2  # of 65534 levels


def test_the_gpu_is_chosen_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for count, kind, names in ((0, "cpu", []), (2, "cuda", ["0", "1"])):
        monkeypatch.setattr(torch.cuda, "is_available", lambda count=count: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda count=count: count)
        assert gpus.network_device() == torch.device(kind)
        assert gpus.visible_gpus() == names
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-7")
    assert gpus.visible_gpus() == ["2", "GPU-7"]
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)  # a V100
    assert not gpus.computes_bf16(torch.device("cuda"))
    assert not gpus.computes_bf16(torch.device("cpu"))
    assert [gpus.shared(workers, 2) for workers in (1, 16)] == [(1, 0.5), (4, 0.5)]
    assert gpus.shared(16, 0) == (16, 0.0)


def test_arithmetic_in_bf16_is_said_and_close(
    network: Path, episode: PackedEpisode, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = TransformersDepth(str(network))
    monkeypatch.setattr(depth_network, "computes_bf16", lambda device: True)
    rough = TransformersDepth(str(network))
    assert (plain.computed_on, rough.computed_on) == ("cpu, float32", "cpu, bf16")
    exact, rounded = plain(clip(episode)), rough(clip(episode))
    assert rounded.dtype == np.float32
    assert 0 < np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()


# --- clips ---


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise RuntimeError('CUDA out of memory')", r"temporal depth model failed \(RuntimeError: CUDA out of memory"),
        ("return None", r"temporal depth model returned \(\) for"),
        ("return np.full(frames.shape[:3], np.nan)", "finite of 0% of the pixels only"),
    ],
    ids=["raises", "nothing", "nan"],
)
def test_nonsense_of_a_temporal_model_is_the_episode_s_error(
    episode: PackedEpisode, tmp_path: Path, body: str, message: str
) -> None:
    (tmp_path / "mine.py").write_text(f"import numpy as np\ndef depth(frames):\n    {body}\n")
    with pytest.raises(EpisodeError, match=message):
        DepthLabeller(temporal=f"{tmp_path / 'mine.py'}:depth").label(episode)


def test_a_network_that_fails_is_the_episode_s_error(
    network: Path, episode: PackedEpisode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(DepthAnythingForDepthEstimation, "forward", no_memory)
    with pytest.raises(EpisodeError, match=r"the depth network failed \(OutOfMemoryError: CUDA"):
        DepthLabeller(model=str(network)).label(episode)


def test_a_temporal_model_gets_large_frames_reduced_and_its_scale_all_the_same(
    episode: PackedEpisode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depth_clip, "CLIP_SIDE", 32)  # of frames of 48 x 64
    true = np.stack([episode.depth("static", int(step)) for step in episode.frame_steps])
    np.save(tmp_path / "raw.npy", (4.0 / true[:, 1::2, 1::2] + 2.0).astype(np.float32))
    (tmp_path / "half.py").write_text(
        "import numpy as np\ndef depth(frames):\n    assert frames.shape == (4, 24, 32, 3)\n"
        f"    return np.load({str(tmp_path / 'raw.npy')!r})\n"
    )
    label = DepthLabeller(temporal=f"{tmp_path / 'half.py'}:depth", anchors="sensor").label(episode)
    assert label.facts["size"] == [48, 64]
    assert label.facts["scale_audit"]["inliers"] > 0.9
    assert np.nanmedian(np.abs(depth_of(label, "static", 2, (48, 64)) / true[2] - 1)) < 0.01  # half a pixel off


@pytest.mark.parametrize("size", [(2, 640), (640, 1), (48, 64)])
def test_of_a_narrow_image_something_is_kept(size: tuple[int, int]) -> None:
    kept = depth_clip._every_nth(np.zeros((1, *size), np.float32), 128)  # pyright: ignore[reportPrivateUsage]
    assert 1 <= min(kept.shape) <= max(kept.shape) <= 128
    assert kept.size == depth_clip._kept_pixels(size, 128)  # pyright: ignore[reportPrivateUsage]


def test_clips_that_are_too_long_are_refused_before_they_are_looked_at(
    network: Path, episode: PackedEpisode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depth_clip, "CLIP_PIXELS", 3 * 48 * 64)
    with pytest.raises(EpisodeError, match=r"clip as a whole, and 4 frames are too many.*--longest 3`"):
        DepthLabeller(temporal=perfect_network(tmp_path, episode)).label(episode)
    monkeypatch.setattr(frames, "LARGEST_LABEL", 3 * 2 * 48 * 64)
    with pytest.raises(EpisodeError, match=r"4 frames are too many .*--longest 3`.*--max-side"):
        DepthLabeller(model=str(network)).label(episode)


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
    answers = iter(true)  # random weights know nothing
    monkeypatch.setattr(TransformersDepth, "__call__", lambda self, frames: np.stack([next(answers) for _ in frames]))
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


def test_the_same_weights_read_in_another_way_are_another_labeller(network: Path, tmp_path: Path) -> None:
    shutil.copytree(network, tmp_path / "metric")
    config = json.loads((network / "config.json").read_text())
    (tmp_path / "metric/config.json").write_text(json.dumps(config | {"depth_estimation_type": "metric"}))
    relative, metric = (DepthLabeller(model=str(folder)) for folder in (network, tmp_path / "metric"))
    assert relative.identity != metric.identity


def test_a_network_that_is_not_there_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(2):
        save_packed(make_recording(length=4, size=(24, 32), seed=seed), tmp_path / "data" / str(seed))
    argv = ["label", "depth", str(tmp_path / "data"), "--store", str(tmp_path / "store")]
    assert run_command("trainer", COMMANDS, [*argv, "--model", str(tmp_path / "none")]) == 2
    told = capsys.readouterr()
    assert (told.out + told.err).count("neither a folder") == 1
    assert not (tmp_path / "store").exists()


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
    with pytest.raises(CheckpointError, match=r"--model = /.*neither a folder.*hf download HUB_ID --local-dir"):
        TransformersDepth(str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("shape", "kind"), [((1, 4), "u2"), ((1, 4, 4, 2), "u2"), ((1, 0, 4), "u2"), ((1, 4, 4), "f4")]
)
def test_depth_of_a_damaged_label_is_one_error(shape: tuple[int, ...], kind: str) -> None:
    label = Label(arrays={"static.depth": np.ones(shape, kind)}, facts={"coding": None})
    with pytest.raises(EpisodeError, match="no depth of 'static'"):
        depth_of(label, "static", 0, (8, 8))


def test_a_worker_knows_what_is_labelled_without_a_network(network: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labeller = DepthLabeller(model=str(network))
    sent = pickle.dumps(labeller)
    monkeypatch.setattr(depth_labeller, "TransformersDepth", lambda _: pytest.fail("the network was loaded"))
    got = pickle.loads(sent)  # noqa: S301 - our own, as a pool sends it
    assert got == labeller
    assert got.identity == labeller.identity


def test_a_machine_with_another_network_makes_no_label(network: Path, episode: PackedEpisode, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(network, folder)
    job = Job(episode=episode.name, labeller=DepthLabeller(model=str(folder)), store=tmp_path / "store")
    sent = pickle.dumps(job)
    shutil.rmtree(folder)
    save_tiny_network(folder, metric=True)  # as it may lie on another machine
    outcome = run_job(pickle.loads(sent))  # noqa: S301 - our own, as a pool sends it
    assert outcome.status == "failed"
    assert re.search(r"weights: not the same here \(.+\) as where the run began", outcome.error or "")
    assert not list(tmp_path.glob("store/**/*.safetensors"))

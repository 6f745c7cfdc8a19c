"""Labels laid over what an episode lacks and never over what it has; what is absent is said, with its remedy."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.cli import run_command
from model.errors import AbsentError, ConfigError
from tests.factories import make_recording
from trainer.__main__ import COMMANDS
from trainer.episodes.corrected import corrected
from trainer.episodes.episode import Episode
from trainer.episodes.open import find_episodes, open_episode
from trainer.episodes.packed import PackedEpisode, save_packed
from trainer.episodes.recording import Recording
from trainer.episodes.source_settings import SourceSetting, ViewSetting
from trainer.labels import labeller as stored
from trainer.labels.depth_labeller import DepthLabeller
from trainer.labels.jobs import Job, LabellerOptions, run_job
from trainer.labels.overlay import Labelled, with_labels
from trainer.labels.store import LabelStore
from trainer.labels.track_labeller import TrackLabeller
from trainer.labels.tracks import grid_points

TRACKS = TrackLabeller(grid=12, reach=4)
SIZE = (96, 128)
RECORDING = make_recording(length=16, size=SIZE)
Label = Callable[[LabellerOptions], Episode]


def colours_only(recording: Recording) -> Recording:
    """What a lab's cameras alone would have given."""
    return replace(
        recording,
        info=replace(recording.info, depth_scale=None, depth_origin=None, has_exact_flow=False),
        views={view: replace(seen, depth=None, body=None) for view, seen in recording.views.items()},
        body_pose=None,
        body_names=(),
    )


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> PackedEpisode:
    folder = tmp_path_factory.mktemp("truth") / "episode"
    save_packed(RECORDING, folder)
    return PackedEpisode(folder)


@pytest.fixture
def bare(tmp_path: Path) -> Episode:
    save_packed(colours_only(RECORDING), tmp_path / "bare")
    return open_episode(tmp_path / "bare")


@pytest.fixture
def label(bare: Episode, tmp_path: Path) -> Label:
    def run(labeller: LabellerOptions) -> Episode:
        assert run_job(Job(episode=bare.name, labeller=labeller, store=tmp_path / "labels")).status == "made"
        return with_labels(bare, tmp_path / "labels")

    return run


def perfect_depth(folder: Path, truth: PackedEpisode) -> DepthLabeller:
    """A network that is right, in metres."""
    np.save(folder / "raw.npy", np.stack([truth.depth("static", int(step)) for step in truth.frame_steps]))
    (folder / "right.py").write_text(
        f"import numpy as np\ndef depth(frames):\n    return np.load({str(folder / 'raw.npy')!r})\n"
        "depth.space = 'depth'\n"
    )
    return DepthLabeller(temporal=f"{folder / 'right.py'}:depth")


def test_without_a_store_or_a_label_the_episode_is_itself(bare: Episode, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert with_labels(bare, None) is bare
    assert with_labels(bare, tmp_path / "empty") is bare
    with pytest.raises(ConfigError, match="no such folder"):
        with_labels(bare, tmp_path / "nowhere")


def test_tracks_without_depth_stay_in_the_image_and_say_what_is_missing(
    bare: Episode, label: Label, truth: PackedEpisode
) -> None:
    episode = label(TRACKS)
    assert isinstance(episode, Labelled)
    assert episode.has_image_tracks("static")
    assert not episode.has_image_tracks("wrist")
    assert not episode.has("tracks", "static")
    assert not episode.has("depth", "static")
    start = grid_points(SIZE, 12)
    with pytest.raises(AbsentError, match="no depth, or no intrinsics"):
        episode.tracks("static", 0, start, np.array([2]))
    moved, seen = episode.image_tracks("static", 0, start, np.array([2, 3, 8, 99]))
    exact = truth.tracks("static", 0, start, np.array([2, 3, 8, 99]))
    both = seen & exact.visible
    assert both[:, 0].mean() > 0.9
    assert np.median(np.linalg.norm(moved - exact.uvz[..., :2], axis=-1)[both]) < 0.5
    assert not seen[:, 1].any()  # no image at step 3
    assert not seen[:, 3].any()
    said = " ".join(episode.info.notes)
    assert "2D tracks by the classical recipe, not exact" in said
    assert "depth and 3D tracks are absent" in said
    assert "label depth bare#0 --view static --store labels --model FOLDER" in said
    assert episode.info.depth_origin is None
    assert episode.content_hash != bare.content_hash


def test_pseudo_depth_lifts_tracks_and_is_marked(
    bare: Episode, label: Label, truth: PackedEpisode, tmp_path: Path
) -> None:
    with_depth = label(perfect_depth(tmp_path, truth))
    assert (with_depth.info.depth_origin, with_depth.info.depth_scale) == ("pseudo", "metric")
    np.testing.assert_allclose(with_depth.depth("static", 4), truth.depth("static", 4), atol=1e-4)
    assert not with_depth.has("depth", "wrist")
    assert "not audited" in " ".join(with_depth.info.notes)
    episode = label(TRACKS)
    assert len({bare.content_hash, with_depth.content_hash, episode.content_hash}) == 3
    assert episode.has("tracks", "static")
    assert not episode.info.has_exact_flow
    start = grid_points(SIZE, 12)
    found = episode.tracks("static", 0, start, np.array([2, 4]))
    exact = truth.tracks("static", 0, start, np.array([2, 4]))
    both = found.known & exact.visible
    assert both.mean() > 0.8
    assert np.median(np.abs(found.uvz - exact.uvz)[both], axis=0)[2] < 5e-3
    assert np.isnan(found.uvz[~found.known]).all()


def test_what_moves_in_the_label_moves(label: Label, truth: PackedEpisode) -> None:
    motion = label(TRACKS).own_motion("static", 0, 8)
    exact = truth.own_motion("static", 0, 8)[..., 0]
    assert motion.shape == (*SIZE, 2)
    inside = exact > 4
    assert np.median(motion[inside, 0]) > 2
    assert np.percentile(motion[exact == 0, 0], 75) < 1
    assert not motion[..., 1].any()


def test_true_depth_and_exact_flow_win(truth: PackedEpisode, tmp_path: Path) -> None:
    for labeller in (TRACKS, perfect_depth(tmp_path, truth)):
        run_job(Job(episode=truth.name, labeller=labeller, store=tmp_path / "labels"))
    episode = with_labels(truth, tmp_path / "labels")
    assert episode.info.depth_origin == "true"
    assert "has depth of its own" in " ".join(episode.info.notes)
    found = episode.tracks("static", 0, grid_points(SIZE, 12), np.array([2]))
    np.testing.assert_array_equal(found.uvz, truth.tracks("static", 0, grid_points(SIZE, 12), np.array([2])).uvz)


def test_true_depth_lifts_labelled_tracks(truth: PackedEpisode, tmp_path: Path) -> None:
    info = replace(RECORDING.info, has_exact_flow=False)
    views = {view: replace(seen, body=None) for view, seen in RECORDING.views.items()}
    save_packed(replace(RECORDING, info=info, views=views, body_pose=None, body_names=()), tmp_path / "sensor")
    run_job(Job(episode=str(tmp_path / "sensor"), labeller=TRACKS, store=tmp_path / "labels"))
    episode = with_labels(open_episode(tmp_path / "sensor"), tmp_path / "labels")
    assert episode.info.depth_origin == "true"
    assert episode.has("tracks", "static")
    assert "static: 3D tracks" in " ".join(episode.info.notes)


def test_relative_depth_is_not_taken_for_metres(label: Label, truth: PackedEpisode, tmp_path: Path) -> None:
    perfect_depth(tmp_path, truth)
    (tmp_path / "right.py").write_text((tmp_path / "right.py").read_text().replace("'depth'", "'inverse'"))
    episode = label(DepthLabeller(temporal=f"{tmp_path / 'right.py'}:depth"))
    assert not episode.has("depth", "static")
    assert "is relative" in " ".join(episode.info.notes)


def test_the_newest_label_is_used_and_the_others_are_said(bare: Episode, label: Label, tmp_path: Path) -> None:
    first = label(TRACKS)
    second = label(replace(TRACKS, grid=6))
    assert first.content_hash != second.content_hash
    assert "the newest of 2 tracks labels" in " ".join(second.info.notes)
    store = LabelStore(tmp_path / "labels", "tracks")
    store.path(store.labels_of(bare.content_hash)[-1]).unlink()  # its mark alone is no label
    assert with_labels(bare, tmp_path / "labels").content_hash == first.content_hash


@pytest.mark.parametrize(
    ("setting", "used"),
    [
        (SourceSetting(invert_gripper_action=True), True),
        (SourceSetting(static=ViewSetting(depth_factor=0.001)), True),  # colours are as they were
        (SourceSetting(static=ViewSetting(turn="mirror")), False),
        (SourceSetting(static=ViewSetting(swap_red_blue=True)), False),
        (SourceSetting(static=ViewSetting(fov_degrees=60.0)), False),  # it has intrinsics, which anchors may be from
    ],
)
def test_labels_outlive_a_source_setting_that_no_labeller_looks_at(
    bare: Episode, label: Label, tmp_path: Path, setting: SourceSetting, used: bool
) -> None:
    label(TRACKS)
    episode = with_labels(corrected(bare, setting), tmp_path / "labels")
    assert isinstance(episode, Labelled)
    assert episode.has_image_tracks("static") == used
    assert ("made before this source was corrected" in " ".join(episode.info.notes)) == (not used)
    assert episode.content_hash != with_labels(bare, tmp_path / "labels").content_hash


def test_a_damaged_label_is_said_and_the_episode_opens(bare: Episode, label: Label, tmp_path: Path) -> None:
    label(TRACKS)
    store = LabelStore(tmp_path / "labels", "tracks")
    path = store.path(store.labels_of(bare.content_hash)[0])
    path.write_bytes(path.read_bytes()[:40])
    episode = with_labels(bare, tmp_path / "labels")
    said = " ".join(episode.info.notes)
    assert f"labels/tracks/{path.parent.name}/{path.name}: damaged" in said
    assert str(tmp_path) not in said
    assert episode.rgb("static", 0).shape == (*SIZE, 3)


def test_a_long_video_s_label_never_lies_in_memory(bare: Episode, label: Label, tmp_path: Path) -> None:
    label(TRACKS)
    store, frames, grid = LabelStore(tmp_path / "labels", "tracks"), len(bare.frame_steps), 64
    (key,) = store.labels_of(bare.content_hash)
    shape = (frames, grid * grid, 20)
    arrays = {"static.displacement": np.zeros((*shape, 2), np.float16), "static.visible": np.ones(shape, bool)}
    size = store.write(key, stored.Label(arrays=arrays, facts={**store.facts(key), "grid": grid}))
    episode = with_labels(bare, tmp_path / "labels")
    assert isinstance(episode, Labelled)
    tracemalloc.start()
    try:
        for step in episode.frame_steps:
            assert episode.image_tracks("static", int(step), np.ones((1, 2)), episode.frame_steps[-1:])[1].shape == (
                1,
                1,
            )
        assert tracemalloc.get_traced_memory()[1] < size / 2
    finally:
        tracemalloc.stop()


def test_it_travels_to_other_processes(label: Label) -> None:
    episode = label(TRACKS)
    again = pickle.loads(pickle.dumps(episode))  # noqa: S301 - our own bytes
    assert again.content_hash == episode.content_hash
    assert again.info == episode.info


def test_pack_takes_pseudo_depth_along(bare: Episode, label: Label, truth: PackedEpisode, tmp_path: Path) -> None:
    label(perfect_depth(tmp_path, truth))
    argv = ["pack", str(tmp_path / "bare"), str(tmp_path / "packed"), "--labels", str(tmp_path / "labels")]
    assert run_command("trainer", COMMANDS, argv) == 0
    (name,) = find_episodes(tmp_path / "packed")
    packed = open_episode(name)
    assert (packed.info.depth_origin, packed.info.depth_scale) == ("pseudo", "metric")
    np.testing.assert_allclose(packed.depth("static", 4), truth.depth("static", 4), atol=2e-4)
    assert not packed.has("depth", "wrist")
    assert "not audited" in " ".join(packed.info.notes)
    argv = ["pack", truth.name, str(tmp_path / "exact"), "--labels", str(tmp_path / "labels")]
    assert run_command("trainer", COMMANDS, argv) == 0
    assert open_episode(find_episodes(tmp_path / "exact")[0]).content_hash == truth.content_hash

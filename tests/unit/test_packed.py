"""Packed episodes: what goes in comes out, in both encodings, and nothing half-written is ever left."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.errors import EpisodeError
from tests.factories import make_recording
from trainer.episodes.codecs import metres, quantise_depth
from trainer.episodes.content import content_hash
from trainer.episodes.memory import MemoryEpisode
from trainer.episodes.packed import PackedEpisode, save_packed
from trainer.episodes.recording import Recording
from trainer.episodes.schema import Encoding
from trainer.episodes.transcode import save_as

ENCODINGS: tuple[Encoding, ...] = ("compressed", "mapped")


@pytest.fixture(scope="module")
def recording() -> Recording:
    return make_recording(length=41)


@pytest.fixture(scope="module", params=ENCODINGS)
def episode(request: pytest.FixtureRequest, recording: Recording, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("packed") / "episode"
    save_packed(recording, folder, request.param)
    return PackedEpisode(folder)


def test_lossless_content_is_bit_exact(episode: PackedEpisode, recording: Recording) -> None:
    assert episode.info == recording.info
    assert episode.body_names == recording.body_names
    np.testing.assert_array_equal(episode.frame_steps, recording.frame_steps)
    for name in ("state", "action", "body_pose", "simulator_state"):
        np.testing.assert_array_equal(getattr(episode, name), getattr(recording, name))
    for view, streams in recording.views.items():
        np.testing.assert_array_equal(episode.intrinsics(view), streams.K)
        np.testing.assert_array_equal(episode.T_world_camera(view), streams.T_world_camera)
        for index, step in enumerate(recording.frame_steps):
            np.testing.assert_array_equal(episode.body(view, int(step)), streams.body[index])
            if view == "static":
                np.testing.assert_array_equal(episode.rgb(view, int(step)), streams.rgb[index])


def test_depth_is_kept_to_a_tenth_of_a_millimetre(episode: PackedEpisode, recording: Recording) -> None:
    for view, streams in recording.views.items():
        for index, step in enumerate(recording.frame_steps):
            depth, truth = episode.depth(view, int(step)), streams.depth[index]
            representable = truth < 6.5534
            assert depth.dtype == np.float32
            np.testing.assert_array_equal(np.isnan(depth), ~representable)
            np.testing.assert_allclose(depth[representable], truth[representable], rtol=0, atol=0.51e-4)


def test_wrist_colours_are_close(episode: PackedEpisode, recording: Recording) -> None:
    differences = [
        np.abs(episode.rgb("wrist", int(step)).astype(int) - recording.views["wrist"].rgb[index])
        for index, step in enumerate(recording.frame_steps)
    ]
    assert np.mean(differences) < 2
    assert np.percentile(differences, 99) <= 10  # a hard texture; photographs lose less


def test_both_encodings_are_one_episode(recording: Recording, tmp_path: Path) -> None:
    for encoding in ENCODINGS:
        save_packed(recording, tmp_path / encoding, encoding)
    compressed, mapped = (PackedEpisode(tmp_path / encoding) for encoding in ENCODINGS)
    assert compressed.content_hash == mapped.content_hash == content_hash(recording)
    for view in compressed.info.views:
        for step in compressed.frame_steps:
            np.testing.assert_array_equal(compressed.rgb(view, int(step)), mapped.rgb(view, int(step)))
            np.testing.assert_array_equal(compressed.depth(view, int(step)), mapped.depth(view, int(step)))


def test_transcoding_there_and_back_changes_no_byte(recording: Recording, tmp_path: Path) -> None:
    save_packed(recording, tmp_path / "first")
    save_as(PackedEpisode(tmp_path / "first"), tmp_path / "mapped", "mapped")
    save_as(PackedEpisode(tmp_path / "mapped"), tmp_path / "second", "compressed")
    for path in (tmp_path / "first").iterdir():
        assert (tmp_path / "second" / path.name).read_bytes() == path.read_bytes()


def test_content_hash_names_the_content(recording: Recording) -> None:
    action = recording.action.copy()
    action[3, 2] += 1e-9
    assert content_hash(replace(recording, action=action)) != content_hash(recording)
    renamed = replace(recording, info=replace(recording.info, instruction="push the box"))
    assert content_hash(renamed) != content_hash(recording)
    assert content_hash(make_recording(length=41)) == content_hash(recording)


def test_only_what_the_source_has(tmp_path: Path) -> None:
    full = make_recording(length=6, views=("static",))
    bare = replace(full.views["static"], depth=None, body=None, K=None, T_world_camera=None)
    info = replace(full.info, depth_scale=None, depth_origin=None, has_exact_flow=False, action_space=None, task=None)
    recording = replace(full, info=info, views={"static": bare}, body_pose=None, body_names=(), simulator_state=None)
    for encoding in ENCODINGS:
        save_packed(recording, tmp_path / encoding, encoding)
        episode = PackedEpisode(tmp_path / encoding)
        assert episode.rgb("static", 0).shape == (48, 64, 3)
        for ask, field in (
            (lambda e: e.depth("static", 0), "depth"),
            (lambda e: e.intrinsics("static"), "K.static"),
            (lambda e: e.rgb("wrist", 0), "wrist"),
            (lambda e: e.tracks("static", 0, np.ones((1, 2)), np.array([1])), "exact flow"),
            (lambda e: e.rgb("static", 1), "no image at step 1"),
            (lambda e: e.simulator_state, "simulator_state"),
        ):
            with pytest.raises(EpisodeError, match=field):
                ask(episode)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda r: replace(r, info=replace(r.info, length=40)), "state"),
        (lambda r: _with_static(r, **vars(make_recording(length=9).views["static"])), "static.rgb"),
        (lambda r: replace(r, action=np.where(np.arange(7) == 2, np.nan, r.action)), "action"),
        (lambda r: replace(r, frame_steps=r.frame_steps[::-1]), "frame_steps"),
        (lambda r: replace(r, frame_steps=r.frame_steps[:-1]), "static.rgb"),
        (lambda r: replace(r, body_pose=None), "body_pose"),
        (lambda r: replace(r, body_pose=r.body_pose[:, :1], body_names=("world",)), "static.body"),
        (lambda r: replace(r, body_pose=r.body_pose[:, ::-1]), "body_pose"),
        (lambda r: replace(r, info=replace(r.info, views=("static",))), "views"),
        (lambda r: _with_static(r, depth=None), "static.depth"),
        (lambda r: _with_static(r, K=np.full((3, 3), np.inf)), "K.static"),
    ],
)
def test_a_recording_that_contradicts_itself_is_refused(recording: Recording, tmp_path: Path, change, field) -> None:
    with pytest.raises(EpisodeError, match=f"'{field}'"):
        save_packed(change(recording), tmp_path / "episode")
    assert not list(tmp_path.iterdir())


def test_an_existing_folder_is_left_alone(recording: Recording, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(EpisodeError, match="exists already"):
        save_packed(recording, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_nothing_is_decoded_on_opening(recording: Recording, tmp_path: Path) -> None:
    save_packed(recording, tmp_path / "episode")
    for path in (tmp_path / "episode").glob("*.safetensors"):
        path.write_bytes(bytes(path.stat().st_size))  # right sizes, no content
    episode = PackedEpisode(tmp_path / "episode")
    assert episode.info.length == 41
    assert episode.image_size("wrist") == (48, 64)
    assert episode.name == f"{tmp_path / 'episode'}#0"


def test_an_open_episode_travels_between_processes(episode: PackedEpisode) -> None:
    episode.rgb("static", 0)
    copy = pickle.loads(pickle.dumps(episode))  # noqa: S301 - our own bytes
    np.testing.assert_array_equal(copy.rgb("static", 4), episode.rgb("static", 4))


def test_what_is_handed_out_can_be_changed_without_harm(episode: PackedEpisode) -> None:
    before = episode.rgb("static", 2)
    episode.rgb("static", 2)[:] = 0
    episode.depth("static", 2)[:] = 0
    np.testing.assert_array_equal(episode.rgb("static", 2), before)


def test_memory_episode_keeps_the_exact_depth(recording: Recording) -> None:
    episode = MemoryEpisode(recording)
    np.testing.assert_array_equal(episode.depth("static", 4), recording.views["static"].depth[2])
    assert episode.content_hash == content_hash(recording)


def test_invalid_depths_share_one_code() -> None:
    values = np.array([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e-5, 6.5535, 100.0])
    assert (quantise_depth(values) == 65535).all()
    assert np.isnan(metres(quantise_depth(values))).all()
    np.testing.assert_allclose(metres(quantise_depth(np.array([1e-4, 6.5534]))), [1e-4, 6.5534], rtol=1e-6)


def _with_static(recording: Recording, **changes: object) -> Recording:
    views = {**recording.views, "static": replace(recording.views["static"], **changes)}
    return replace(recording, views=views)

"""CALVIN splits: geometry, units, language, play, and what is damaged or hostile."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from model.errors import EpisodeError, UnsafeFileError
from tests.calvin_factory import FIRST_STEP, calvin_numbers, write_calvin_split
from tests.factories import look_at
from trainer.episodes.open import find_episodes, list_episodes, open_episode
from trainer.episodes.readers.calvin import _all_numbers
from trainer.episodes.readers.calvin_chains import read_chains
from trainer.episodes.readers.calvin_steps import StepFiles
from trainer.episodes.readers.calvin_units import rel_actions_of
from trainer.episodes.readers.reader import EpisodeSummary
from trainer.episodes.rotations import axis_angle, from_euler_xyz, rotation_matrix

LENGTH = 12
MINI = Path(__file__).parents[3] / "shared" / "data" / "calvin_mini" / "training"


@pytest.fixture
def split(tmp_path: Path) -> Path:
    write_calvin_split(tmp_path / "task_D" / "training", length=LENGTH)
    return tmp_path / "task_D" / "training"


def step_file(split: Path, step: int) -> Path:
    return split / f"episode_{FIRST_STEP + step:07d}.npz"


def rewrite(split: Path, step: int, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> None:
    """Changes arrays of a step."""
    with np.load(step_file(split, step)) as arrays:
        content = dict(arrays)
    np.savez_compressed(step_file(split, step), **(content | change(content)))  # pyright: ignore[reportArgumentType]


def test_language_segments_come_first_then_the_play_they_were_cut_from(split: Path) -> None:
    assert find_episodes(split.parents[1]) == [f"{split}#0", f"{split}#1"]
    spoken, played = (item for item in list_episodes(split) if isinstance(item, EpisodeSummary))
    assert (spoken.instruction, spoken.task, spoken.length, spoken.outcome) == (
        "move the box 0",
        "move_box",
        8,
        "success",
    )
    assert (played.instruction, played.task, played.length, played.outcome) == ("", None, LENGTH, None)
    assert spoken.views == played.views == ("static", "wrist")
    assert spoken.depth == ("true", "metric")
    info = open_episode(spoken.name).info
    assert (info.instruction, info.length, info.control_hz, info.notes) == (spoken.instruction, 8, 30.0, ())


def test_images_depth_and_cameras_are_those_of_the_scene(tmp_path: Path) -> None:
    recording = write_calvin_split(tmp_path / "training", length=LENGTH)
    episode = open_episode(f"{tmp_path / 'training'}#0")
    for view in ("static", "wrist"):
        truth = recording.views[view]
        assert truth.depth is not None
        assert truth.K is not None
        np.testing.assert_array_equal(episode.rgb(view, 3), truth.rgb[2 + 3])
        np.testing.assert_allclose(
            episode.depth(view, 3), np.where(truth.depth[5] < 9.99, truth.depth[5], np.nan), rtol=1e-6
        )
        np.testing.assert_allclose(episode.intrinsics(view), truth.K, rtol=1e-9)
    T = episode.T_world_camera("static")
    assert T.shape == (8, 4, 4)
    np.testing.assert_allclose(T[0], look_at(np.array([0.9, 0.1, 0.7]), np.array([0.0, 0.0, 0.05])), atol=1e-12)
    assert not episode.has("T_world_camera", "wrist")
    with pytest.raises(EpisodeError, match=r"T_world_camera\.wrist"):
        episode.T_world_camera("wrist")
    assert list(episode.others) == ["rgb_tactile.0", "rgb_tactile.1"]
    assert episode.others["rgb_tactile.1"].rgb(3).shape == (16, 12, 3)


def test_state_and_action_in_the_internal_vocabulary(split: Path) -> None:
    episode, numbers = open_episode(f"{split}#1"), calvin_numbers(LENGTH)
    robot, relative = numbers["robot_obs"], numbers["rel_actions"]
    np.testing.assert_allclose(episode.state[:, :3], robot[:, :3])
    np.testing.assert_allclose(rotation_matrix(episode.state[:, 3:7]), from_euler_xyz(robot[:, 3:6]), atol=1e-12)
    np.testing.assert_allclose(episode.state[:, 7], robot[:, 6] / 0.08)
    space = episode.info.action_space
    assert space is not None
    # what is commanded is the next state: the action leads there
    R = from_euler_xyz(robot[:, 3:6])
    reached = R[1:] @ R[:-1].swapaxes(1, 2)
    np.testing.assert_allclose(episode.action[:-1, 3:6] * space.radians_per_unit, axis_angle(reached), atol=1e-12)
    np.testing.assert_allclose(
        episode.action[:-1, :3] * space.metres_per_unit, np.diff(robot[:, :3], axis=0), atol=1e-12
    )
    np.testing.assert_array_equal(episode.action[:, 6], (relative[:, 6] + 1) / 2)
    np.testing.assert_allclose(rel_actions_of(episode.action, space, robot), relative, atol=1e-9)
    assert {name: values.shape[1] for name, values in episode.features.items()} == {
        "robot_obs": 15,
        "rel_actions": 7,
        "actions": 7,
        "scene_obs": 24,
    }


def test_what_is_not_there_is_absent(split: Path) -> None:
    (split / ".hydra" / "merged_config.yaml").unlink()
    shutil.rmtree(split / "lang_annotations")
    for step in range(LENGTH):
        path = step_file(split, step)
        with np.load(path) as arrays:
            kept = {name: arrays[name] for name in ("rgb_static", "scene_obs")}
        np.savez_compressed(path, **kept)
    episode = open_episode(f"{split}#0")
    assert episode.info.views == ("static",)
    assert episode.info.depth_scale is None
    assert episode.info.action_space is None
    assert not any(episode.has(field) for field in ("state", "action"))
    assert not any(episode.has(field, "static") for field in ("depth", "K", "T_world_camera", "tracks"))
    for ask in (lambda: episode.state, lambda: episode.depth("static", 0), lambda: episode.rgb("wrist", 0)):
        with pytest.raises(EpisodeError, match="has no"):
            ask()


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "nan", "link out", "other shape"])
def test_a_damaged_episode_ends_at_its_last_good_step_and_says_so(split: Path, tmp_path: Path, damage: str) -> None:
    path = step_file(split, 6)
    content = path.read_bytes()
    path.unlink()
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "link out":
        (tmp_path / "outside.npz").write_bytes(content)
        path.symlink_to(tmp_path / "outside.npz")
    elif damage in ("nan", "other shape"):
        numbers = calvin_numbers(LENGTH)
        values = np.full(15, np.nan) if damage == "nan" else np.zeros(14)
        np.savez_compressed(path, robot_obs=values, rel_actions=numbers["rel_actions"][6])
    episode = open_episode(f"{split}#0")  # steps 2 to 9 of the recording
    assert episode.info.length == len(episode.frame_steps) == 4
    assert len(episode.state) == 4
    assert "ends at step 4 of 8" in episode.info.notes[0]
    assert path.name in episode.info.notes[0]
    assert episode.info.outcome is None
    episode.rgb("static", 3)
    with pytest.raises(EpisodeError, match="no image at step 4"):
        episode.rgb("static", 4)


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "link out"])
def test_long_play_ends_before_a_file_that_is_cut_off_though_its_numbers_are_read_later(
    split: Path, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.episodes.readers.calvin._CHECKED_STEPS", LENGTH - 1)
    path = step_file(split, 6)
    content = path.read_bytes()
    path.unlink()
    if damage == "link out":
        (tmp_path / "outside.npz").write_bytes(content)
        path.symlink_to(tmp_path / "outside.npz")
    elif damage != "missing":
        path.write_bytes(b"" if damage == "empty" else content[:-30])
    episode = open_episode(f"{split}#1")
    assert episode.info.length == len(episode.state) == 6
    assert f"ends at step 6 of {LENGTH}" in episode.info.notes[0]
    assert path.name in episode.info.notes[0]


def test_an_episode_without_a_first_step_does_not_open(split: Path) -> None:
    step_file(split, 2).unlink()
    with pytest.raises(EpisodeError, match=f"{step_file(split, 2).name}: missing"):
        open_episode(f"{split}#0")
    with pytest.raises(EpisodeError, match="asked for #7"):
        open_episode(f"{split}#7")


def test_a_damaged_image_is_one_error_that_names_file_and_field(split: Path) -> None:
    path = step_file(split, 5)
    with np.load(path) as arrays:
        content = dict(arrays)
    np.savez_compressed(path, **(content | {"rgb_static": content["rgb_static"].astype(np.float32)}))
    episode = open_episode(f"{split}#0")
    with pytest.raises(EpisodeError, match=r"episode_0358487\.npz: field 'rgb_static' is float32"):
        episode.rgb("static", 3)


def test_text_in_a_step_and_depth_in_half_precision_are_no_damage(split: Path) -> None:
    whole = open_episode(f"{split}#0").depth("static", 0)
    for path in split.glob("episode_*.npz"):
        with np.load(path) as file:
            arrays = dict(file)
        arrays |= {"operator": np.array("Jörg"), "depth_static": arrays["depth_static"].astype(np.float16)}
        np.savez(path, **arrays)
    episode = open_episode(f"{split}#0")
    assert episode.info.length == 8
    np.testing.assert_allclose(episode.depth("static", 0), whole, rtol=1e-3)


def test_an_image_of_another_shape_is_one_error_that_names_file_and_field(split: Path) -> None:
    rewrite(split, 2, lambda arrays: {"rgb_static": arrays["rgb_static"][..., 0]})
    with pytest.raises(EpisodeError, match=r"episode_0358484\.npz: field 'rgb_static' has shape"):
        open_episode(f"{split}#0")


def test_depth_in_millimetres_is_seen_whatever_the_far_plane(split: Path) -> None:
    metres = open_episode(f"{split}#0").depth("static", 3)
    rewrite(split, 5, lambda arrays: {"depth_static": 1000 * arrays["depth_static"]})
    stored = open_episode(f"{split}#0").depth("static", 3)
    seen = np.isfinite(metres)
    np.testing.assert_allclose(stored[seen], 1000 * metres[seen], rtol=1e-6)


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch ran-code",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["language"].update(ann=["one", "two"]), "have 2, 1 and 1 entries"),
        (lambda d: d["language"].update(ann=[7]), "'language.ann', entry 0 is no short text"),
        (lambda d: d["info"].update(indx=[(5, 3)]), "from step 5 to 3"),
        (lambda d: d["info"].update(indx=[(0.5, 3)]), "whole numbers"),
        (lambda d: d["info"].update(indx=[(0, 10**8)]), "steps, more than"),
        (lambda d: d.pop("info"), "field 'info'"),
        (lambda d: d.update(extra=Bomb()), "system"),
    ],
)
def test_language_that_is_not_calvins_is_refused(
    split: Path, change: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = split / "lang_annotations" / "auto_lang_ann.npy"
    content = np.load(path, allow_pickle=True).item()
    monkeypatch.chdir(split)
    change(content)  # type: ignore[operator]
    np.save(path, content)
    with pytest.raises((EpisodeError, UnsafeFileError), match=message) as caught:
        open_episode(f"{split}#0")
    assert str(path) in str(caught.value)
    assert not (split / "ran-code").exists()
    assert find_episodes(split) == [f"{split}#0"]  # whoever opens it is told


@pytest.mark.parametrize(
    "text", ["cameras: [", "cameras: 3", "!!python/object/apply:os.system ['true']", "cameras:\n  static: {fov: x}"]
)
def test_a_damaged_camera_configuration_is_one_error(split: Path, text: str) -> None:
    (split / ".hydra" / "merged_config.yaml").write_text(text)
    with pytest.raises(EpisodeError, match=r"merged_config\.yaml"):
        open_episode(f"{split}#0")


def test_an_episode_travels_between_processes_and_its_hash_follows_its_content(split: Path) -> None:
    episode = open_episode(f"{split}#0")
    copy = pickle.loads(pickle.dumps(episode))  # noqa: S301
    np.testing.assert_array_equal(copy.rgb("wrist", 2), episode.rgb("wrist", 2))
    assert copy.content_hash == episode.content_hash != open_episode(f"{split}#1").content_hash
    moved = split.with_name("moved")
    shutil.copytree(split, moved)
    assert open_episode(f"{moved}#0").content_hash == episode.content_hash
    path = step_file(split, 3)
    path.write_bytes(path.read_bytes() + b" ")
    assert open_episode(f"{split}#0").content_hash != episode.content_hash


@pytest.mark.skipif(not MINI.is_dir(), reason="needs the real CALVIN sample ../shared/data/calvin_mini")
def test_a_real_split_is_read_and_its_geometry_holds() -> None:
    names = find_episodes(MINI)
    assert len(names) == 4
    episode = open_episode(names[0])
    assert (episode.info.instruction, episode.info.length) == ("pull the handle to open the drawer", 64)
    rgb, depth = episode.rgb("static", 10), episode.depth("static", 10)
    assert rgb.shape == (200, 200, 3)
    assert np.isfinite(depth).all()
    K, T = episode.intrinsics("static"), episode.T_world_camera("static")[0]
    assert K[0, 0] == pytest.approx(1143.0, abs=0.1)
    v, u = np.mgrid[:200, :200] + 0.5
    points = (
        np.stack([(u - K[0, 2]) / K[0, 0] * depth, (v - K[1, 2]) / K[1, 1] * depth, depth], -1) @ T[:3, :3].T + T[:3, 3]
    )
    heights = points[..., 2]
    assert (np.abs(heights) < 0.01).mean() > 0.2  # the floor of the simulator lies at z = 0
    assert ((heights > 0.42) & (heights < 0.47)).mean() > 0.1  # and the top of its table at 0.46
    uvz = K @ (np.linalg.inv(T) @ np.append(episode.state[10, :3], 1))[:3]
    seen = depth[int(uvz[1] / uvz[2]), int(uvz[0] / uvz[2])]
    assert uvz[2] == pytest.approx(seen, abs=0.15)  # the tool is where the camera sees the hand
    step = np.diff(episode.state[:, :3], axis=0)
    assert np.abs(0.02 * episode.action[:-1, :3] - step).max() < 0.02


def test_evaluation_chains(split: Path) -> None:
    assert read_chains(split) == ()
    path = split.parent / "eval_sequences.json"
    path.write_text('[[{"led": 0, "drawer": "open", "slider": "left"}, ["a", "b", "c", "d", "e"]]]')
    (chain,) = read_chains(split)
    assert chain.initial_state == {"led": 0, "drawer": "open", "slider": "left"}
    assert chain.tasks == ("a", "b", "c", "d", "e")
    for text, message in (
        ('[[{"led": 0}, ["a"]]]', "entry 0 has no list of 5 tasks"),
        ('[[3, ["a", "b", "c", "d", "e"]]]', "entry 0 has no initial state"),
        ("{}", "list of chains"),
        ("[", "not JSON"),
    ):
        path.write_text(text)
        with pytest.raises(EpisodeError, match=message):
            read_chains(split)


def test_damage_inside_a_step_of_a_long_recording_is_one_error_with_a_way_out(
    split: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.episodes.readers.calvin._CHECKED_STEPS", LENGTH - 1)
    path = step_file(split, 6)
    arrays = dict(np.load(path))
    np.savez_compressed(path, **{**arrays, "robot_obs": arrays["robot_obs"] * np.nan})
    steps = StepFiles(split, [step_file(split, step) for step in range(LENGTH)])
    assert steps.image(6, "rgb_static", (24, 32, 3)).any()  # what is not damaged can be looked at
    with pytest.raises(EpisodeError, match=rf"{path.name}: field 'robot_obs' .* move this file away"):
        _all_numbers(steps, tuple(arrays))  # what a long episode's numbers are loaded by
    path.unlink()
    assert open_episode(f"{split}#1").info.length == 6

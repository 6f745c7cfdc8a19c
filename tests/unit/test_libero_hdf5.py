"""LIBERO's HDF5 files: orientation, depth, the lag of the actions, language, and what is damaged or hostile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import EpisodeError, UnsafeFileError
from tests.libero_factory import FAR, write_libero_file
from trainer.episodes.open import find_episodes, list_episodes, open_episode
from trainer.episodes.readers.reader import EpisodeSummary
from trainer.episodes.rotations import from_axis_angle, rotation_matrix

h5py = pytest.importorskip("h5py")

LENGTH = 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_libero_file(tmp_path / "put_down_demo.hdf5", length=LENGTH)
    return tmp_path / "put_down_demo.hdf5"


def test_demonstrations_are_listed(path: Path) -> None:
    assert find_episodes(path.parent) == [f"{path}#0", f"{path}#1"]
    rows = [item for item in list_episodes(path) if isinstance(item, EpisodeSummary)]
    assert {(row.instruction, row.task, row.length, row.outcome) for row in rows} == {
        ("put the box down", "put_down", LENGTH - 1, "success")
    }
    assert rows[0].views == ("static", "wrist")
    with pytest.raises(EpisodeError, match="asked for #2"):
        open_episode(f"{path}#2")


def test_images_are_upright_and_depth_is_in_metres(tmp_path: Path) -> None:
    recordings = write_libero_file(tmp_path / "a.hdf5", length=LENGTH)
    episode = open_episode(f"{tmp_path / 'a.hdf5'}#1")
    for view in ("static", "wrist"):
        truth = recordings[1].views[view]
        assert truth.depth is not None
        for step in (0, LENGTH - 2):
            np.testing.assert_array_equal(episode.rgb(view, step), truth.rgb[step])
            seen = np.where(truth.depth[step] < 0.99 * FAR, truth.depth[step], np.nan)
            np.testing.assert_allclose(episode.depth(view, step), seen, atol=2e-3, rtol=1e-4)
    static = recordings[1].views["static"]
    assert static.K is not None
    assert static.T_world_camera is not None
    np.testing.assert_allclose(episode.intrinsics("static"), static.K, rtol=1e-9)
    np.testing.assert_allclose(episode.T_world_camera("static"), static.T_world_camera[:-1], atol=1e-9)
    assert episode.has("K", "wrist")
    assert not episode.has("T_world_camera", "wrist")


def test_an_observation_is_followed_by_the_action_after_it(path: Path) -> None:
    episode = open_episode(f"{path}#0")
    with h5py.File(path) as file:
        demo: Any = file["data/demo_0"]
        actions, pose, fingers = demo["actions"][...], demo["obs/ee_states"][...], demo["obs/gripper_states"][...]
        states = demo["states"][...]
    np.testing.assert_array_equal(episode.action[:, :6], actions[1:, :6])
    np.testing.assert_array_equal(episode.action[:, 6], actions[1:, 6] < 0)  # -1 opens
    np.testing.assert_array_equal(episode.state[:, :3], pose[:-1, :3])
    np.testing.assert_allclose(rotation_matrix(episode.state[:, 3:7]), from_axis_angle(pose[:-1, 3:]), atol=1e-12)
    np.testing.assert_allclose(episode.state[:, 7], fingers[:-1, 0] / 0.04)
    np.testing.assert_array_equal(episode.features["states"], states[1:])
    np.testing.assert_array_equal(episode.features["obs/joint_states"].shape, (LENGTH - 1, 7))


def test_depth_without_its_planes_is_absent_and_said(tmp_path: Path) -> None:
    write_libero_file(tmp_path / "a.hdf5", length=LENGTH, extent=False)
    episode = open_episode(tmp_path / "a.hdf5")
    assert episode.info.depth_scale is None
    assert not episode.has("depth", "static")
    assert "near and far" in episode.info.notes[0]


def test_language_comes_from_the_task_where_the_problem_has_none(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["data"].attrs["problem_info"] = "{}"
    assert open_episode(path).info.instruction == "Lift the box"
    with h5py.File(path, "a") as file:
        del file["data"].attrs["bddl_file_content"]
        file["data"].attrs["problem_info"] = "not json"
    assert open_episode(path).info.instruction == ""


def test_parts_of_different_length_end_at_the_shortest(path: Path) -> None:
    with h5py.File(path, "a") as file:
        demo: Any = file["data/demo_0"]
        kept = demo["obs/eye_in_hand_rgb"][:5]
        del demo["obs/eye_in_hand_rgb"]
        demo["obs/eye_in_hand_rgb"] = kept
    episode = open_episode(f"{path}#0")
    assert (episode.info.length, episode.info.outcome) == (4, None)
    assert "ends at step 4" in episode.info.notes[0]
    assert len(episode.action) == 4


def test_what_a_lab_keeps_beside_the_steps_is_left_out_and_named(path: Path) -> None:
    names = set(open_episode(f"{path}#0").features)
    with h5py.File(path, "a") as file:
        demo: Any = file["data/demo_0"]
        demo["obs/agentview_intrinsics"], demo["seed"] = np.eye(3), np.array([3])
        demo["init_state"] = np.arange(110.0)  # more numbers than there are steps
    episode = open_episode(f"{path}#0")
    assert set(episode.features) == names
    (note,) = episode.info.notes
    assert all(name in note for name in ("'obs/agentview_intrinsics'", "'seed'", "'init_state'"))


def test_depth_that_is_no_buffer_is_absent_and_said(path: Path) -> None:
    with h5py.File(path, "a") as file:
        obs: Any = file["data/demo_0/obs"]
        for name in ("agentview_depth", "eye_in_hand_depth"):
            del obs[name]
            obs[name] = np.full((LENGTH, 32, 32), 900, np.uint16)
    episode = open_episode(f"{path}#0")
    assert not episode.has("depth", "static")
    assert any("its depth is not shown" in note for note in episode.info.notes)


def spoil(path: Path, what: str, outside: Path) -> None:
    with h5py.File(path, "a") as file:
        obs: Any = file["data/demo_0/obs"]
        if what == "external link":
            del obs["agentview_rgb"]
            obs["agentview_rgb"] = h5py.ExternalLink(str(outside), "/x")
        elif what == "external data":
            del obs["agentview_rgb"]
            obs.create_dataset("agentview_rgb", (8, 4, 4, 3), "u1", external=[(str(outside), 0, 384)])
        elif what == "virtual":
            del obs["agentview_rgb"]
            layout = h5py.VirtualLayout((8, 4, 4, 3), "u1")
            layout[:] = h5py.VirtualSource(str(outside), "x", (8, 4, 4, 3))
            obs.create_virtual_dataset("agentview_rgb", layout)
        elif what == "bomb":
            del obs["ee_states"]
            obs.create_dataset("ee_states", (10**7, 6), "f8", chunks=(10**4, 6), compression="gzip", fillvalue=0.0)
        elif what == "huge frames":
            del obs["agentview_rgb"]
            obs.create_dataset("agentview_rgb", (8, 10**5, 10**5, 3), "u1", chunks=(1, 100, 100, 3))
        elif what == "huge pieces":
            del obs["agentview_rgb"]
            obs.create_dataset("agentview_rgb", (8, 8000, 8000, 3), "u1", chunks=(8, 8000, 8000, 3), compression="gzip")
        elif what == "nan":
            obs["ee_states"][2, 1] = np.nan
        elif what == "text":
            del obs["agentview_rgb"]
            obs["agentview_rgb"] = "image"
        elif what == "short numbers":
            del obs["ee_states"]
            obs["ee_states"] = np.zeros((3, 6))


@pytest.mark.parametrize(
    ("what", "kind", "field"),
    [
        ("external link", UnsafeFileError, "agentview_rgb"),
        ("external data", UnsafeFileError, "agentview_rgb"),
        ("virtual", UnsafeFileError, "agentview_rgb"),
        ("bomb", UnsafeFileError, "ee_states"),
        ("huge frames", EpisodeError, "agentview_rgb"),
        ("huge pieces", UnsafeFileError, "agentview_rgb"),
        ("nan", EpisodeError, "ee_states"),
        ("text", EpisodeError, "agentview_rgb"),
        ("short numbers", EpisodeError, "ee_states"),
    ],
)
def test_hostile_files_are_one_error(path: Path, what: str, kind: type[Exception], field: str) -> None:
    secret = path.with_name("secret")
    secret.write_bytes(bytes(1000))
    spoil(path, what, secret)
    with pytest.raises(kind, match=field) as caught:
        open_episode(f"{path}#0").rgb("static", 0)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("share", "demos"), [(0.05, 0), (0.4, 1), (0.7, 2), (0.9, 3)])
def test_a_cut_file_opens_up_to_its_last_good_demonstration_and_says_so(
    tmp_path: Path, share: float, demos: int
) -> None:
    path, whole = tmp_path / "cut_demo.hdf5", tmp_path / "whole_demo.hdf5"
    write_libero_file(whole, demos=4)
    path.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    if not demos:
        with pytest.raises(EpisodeError, match="no demonstration can be read") as caught:
            open_episode(path)
        assert str(path) in str(caught.value)
        return
    for index in range(demos):
        episode, true = open_episode(f"{path}#{index}"), open_episode(f"{whole}#{index}")
        assert f"{demos} of 4 demonstrations can be read" in episode.info.notes[0]
        assert episode.info.length == true.info.length
        np.testing.assert_array_equal(episode.action, true.action)
        for step in range(episode.info.length):
            np.testing.assert_array_equal(episode.rgb("wrist", step), true.rgb("wrist", step))
    with pytest.raises(EpisodeError, match=f"has {demos} demonstrations"):
        open_episode(f"{path}#{demos}")


def test_a_file_cut_before_its_list_of_demonstrations_says_that_it_is_cut(tmp_path: Path) -> None:
    """As `trainer export --format libero` writes: what says where the group `data` is lies behind the images."""
    path = tmp_path / "cut_demo.hdf5"
    with h5py.File(path, "w") as file:
        file["filler"] = np.ones(5000)
        file.create_group("data/demo_0/obs")["agentview_rgb"] = np.zeros((9, 8, 8, 3), np.uint8)
        at = h5py.h5o.get_info(file["data"].id).addr
    path.write_bytes(path.read_bytes()[: at + 4])
    assert find_episodes(tmp_path) == [f"{path}#0"]
    with pytest.raises(EpisodeError, match=r"damaged or truncated, cut off: it has \d+ of its \d+ bytes") as caught:
        open_episode(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_hdf5_of_others_is_no_episode(tmp_path: Path) -> None:
    path = tmp_path / "aloha.hdf5"
    with h5py.File(path, "w") as file:
        file["observations/qpos"] = np.zeros((4, 14))
    assert find_episodes(tmp_path) == []


def test_a_stream_that_is_cut_ends_at_its_last_whole_frame(tmp_path: Path) -> None:
    """Contiguous and chunked storage; a library that reads zeros behind the end must not be believed."""
    path, whole = tmp_path / "cut_demo.hdf5", tmp_path / "whole_demo.hdf5"
    pixels = np.random.default_rng(0).integers(1, 255, (20, 32, 32, 3), np.uint8)
    for options in ({}, {"chunks": (4, 32, 32, 3)}, {"chunks": (1, 32, 32, 3), "compression": "gzip"}):
        with h5py.File(whole, "w") as file:
            demo = file.create_group("data/demo_0")
            demo["actions"] = np.zeros((20, 7))
            demo.create_dataset("obs/agentview_rgb", data=pixels, **options)
        path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
        episode = open_episode(path)
        assert 4 < episode.info.length < 14
        assert "cut off" in episode.info.notes[0]
        for step in range(episode.info.length):
            np.testing.assert_array_equal(episode.rgb("static", step), pixels[step, ::-1])


def test_a_damaged_file_never_crashes_the_reader(path: Path) -> None:
    """Findings of the fuzzer: damaged headers, heaps and types made the library raise eight kinds of exception."""
    good, rng = path.read_bytes(), np.random.default_rng(3)
    for _ in range(40):
        data = bytearray(good)
        for at in rng.integers(0, 4000, 12):  # where the tables of names and types lie
            data[at] = rng.integers(256)
        path.write_bytes(data)
        try:
            open_episode(f"{path}#0").rgb("static", 0)
        except (EpisodeError, UnsafeFileError) as error:
            assert str(path) in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    "text",
    ["<mujoco", '<!DOCTYPE x [<!ENTITY a "b">]><mujoco/>', "<mujoco><visual><map znear='x'/></visual></mujoco>", ""],
)
def test_a_model_that_is_none_costs_the_cameras_only(path: Path, text: str) -> None:
    with h5py.File(path, "a") as file:
        file["data/demo_0"].attrs["model_file"] = text
    episode = open_episode(path)
    episode.rgb("static", 0)
    assert not any(episode.has(field, "static") for field in ("K", "T_world_camera", "depth"))


@pytest.mark.parametrize("fovy", ["5e-324", "0", "-45", "180", "nan", "45 45"])
def test_a_field_of_view_that_no_camera_has_is_mujocos_default(path: Path, fovy: str) -> None:
    camera = f'<mujoco><worldbody><camera name="agentview" fovy="{fovy}"/></worldbody></mujoco>'
    with h5py.File(path, "a") as file:
        file["data/demo_0"].attrs["model_file"] = camera
    K = open_episode(path).intrinsics("static")
    assert K[1, 1] == pytest.approx(16 / np.tan(np.radians(22.5)))

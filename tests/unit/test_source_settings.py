"""Settings of a source: what they accept, how two add up, and that a planted fault plus its setting is no fault."""

from __future__ import annotations

import dataclasses
import json
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from model.errors import ConfigError
from tests.factories import make_recording
from trainer.episodes.camera import Camera
from trainer.episodes.corrected import CorrectedStreamEpisode, corrected
from trainer.episodes.episode import Episode, View
from trainer.episodes.lazy import LazyEpisode, Numbers
from trainer.episodes.memory import MemoryEpisode
from trainer.episodes.recording import Recording
from trainer.episodes.source_settings import SourceSetting, ViewSetting, setting_from_json, setting_to_json

NEAR, FAR = 0.01, 10.0
RECORDING = make_recording(length=12, size=(20, 24))
STATIC, WRIST = RECORDING.views["static"], RECORDING.views["wrist"]


def in_memory(recording: Recording) -> Episode:
    return MemoryEpisode(recording)


def lazy(recording: Recording) -> Episode:
    """The same as an episode of a foreign format, which has no flow."""

    def camera(view: View) -> Camera:
        stored = recording.views[view]
        assert stored.depth is not None
        return Camera(
            source_name=view,
            size=(stored.rgb.shape[1], stored.rgb.shape[2]),
            rgb=stored.rgb.__getitem__,
            depth=stored.depth.__getitem__,
            K=stored.K,
            T_world_camera=stored.T_world_camera,
        )

    return LazyEpisode(
        name="made#0",
        info=dataclasses.replace(recording.info, has_exact_flow=False),
        content_hash="0" * 64,
        frame_steps=recording.frame_steps,
        cameras={view: camera(view) for view in recording.views},
        numbers=lambda: Numbers(state=recording.state, action=recording.action),
    )


def with_view(view: View, **changes: Any) -> Recording:
    views = {**RECORDING.views, view: dataclasses.replace(RECORDING.views[view], **changes)}
    return dataclasses.replace(RECORDING, views=views)


def stored_turned(rows: int, columns: int) -> dict[str, Any]:
    assert STATIC.depth is not None
    assert STATIC.body is not None
    parts = {"rgb": STATIC.rgb, "depth": STATIC.depth, "body": STATIC.body}
    return {name: np.ascontiguousarray(part[:, ::rows, ::columns]) for name, part in parts.items()}


def ray_lengths() -> np.ndarray:
    assert STATIC.depth is not None
    assert STATIC.K is not None
    height, width = STATIC.depth.shape[1:]
    v, u = np.mgrid[:height, :width] + 0.5
    rays = np.stack([(u - STATIC.K[0, 2]) / STATIC.K[0, 0], (v - STATIC.K[1, 2]) / STATIC.K[1, 1], np.ones_like(u)])
    return (STATIC.depth * np.linalg.norm(rays, axis=0)).astype(np.float32)


def moved_intrinsics() -> np.ndarray:
    """Intrinsics whose principal point is not the middle, so that a turn shows."""
    return np.array([[30.0, 0, 10.0], [0, 31.0, 8.0], [0, 0, 1]])


def gripper_inverted(numbers: np.ndarray) -> np.ndarray:
    return np.concatenate([numbers[:, :-1], 1 - numbers[:, -1:]], 1)


def planted() -> Mapping[str, tuple[Recording, SourceSetting]]:
    """Each fault as a recording of the clean scene would have it, and the setting that says so."""
    assert STATIC.depth is not None
    assert STATIC.T_world_camera is not None
    assert STATIC.K is not None
    assert RECORDING.action is not None
    assert RECORDING.state is not None
    assert RECORDING.info.action_space is not None
    height, width = STATIC.rgb.shape[1:3]
    assert WRIST.T_world_camera is not None
    half_turn, opengl = np.diag([-1.0, -1, 1, 1]), np.diag([1.0, -1, -1, 1])
    turned_K = STATIC.K.copy()
    turned_K[:2, 2] = width - STATIC.K[0, 2], height - STATIC.K[1, 2]
    buffer = np.float32((FAR - NEAR * FAR / STATIC.depth.astype(np.float64)) / (FAR - NEAR))
    space = RECORDING.info.action_space
    K = STATIC.K

    def static(**changes: Any) -> SourceSetting:
        return SourceSetting(static=ViewSetting(**changes))

    def numbers(**changes: Any) -> Recording:
        return dataclasses.replace(RECORDING, **changes)

    return {
        "rotated": (with_view("static", **stored_turned(-1, -1)), static(turn="rotate-180")),
        "mirrored": (with_view("static", **stored_turned(1, -1)), static(turn="mirror")),
        "flipped": (with_view("static", **stored_turned(-1, 1)), static(turn="flip")),
        "hung upside-down": (
            with_view("static", **stored_turned(-1, -1), K=turned_K, T_world_camera=STATIC.T_world_camera @ half_turn),
            static(turn="rotate-180", camera_turns=True),
        ),
        "BGR": (with_view("static", rgb=STATIC.rgb[..., ::-1].copy()), static(swap_red_blue=True)),
        "millimetres": (with_view("static", depth=STATIC.depth * 1000), static(depth_factor=0.001)),
        "buffer": (with_view("static", depth=buffer), static(depth_planes=(NEAR, FAR))),
        "ray length": (with_view("static", depth=ray_lengths()), static(ray_length=True)),
        "wrong K": (
            with_view("static", K=moved_intrinsics()),
            static(K=(K[0, 0] / width, K[1, 1] / height, K[0, 2] / width, K[1, 2] / height)),
        ),
        "wrong field of view": (
            with_view("static", K=moved_intrinsics()),
            static(fov_degrees=float(2 * np.degrees(np.arctan(0.5 * width / K[0, 0])))),
        ),
        "world to camera": (
            with_view("wrist", T_world_camera=np.linalg.inv(WRIST.T_world_camera)),
            SourceSetting(wrist=ViewSetting(pose="inverted")),
        ),
        "OpenGL axes": (
            with_view("wrist", T_world_camera=WRIST.T_world_camera @ opengl),
            SourceSetting(wrist=ViewSetting(pose="opengl")),
        ),
        "gripper command": (
            numbers(action=gripper_inverted(RECORDING.action)),
            SourceSetting(invert_gripper_action=True),
        ),
        "gripper opening": (numbers(state=gripper_inverted(RECORDING.state)), SourceSetting(invert_gripper_state=True)),
        "action unit": (
            numbers(
                info=dataclasses.replace(
                    RECORDING.info, action_space=dataclasses.replace(space, metres_per_unit=1.0, frame="tool")
                )
            ),
            SourceSetting(metres_per_unit=space.metres_per_unit, action_frame="base"),
        ),
        "control rate": (
            numbers(info=dataclasses.replace(RECORDING.info, control_hz=5.0)),
            SourceSetting(control_hz=RECORDING.info.control_hz),
        ),
    }


FAULTS = planted()


def content(episode: Episode) -> dict[str, Any]:
    """Everything a reader of the episode can see, at a few steps."""
    seen: dict[str, Any] = {"state": episode.state, "action": episode.action}
    for view in episode.info.views:
        seen |= {f"{view}.K": episode.intrinsics(view), f"{view}.pose": episode.T_world_camera(view)}
        for step in map(int, episode.frame_steps[::3]):
            seen |= {f"{view}.rgb {step}": episode.rgb(view, step), f"{view}.depth {step}": episode.depth(view, step)}
    if episode.info.has_exact_flow:
        uv, later = np.array([[3.5, 4.2], [11.0, 12.5], [20.9, 18.3]]), np.array([0, 4, 11])
        tracks = episode.tracks("static", 2, uv, later)
        seen |= {"uvz": tracks.uvz, "visible": tracks.visible, "own": episode.own_motion("static", 2, 11)}
    return seen


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("build", [in_memory, lazy])
def test_a_planted_fault_and_its_setting_give_the_clean_episode(fault: str, build: Any) -> None:
    recording, setting = FAULTS[fault]
    clean, faulty = build(RECORDING), build(recording)
    repaired = corrected(faulty, setting)
    expected, got, wrong = content(clean), content(repaired), content(faulty)
    for name, value in expected.items():
        if value.dtype == np.uint8:
            np.testing.assert_array_equal(got[name], value, err_msg=name)
        else:
            np.testing.assert_allclose(got[name], value, rtol=2e-5, atol=2e-5, err_msg=name)
    info = {name: getattr(clean.info, name) for name in ("action_space", "control_hz")}
    assert {name: getattr(repaired.info, name) for name in info} == info
    changed = any(not np.array_equal(wrong[name], value, equal_nan=True) for name, value in expected.items())
    assert changed or faulty.info != clean.info  # else nothing was tested
    assert repaired.info.corrected == setting.clauses() != ()
    assert repaired.content_hash not in (faulty.content_hash, clean.content_hash)


def test_the_repaired_episode_travels_and_is_the_same_again() -> None:
    recording, setting = FAULTS["rotated"]
    repaired = corrected(in_memory(recording), setting)
    again = pickle.loads(pickle.dumps(repaired))  # noqa: S301 - ours
    assert isinstance(again, CorrectedStreamEpisode)
    assert (again.content_hash, again.info) == (repaired.content_hash, repaired.info)
    np.testing.assert_array_equal(again.rgb("static", 2), repaired.rgb("static", 2))


def test_a_setting_that_changes_nothing_gives_the_episode_itself() -> None:
    episode = in_memory(make_recording(length=8, size=(20, 24), views=("static",)))
    assert corrected(episode, SourceSetting(why=("somebody asked",))) is episode
    assert corrected(episode, SourceSetting(wrist=ViewSetting(turn="flip"))) is episode  # it has no such camera


def test_the_reasons_are_told_and_change_no_hash() -> None:
    setting = SourceSetting(static=ViewSetting(swap_red_blue=True), why=("the table is blue",))
    episode = corrected(in_memory(RECORDING), setting)
    assert "Set for this source: the table is blue" in episode.info.notes
    assert episode.content_hash == corrected(in_memory(RECORDING), dataclasses.replace(setting, why=())).content_hash


def test_what_was_missing_is_assumed_and_what_was_wrong_is_corrected() -> None:
    setting = SourceSetting(static=ViewSetting(fov_degrees=60.0))
    lacking = corrected(lazy(with_view("static", K=None, T_world_camera=None)), setting)
    assert lacking.info.assumed == ("K.static", "T_world_camera.static")
    assert lacking.info.corrected == ()
    replaced = corrected(in_memory(RECORDING), setting)
    assert replaced.info.assumed == ("K.static",)
    assert replaced.info.corrected == ("static field of view 60°",)


def test_depth_along_the_ray_asks_for_intrinsics() -> None:
    recording = with_view("static", K=None)
    with pytest.raises(ConfigError, match=r"static\.ray_length' needs intrinsics"):
        corrected(lazy(recording), SourceSetting(static=ViewSetting(ray_length=True)))
    both = SourceSetting(static=ViewSetting(ray_length=True, fov_degrees=50.0))
    assert np.isfinite(corrected(lazy(recording), both).depth("static", 0)).any()


def test_values_outside_of_a_buffer_are_no_depth() -> None:
    assert STATIC.depth is not None
    depth = np.full_like(STATIC.depth, 0.5)
    depth[:, 0, :4] = (-0.1, 1.5, np.nan, 1.0)
    setting = SourceSetting(static=ViewSetting(depth_planes=(NEAR, FAR)))
    got = corrected(lazy(with_view("static", depth=depth)), setting).depth("static", 0)
    np.testing.assert_array_equal(np.isnan(got[0, :4]), [True, True, True, False])
    assert got[0, 3] == pytest.approx(FAR)


@pytest.mark.parametrize("fault", FAULTS)
def test_json_keeps_every_setting(fault: str) -> None:
    setting = dataclasses.replace(FAULTS[fault][1], why=("measured",))
    assert setting_from_json(json.loads(json.dumps(setting_to_json(setting)))) == setting


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ([], "the setting"),
        ({"evil": 1}, "evil"),
        ({"static": 3}, "static"),
        ({"static": {"turn": "sideways"}}, "static.turn"),
        ({"static": {"turn": ["flip"]}}, "static.turn"),
        ({"static": {"camera_turns": True}}, "static.camera_turns"),
        ({"wrist": {"swap_red_blue": 1}}, "wrist.swap_red_blue"),
        ({"wrist": {"depth_factor": float("nan")}}, "wrist.depth_factor"),
        ({"wrist": {"depth_factor": "1"}}, "wrist.depth_factor"),
        ({"wrist": {"depth_factor": 10**400}}, "wrist.depth_factor"),
        ({"wrist": {"depth_planes": [1]}}, "wrist.depth_planes"),
        ({"wrist": {"depth_planes": [2, 1]}}, "wrist.depth_planes"),
        ({"static": {"K": [1, 1, 0.5]}}, "static.K"),
        ({"static": {"K": [0, 1, 0.5, 0.5]}}, "static.K"),
        ({"static": {"K": [1, 1, 0.5, 0.5], "fov_degrees": 60}}, "static.K"),
        ({"static": {"fov_degrees": 180}}, "static.fov_degrees"),
        ({"static": {"pose": None}}, "static.pose"),
        ({"static": {"bogus": None}}, "static.bogus"),
        ({"action_frame": "camera"}, "action_frame"),
        ({"control_hz": -1}, "control_hz"),
        ({"metres_per_unit": True}, "metres_per_unit"),
        ({"why": ["a\nb"]}, "why"),
        ({"why": "text"}, "why"),
        ({"why": ["x" * 501]}, "why"),
        ({"why": ["x"] * 33}, "why"),
    ],
)
def test_a_hostile_setting_is_refused_by_its_field(value: object, field: str) -> None:
    with pytest.raises(ConfigError, match=f"'{field}'"):
        setting_from_json(value)


def test_settings_found_one_after_the_other_add_up() -> None:
    turned = SourceSetting(static=ViewSetting(turn="flip"), why=("a",))
    mirrored = SourceSetting(static=ViewSetting(turn="mirror"), why=("b",))
    assert turned.then(mirrored) == SourceSetting(static=ViewSetting(turn="rotate-180"), why=("a", "b"))
    assert turned.then(turned).empty
    millimetres = SourceSetting(static=ViewSetting(depth_factor=0.001))
    assert millimetres.then(millimetres).static.depth_factor == pytest.approx(1e-6)
    assert turned.then(millimetres).static == ViewSetting(turn="flip", depth_factor=0.001)


@pytest.mark.parametrize(
    ("first", "later"),
    [
        (ViewSetting(turn="flip"), ViewSetting(turn="rotate-180", camera_turns=True)),
        (ViewSetting(depth_factor=0.001), ViewSetting(depth_planes=(NEAR, FAR))),
        (ViewSetting(ray_length=True), ViewSetting(ray_length=True)),
        (ViewSetting(pose="opengl"), ViewSetting(pose="inverted")),
        (ViewSetting(turn="rotate-180", camera_turns=True), ViewSetting(pose="inverted")),
    ],
)
def test_what_one_setting_cannot_say_is_refused(first: ViewSetting, later: ViewSetting) -> None:
    with pytest.raises(ConfigError, match="undo that first"):
        SourceSetting(static=first).then(SourceSetting(static=later))

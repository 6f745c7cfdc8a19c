"""A static camera in another place, and a gripper that counts backwards: found by what the pictures and numbers say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.audit_faults import FAULTS, with_fault
from tests.factories import make_recording
from trainer.episodes.convert import recording_of
from trainer.episodes.memory import MemoryEpisode
from trainer.episodes.open import open_episode
from trainer.episodes.recording import Recording
from workbench.audit import Kind
from workbench.audit.extrinsics import check_extrinsics
from workbench.audit.finding import Finding
from workbench.audit.gripper import check_gripper
from workbench.audit.measured import Measured
from workbench.audit.renderer import check_renderer
from workbench.audit.tool_in_sight import tool_seen
from workbench.audit.two_views import two_views

ASSETS = Path(__file__).parents[2] / "assets" / "episodes"
CALVIN = Path(__file__).parents[3] / "shared" / "data" / "calvin_mini"
DRAWER, BOWLS = "libero_90-close-top-drawer-0", "libero_90-stack-front-bowl-0"


def moved(recording: Recording, by: np.ndarray) -> Recording:
    """The static camera said to be `by` metres (world) beside where it is."""
    static = recording.views["static"]
    T = static.T_world_camera.copy()
    T[:, :3, 3] += by
    views = {**recording.views, "static": dataclasses.replace(static, T_world_camera=T)}
    return dataclasses.replace(recording, views=views)


def without_depth(recording: Recording) -> Recording:
    views = {name: dataclasses.replace(view, depth=None, body=None) for name, view in recording.views.items()}
    info = dataclasses.replace(recording.info, depth_scale=None, depth_origin=None, has_exact_flow=False)
    return dataclasses.replace(recording, views=views, info=info)


@pytest.fixture(scope="module")
def bowls() -> Recording:
    return recording_of(open_episode(str(ASSETS / BOWLS)))


@pytest.mark.parametrize("by", [(0.0, -0.07, 0.0), (0.0, 0.1, 0.08)])
def test_the_wrist_view_says_where_the_static_camera_is(bowls: Recording, by: tuple[float, float, float]) -> None:
    found = two_views(Measured(MemoryEpisode(moved(bowls, np.array(by)))))
    assert found is not None
    assert found.contradict
    np.testing.assert_allclose(found.shift, -np.array(by), atol=0.021)


def test_two_views_of_one_scene_agree(bowls: Recording) -> None:
    found = two_views(Measured(MemoryEpisode(bowls)))
    assert found is not None
    assert not found.contradict
    assert found.distance == 0
    assert "same place" in found.words
    assert two_views(Measured(MemoryEpisode(without_depth(bowls)))) is None


def test_tool_must_be_where_something_moves(bowls: Recording) -> None:
    T = bowls.views["static"].T_world_camera
    K = bowls.views["static"].K
    beside, farther = T.copy(), T.copy()
    beside[:, 1, 3] += 0.15
    farther[:, 1, 3] += 0.3
    with_depth, without = Measured(MemoryEpisode(bowls)), Measured(MemoryEpisode(without_depth(bowls)))
    for measured in (with_depth, without):
        assert tool_seen(measured, K, T).empty == 0
        assert tool_seen(measured, K, T).judged >= 4
        assert tool_seen(measured, K, farther).contradicts
    assert tool_seen(with_depth, K, beside).contradicts


@pytest.mark.slow
def test_camera_elsewhere_is_reported_with_picture_and_correction() -> None:
    fault = next(fault for fault in FAULTS if fault.name == "static pose 15 cm off")
    measured = Measured(with_fault(open_episode(str(ASSETS / DRAWER)), fault))
    (finding,) = [answer for answer in check_extrinsics(measured) if isinstance(answer, Finding)]
    assert finding.kind is Kind.EXTRINSICS
    assert finding.title == "The static camera stands 15 cm from where its pose says"
    assert "-0.15" in finding.fix
    assert finding.setting is None
    assert finding.evidence is not None
    assert 0.5 < finding.confidence < 1


def test_camera_elsewhere_is_found_without_a_wrist_camera(bowls: Recording) -> None:
    alone = dataclasses.replace(
        moved(bowls, np.array([0.0, 0.15, 0.0])),
        views={"static": moved(bowls, np.array([0.0, 0.15, 0.0])).views["static"]},
        info=dataclasses.replace(bowls.info, views=("static",)),
    )
    (finding,) = [a for a in check_extrinsics(Measured(MemoryEpisode(alone))) if isinstance(a, Finding)]
    assert "nothing moves where the tool is" in finding.detail.lower()
    assert "Calibrate" in finding.fix


@pytest.mark.slow
@pytest.mark.skipif(not CALVIN.exists(), reason="needs ../shared/data: real CALVIN-format episodes")
@pytest.mark.parametrize("name", ["static OpenGL axes", "static pose 15 cm off"])
def test_pose_of_calvin_camera(name: str) -> None:
    from workbench.audit import audit

    fault = next(fault for fault in FAULTS if fault.name == name)
    (finding,) = audit(with_fault(open_episode(f"{CALVIN / 'training'}#3"), fault)).faults
    assert finding.kind is Kind.EXTRINSICS
    if fault.repaired is not None:
        assert finding.setting is not None
        assert finding.setting.static.pose == "opengl"


def _gripper(command: np.ndarray, opening: np.ndarray) -> Finding:
    recording = make_recording(length=len(command), views=("static",))
    state, action = recording.state.copy(), recording.action.copy()
    state[:, 7], action[:, 6] = opening, command
    episode = MemoryEpisode(dataclasses.replace(recording, state=state, action=action))
    (finding,) = [answer for answer in check_gripper(Measured(episode)) if isinstance(answer, Finding)]
    return finding


@pytest.mark.parametrize("told_to_shut_at_once", [False, True])
def test_inverted_gripper_is_named_by_how_the_episode_starts(told_to_shut_at_once: bool) -> None:
    command = np.r_[np.ones(10), np.zeros(20), np.ones(10)]
    if told_to_shut_at_once:
        command = command[10:]
    opening = np.r_[1.0, 1.0, command[:-2]]  # it starts open and follows two steps later
    state_wrong, command_wrong = _gripper(command, 1 - opening), _gripper(1 - command, opening)
    assert state_wrong.setting is not None
    assert state_wrong.setting.invert_gripper_state
    assert command_wrong.setting is not None
    assert command_wrong.setting.invert_gripper_action
    assert (state_wrong.confidence > 0.7) == (not told_to_shut_at_once)


@pytest.mark.parametrize(
    ("source", "noisy", "said"),
    [
        ("calvin", False, "rendered, by PyBullet"),
        ("lerobot libero_spatial", False, "rendered, by MuJoCo"),
        ("calvin", True, "says PyBullet, but"),
        ("folder", False, "rendered, by an unknown engine"),
        ("folder", True, "a camera's or a lossy codec's"),
    ],
)
def test_engine_is_named_as_far_as_it_is_known(source: str, noisy: bool, said: str) -> None:
    recording = make_recording(length=20, views=("static",))
    info = dataclasses.replace(recording.info, source=source, renderer=None)
    static = recording.views["static"]
    if noisy:
        noise = np.random.default_rng(0).normal(0, 4, static.rgb.shape)
        static = dataclasses.replace(static, rgb=np.clip(static.rgb + noise, 0, 255).astype(np.uint8))
    episode = MemoryEpisode(dataclasses.replace(recording, info=info, views={"static": static}))
    (finding,) = [answer for answer in check_renderer(Measured(episode)) if isinstance(answer, Finding)]
    assert finding.severity == "note"
    assert said in finding.title

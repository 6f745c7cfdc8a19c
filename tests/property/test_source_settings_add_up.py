"""Two settings added up do what they do one after the other, and a setting survives its file, whatever they say."""

from __future__ import annotations

import json

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from model.errors import ConfigError
from tests.factories import make_recording
from trainer.episodes.corrected import corrected
from trainer.episodes.episode import Episode
from trainer.episodes.memory import MemoryEpisode
from trainer.episodes.source_settings import (
    REVERSES,
    SourceSetting,
    ViewSetting,
    setting_from_json,
    setting_to_json,
)

EPISODE = MemoryEpisode(make_recording(length=4, size=(10, 12)))


@st.composite
def view_settings(draw: st.DrawFn) -> ViewSetting:
    turn = draw(st.sampled_from(sorted(REVERSES)))
    camera = draw(st.sampled_from(["none", "fov", "K"]))
    near = draw(st.floats(0.01, 1.0))
    return ViewSetting(
        turn=turn,
        camera_turns=turn != "none" and draw(st.booleans()),
        swap_red_blue=draw(st.booleans()),
        depth_planes=draw(st.sampled_from([None, (near, near + 4.0)])),
        depth_factor=draw(st.sampled_from([1.0, 0.5, 2.0])),
        ray_length=draw(st.booleans()),
        fov_degrees=draw(st.floats(20, 120)) if camera == "fov" else None,
        K=(draw(st.floats(0.5, 2.0)), 1.25, draw(st.floats(0.3, 0.7)), 0.4) if camera == "K" else None,
        pose=draw(st.sampled_from(["as-stored", "inverted", "opengl"])),
    )


@st.composite
def source_settings(draw: st.DrawFn) -> SourceSetting:
    return SourceSetting(
        static=draw(view_settings()),
        wrist=draw(view_settings()),
        invert_gripper_action=draw(st.booleans()),
        invert_gripper_state=draw(st.booleans()),
        metres_per_unit=draw(st.sampled_from([None, 0.02, 1.0])),
        control_hz=draw(st.sampled_from([None, 5.0, 30.0])),
        why=tuple(draw(st.lists(st.sampled_from(["a", "b", "c"]), max_size=2))),
    )


def same(one: Episode, other: Episode) -> None:
    step = int(one.frame_steps[0])
    for view in one.info.views:
        np.testing.assert_array_equal(one.rgb(view, step), other.rgb(view, step))
        np.testing.assert_allclose(one.depth(view, step), other.depth(view, step), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(one.intrinsics(view), other.intrinsics(view), atol=1e-9)
        np.testing.assert_allclose(one.T_world_camera(view), other.T_world_camera(view), atol=1e-9)
    np.testing.assert_allclose(one.action, other.action, atol=1e-12)
    np.testing.assert_allclose(one.state, other.state, atol=1e-12)
    assert (one.info.control_hz, one.info.action_space) == (other.info.control_hz, other.info.action_space)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(source_settings(), source_settings())
def test_the_sum_does_what_the_two_do(first: SourceSetting, later: SourceSetting) -> None:
    try:
        both = first.then(later)
    except ConfigError:  # said instead of done wrong
        assume(False)
        return
    for one, next_one in ((first.static, later.static), (first.wrist, later.wrist)):
        # Ray lengths are taken by what is known in the end, which is better than one after the other.
        assume(not (one.ray_length and (next_one.gives_camera or next_one.turn != "none")))
    same(corrected(corrected(EPISODE, first), later), corrected(EPISODE, both))


@settings(max_examples=200, deadline=None)
@given(source_settings())
def test_a_setting_survives_its_file(setting: SourceSetting) -> None:
    assert setting_from_json(json.loads(json.dumps(setting_to_json(setting)))) == setting


@settings(max_examples=200, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda x: st.lists(x)))
def test_anything_else_is_a_config_error(value: object) -> None:
    for record in (value, {"static": value}, {"static": {"K": value, "turn": value}}, {"why": value}):
        try:
            setting = setting_from_json(record)
        except ConfigError:
            continue
        assert setting_from_json(setting_to_json(setting)) == setting  # by chance it was one

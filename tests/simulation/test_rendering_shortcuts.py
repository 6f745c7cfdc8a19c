"""Leaving out what cannot be seen, and drawing once what keeps still, changes no image."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.episodes.episode import View
from trainer.simulation.recorder import VIEWS
from trainer.simulation.renderer import Frame

from .conftest import World


def plain_render(world: World, view: View, monkeypatch: pytest.MonkeyPatch) -> Frame:
    """Everything drawn, every time."""
    nothing = np.zeros(world.environment.scene.model.ngeom, bool)
    with monkeypatch.context() as patch:
        patch.setattr(world.renderer, "_outside", lambda view: nothing)
        patch.setattr(world.renderer, "_kept", {})
        return world.renderer.render(view)


@pytest.mark.parametrize("view", VIEWS)
def test_recorded_frames_are_plain_renders(world: World, view: View, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = world.recording
    stream = recording.views[view]
    assert stream.depth is not None
    assert stream.body is not None
    for frame in (2, 4):
        world.environment.scene.show(world.demonstration.states[recording.frame_steps[frame]])
        plain = plain_render(world, view, monkeypatch)
        assert np.array_equal(stream.rgb[frame], plain.rgb)
        assert np.array_equal(stream.body[frame], plain.body)
        assert np.abs(stream.depth[frame] - plain.depth).max() < 2e-5


def test_shadows_forbid_the_shortcuts(world: World) -> None:
    """A thing outside the view may cast its shadow into it."""
    model = world.environment.scene.model
    lights = model.light_castshadow.copy()
    try:
        model.light_castshadow[:] = 1
        assert not world.renderer._outside("wrist").any()
        world.renderer.keep("static", np.ones(len(world.environment.scene.rigid_names), bool))
        assert not world.renderer._kept
    finally:
        model.light_castshadow[:] = lights

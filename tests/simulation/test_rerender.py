"""Demonstrations rendered again from their stored states: the same pictures, and no files but the packages' own."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from model.errors import UnsafeFileError
from trainer.episodes.memory import MemoryEpisode
from trainer.episodes.open import open_episode
from trainer.simulation.record import main
from trainer.simulation.rerender import rerendered
from trainer.simulation.stored_model import stored_scene

from .conftest import SIZE, World

STEPS = 21


@pytest.fixture
def demo_file(world: World, tmp_path: Path) -> Path:
    """The world's demonstration as LIBERO would have stored it."""
    path = tmp_path / "stack_demo.hdf5"
    shot = world.recording.views["static"].rgb[:1, ::-1]
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["problem_info"] = json.dumps({"language_instruction": "stack"})
        demo = data.create_group("demo_0")
        actions = world.demonstration.actions[:STEPS].copy()
        actions[:, 6] = 1 - 2 * actions[:, 6]
        demo["states"], demo["actions"] = world.demonstration.states[:STEPS], actions
        demo["dones"] = np.arange(STEPS) == STEPS - 1
        demo["obs/agentview_rgb"] = np.repeat(shot, STEPS, 0)
        demo.attrs["model_file"] = world.model_xml.replace(str(Path.home()), "/Users/somebody")
    return path


def test_states_give_the_same_pictures_with_exact_flow(world: World, demo_file: Path) -> None:
    ((name, recording),) = rerendered(demo_file, resolution=SIZE, frame_stride=20)
    assert name == "demo_0"
    episode, truth = MemoryEpisode(recording), world.recording
    assert (episode.info.instruction, episode.info.length, episode.info.has_exact_flow) == ("stack", STEPS, True)
    for view in episode.info.views:
        for frame in range(2):  # the text of a model has six digits of each number, so edges move by a hair
            step, was = 20 * frame, truth.views[view]
            assert was.depth is not None
            assert (episode.rgb(view, step) != was.rgb[frame]).any(-1).mean() < 0.01
            error = np.abs(episode.depth(view, step) - was.depth[frame])
            assert np.quantile(error, 0.99) < 1e-4
    rows, columns = np.nonzero(episode.body("static", 0) > 0)
    tracks = episode.tracks("static", 0, np.stack([columns, rows], 1)[::50] + 0.5, np.array([0, 20]))
    assert tracks.known.all()
    np.testing.assert_allclose(episode.action, world.demonstration.actions[:STEPS])


def test_the_command_records_and_goes_on(demo_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ["--demos", str(demo_file), "--out", str(out), "--resolution", "64", "--frame-stride", "20"]
    assert main(arguments) == 0
    folder = out / "stack_demo" / "demo_0"
    made = (folder / "manifest.json").stat().st_mtime_ns
    assert open_episode(folder).info.task == "stack"
    assert main(arguments) == 0
    assert (folder / "manifest.json").stat().st_mtime_ns == made


@pytest.mark.parametrize(
    "xml",
    [
        '<mujoco><asset><mesh file="/etc/passwd"/></asset></mujoco>',
        '<mujoco><asset><mesh file="/x/robosuite/../../../../etc/passwd"/></asset></mujoco>',
        '<mujoco><include file="/x/assets/../../secret.xml"/></mujoco>',
        '<mujoco><asset><texture fileup="/etc/passwd"/></asset></mujoco>',
        '<!DOCTYPE a [<!ENTITY b SYSTEM "/etc/passwd">]><mujoco>&b;</mujoco>',
    ],
)
def test_a_model_that_leads_outside_is_refused(xml: str) -> None:
    with pytest.raises(UnsafeFileError):
        stored_scene(xml, "here")

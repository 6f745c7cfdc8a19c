"""What the page is told about damaged input: one line each, and the lists to choose something else from."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from model.errors import CheckpointError
from tests.factories import make_checkpoint, make_recording
from trainer.episodes.packed import save_packed
from workbench.catalog import Catalog
from workbench.ui.desk import Desk
from workbench.ui.payload import recorded_payload
from workbench.ui.views import opening_payload


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes `a-damaged`, `b-whole` and `no-depth`, checkpoints `whole` and `truncated`."""
    root = tmp_path_factory.mktemp("inputs")
    recording = make_recording(length=6, frame_stride=1, size=(32, 32))
    save_packed(recording, root / "episodes" / "a-damaged")
    depth = root / "episodes" / "a-damaged" / "static_depth.delta.safetensors"
    depth.write_bytes(depth.read_bytes()[:-1] + b"\0")
    save_packed(make_recording(length=6, frame_stride=1, size=(32, 32), seed=1), root / "episodes" / "b-whole")
    info = replace(recording.info, depth_scale=None, depth_origin=None, has_exact_flow=False)
    views = {view: replace(stream, depth=None, body=None) for view, stream in recording.views.items()}
    no_depth = replace(recording, info=info, views=views, body_pose=None, body_names=())
    save_packed(no_depth, root / "no-depth")
    make_checkpoint(root / "whole")
    weights = Path(shutil.copytree(root / "whole", root / "truncated")) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    return root


def make_desk(episodes: Path, checkpoints: Path) -> Desk:
    return Desk(Catalog(episode_roots=[episodes], checkpoint_roots=[checkpoints]))


def test_a_damaged_first_episode_leaves_the_others_to_choose(inputs: Path) -> None:
    desk = make_desk(inputs / "episodes", inputs / "whole")
    opened = opening_payload(desk, {}, refresh=False)
    assert opened["clip"] is None
    assert "static_depth" in opened["problem"]
    _, whole = desk.catalog.episodes()
    other = opening_payload(desk, {"episode": whole.id}, refresh=False)
    assert other["clip"]["steps"] == [0, 1, 2, 3, 4, 5]
    assert other["problem"] == ""


def test_a_truncated_checkpoint_leaves_what_was_recorded(inputs: Path) -> None:
    desk = make_desk(inputs / "episodes" / "b-whole", inputs / "truncated")
    clip = opening_payload(desk, {}, refresh=False)["clip"]
    episode, checkpoint = clip["episode"]["id"], clip["checkpoint"]["id"]
    frame = recorded_payload(desk.episode(episode), 0, "static", desk.scales(episode, checkpoint))
    assert frame["origin"] == "recorded"
    with pytest.raises(CheckpointError, match=r"weights\.safetensors: 500 bytes"):
        desk.foresee(checkpoint, episode, 0)


def test_without_depth_a_truncated_checkpoint_leaves_the_lists(inputs: Path) -> None:
    desk = make_desk(inputs / "no-depth", inputs / "truncated")
    opened = opening_payload(desk, {}, refresh=False)
    assert opened["clip"] is None
    assert "weights.safetensors" in opened["problem"]
    assert len(desk.catalog.episodes()) == len(opened["checkpoints"]) == 1

"""The episodes that every new user sees first: whole, small, successful, in the format of this version."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.config import preset
from model.errors import EpisodeError
from tests.factories import make_recording
from trainer.data.points import choose_points, flow_times
from trainer.episodes.bundle import BUNDLED, MAX_BUNDLED_BYTES, bundle_episodes
from trainer.episodes.open import find_episodes, open_episode, split_name
from trainer.episodes.packed import PackedEpisode, save_packed
from trainer.files import folder_bytes

ASSETS = Path(__file__).parents[2] / "assets" / "episodes"


def test_the_set_is_complete_and_small() -> None:
    folders = [split_name(name)[0] for name in find_episodes(ASSETS)]
    assert {folder.name for folder in folders} == set(BUNDLED)
    assert sum(map(folder_bytes, folders)) < MAX_BUNDLED_BYTES
    instructions = [open_episode(folder).info.instruction for folder in folders]
    assert any(text.startswith("stack") for text in instructions)
    assert any("drawer" in text for text in instructions)


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_a_bundled_episode_is_whole_and_its_flow_is_exact(name: str) -> None:
    episode = PackedEpisode(ASSETS / name)
    episode.verify()
    assert episode.info.outcome == "success"
    assert episode.info.views == ("static", "wrist")
    assert episode.info.has_exact_flow
    window = preset("compact").window
    step = int(episode.frame_steps[len(episode.frame_steps) // 2])
    points, later = choose_points(episode, step, window), flow_times(step, window)[-1:]
    tracks = episode.tracks("static", step, points.uv, later)
    seen = tracks.visible[:, 0] & points.moving
    assert seen.sum() > 50
    columns, rows = tracks.uvz[seen, 0, :2].astype(int).T
    errors = np.abs(episode.depth("static", int(later[0]))[rows, columns] - tracks.uvz[seen, 0, 2])
    assert np.median(errors) < 0.003  # nearest pixel of a 128 px image on slanted surfaces


def test_failures_are_not_bundled(tmp_path: Path) -> None:
    from dataclasses import replace

    recording = make_recording(length=4, size=(8, 8))
    for number, folder in enumerate(BUNDLED.values()):
        outcome = "failure" if number == 3 else "success"
        save_packed(replace(recording, info=replace(recording.info, outcome=outcome)), tmp_path / "heldout" / folder)
    with pytest.raises(EpisodeError, match="must be a success"):
        bundle_episodes(tmp_path / "heldout", tmp_path / "out")
    assert not (tmp_path / "out").exists()

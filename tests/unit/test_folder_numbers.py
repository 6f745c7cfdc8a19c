"""Images that a recorder dropped do not shift the others; names that say nothing leave it to the order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.errors import EpisodeError
from tests.foreign_factories import plain_frames, png, shown_frame
from trainer.episodes.readers.folder import READER
from trainer.episodes.readers.folder_numbers import Placed, frame_numbers

COUNT = 12


def write(folder: Path, view: int, *, first: int = 0, without: tuple[int, ...] = ()) -> None:
    folder.mkdir(parents=True)
    for at, frame in enumerate(plain_frames(0, view, COUNT), first):
        if at not in without:
            (folder / f"img_{at:04}.png").write_bytes(png(frame))


def paths(*numbers: int) -> list[Path]:
    return [Path(f"a/img_{number}.png") for number in numbers]


@pytest.mark.parametrize("gone", [0, 4, COUNT - 1])
def test_a_dropped_image_costs_itself_alone(tmp_path: Path, gone: int) -> None:
    write(tmp_path / "front", 0)
    write(tmp_path / "wrist", 1, without=(gone,))
    episode = READER.open(tmp_path, 0)
    kept = [at for at in range(min(episode.info.length, COUNT)) if at != gone]
    for view in ("static", "wrist"):
        assert [shown_frame(episode.rgb(view, step)) for step in kept] == kept
    if gone == COUNT - 1:  # nothing comes after it
        assert episode.info.length == COUNT - 1
        assert "ends with the shortest" in episode.info.notes[0]
        return
    assert episode.info.length == COUNT
    assert episode.info.notes == (f"'wrist' has no image of number {gone}: the others are paired by their numbers",)
    assert shown_frame(episode.rgb("static", gone)) == gone
    with pytest.raises(EpisodeError, match=f"wrist: has no image of number {gone}"):
        episode.rgb("wrist", gone)


def test_dropped_depth_is_no_depth_at_its_frame(tmp_path: Path) -> None:
    write(tmp_path / "static", 0)
    (tmp_path / "static_depth").mkdir()
    (tmp_path / "meta.yaml").write_text("depth_unit: 0.001\n")
    size = plain_frames(0, 0, 1).shape[1:3]
    for at in range(COUNT):
        if at != 3:
            np.save(tmp_path / f"static_depth/{at}.npy", np.full(size, 1000 + at, np.uint16))
    episode = READER.open(tmp_path, 0)
    assert episode.info.length == COUNT
    assert any("the depth of 'static': has no image of number 3" in note for note in episode.info.notes)
    assert np.isnan(episode.depth("static", 3)).all()
    for step in (2, 4, COUNT - 1):
        np.testing.assert_allclose(episode.depth("static", step), 1 + step / 1000, atol=1e-4)


@pytest.mark.parametrize(
    "sequences",
    [
        [paths(*range(10)), paths(*range(10))],  # nothing is missing
        [paths(*range(10)), paths(*range(1, 11))],  # one counts from 0, the other from 1
        [paths(*range(20)), paths(*range(0, 20, 2))],  # another rate
        [paths(*range(20)), [Path(f"a/{name}.png") for name in "abcdefghij"]],  # no numbers
        [paths(*range(20)), paths(*reversed(range(19)))],
        [paths(0, 4, 9)],
        [],
    ],
)
def test_else_the_order_says_what_belongs_together(sequences: list[list[Path]]) -> None:
    assert frame_numbers(sequences) is None


def test_what_all_lack_is_no_frame() -> None:
    one, other = paths(*(at for at in range(30) if at not in (7, 9))), paths(*(at for at in range(30) if at != 7))
    frames = frame_numbers([one, other]) or []
    assert frames == [at for at in range(30) if at != 7]
    placed = Placed(one, frames)
    assert (len(placed), placed.notes) == (29, ["has no image of number 9: the others are paired by their numbers"])
    assert [placed.reader(lambda at: at, lambda number: -number)(place) for place in (6, 7, 8, 9)] == [6, 7, -9, 8]

"""Tables as people keep them: what is no number is left out and said; the recording opens whatever lies beside it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.errors import UnsafeFileError
from tests.foreign_factories import plain_frames, png
from trainer.episodes import pack
from trainer.episodes.episode import Episode
from trainer.episodes.open import open_episode
from trainer.episodes.readers.folder import READER

LENGTH = 6
NAMES = "x,y,z,qw,qx,qy,qz,gripper"
ROWS = [f"{at},0.5,1,1,0,0,0,1" for at in range(LENGTH)]
SPACE = "action_space: {metres_per_unit: 1, radians_per_unit: 1}\n"


def opened(root: Path, name: str, content: str | bytes) -> Episode:
    """A recording of six images with one file beside them."""
    folder = root / "static"
    folder.mkdir(exist_ok=True)
    for at, pixels in enumerate(plain_frames(0, 0, LENGTH)):
        (folder / f"{at}.png").write_bytes(png(pixels))
    (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return READER.open(root, 0)


def lines(*rows: str) -> str:
    """A file of lines."""
    return "\n".join(rows) + "\n"


def csv(*, names: str = NAMES, end: str = "") -> str:
    """A table that is the tool's pose, with something behind each row."""
    return lines(names, *(row + end for row in ROWS))


@pytest.mark.parametrize(
    "content",
    [
        csv(),
        csv(names="# remark\n" + NAMES),
        csv(names="# " + NAMES),  # numpy.savetxt(header=...)
        csv(names="\ufeff" + NAMES),
        csv(names=NAMES + ",", end=","),
        csv(end=","),
        csv(names=NAMES.upper()),
        csv().replace(",", "\t"),
        csv().replace(",", ";").replace(".", ","),
        csv().replace("\n", "\r\n"),
        csv().encode("utf-16"),
    ],
    ids=["plain", "remark", "savetxt", "bom", "commas", "comma", "upper", "tab", "semicolon", "crlf", "utf-16"],
)
def test_csv_of_spreadsheets_and_programs_is_the_same_pose(tmp_path: Path, content: str | bytes) -> None:
    episode = opened(tmp_path, "State.CSV", content)
    assert episode.info.notes == ()
    np.testing.assert_allclose(episode.state[:, :3], [[at, 0.5, 1] for at in range(LENGTH)])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (csv(names=NAMES + ",phase", end=",grasp"), "'phase' left out: no list of numbers"),
        (csv(names=NAMES + ",at", end=",2026-01-01T10:00:00"), "'at' left out"),
        (csv(names=NAMES + ",", end=",7"), "column 9 left out: it has no name"),
        (csv(names="größe," + NAMES[2:]).encode("latin-1"), ""),
        (csv(names=NAMES + ",closed", end=",True"), ""),
    ],
)
def test_a_column_of_words_is_left_out_and_the_others_are_read(tmp_path: Path, content: str, says: str) -> None:
    episode = opened(tmp_path, "state.csv", content)
    assert says in "".join(episode.info.notes)
    assert bool(says) == bool(episode.info.notes)
    np.testing.assert_allclose(episode.features["state/y"], 0.5)
    assert "state/phase" not in episode.features


@pytest.mark.parametrize("gap", ["", "nan", "inf", "NA"])
def test_a_missing_number_is_a_gap_never_a_pose(tmp_path: Path, gap: str) -> None:
    content = csv().replace("\n3,", f"\n{gap},")
    episode = opened(tmp_path, "state.csv", content)
    assert episode.info.notes == ("state.csv: no number in 1 of 6 rows, first in row 4, in 'x'",)
    assert not episode.has("state")
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(episode.features["state/x"])), [3])
    assert pack.main([str(tmp_path), str(tmp_path / "packed")]) == 0
    kept = open_episode(tmp_path / "packed/000000").features["state/x"]
    np.testing.assert_array_equal(kept, episode.features["state/x"])


def test_a_command_with_a_gap_is_no_command(tmp_path: Path) -> None:
    (tmp_path / "meta.yaml").write_text(SPACE)
    table = lines("a,b,c,d,e,f,g", *["0,0,0,0,0,0,1"] * (LENGTH - 1), "nan,0,0,0,0,0,1")
    episode = opened(tmp_path, "actions.csv", table)
    assert not episode.has("action")
    assert "no number in 1 of 6 rows" in episode.info.notes[0]
    assert opened(tmp_path, "actions.csv", table.replace("nan", "0")).has("action")


@pytest.mark.parametrize(
    ("name", "content", "names"),
    [
        ("state.json", json.dumps([{"x": at, "y": 2} for at in range(LENGTH)]), ["x", "y"]),
        ("state.json", json.dumps({"x": {str(at): at for at in range(LENGTH)}}), ["x"]),
        ("state.json", json.dumps({"x": [0] * LENGTH, "fps": 30, "who": "me", "range": [0, 1]}), ["x"]),
        ("state.json", json.dumps([[0, 1]] * LENGTH), ["state"]),
    ],
)
def test_json_as_pandas_writes_it(tmp_path: Path, name: str, content: str, names: list[str]) -> None:
    assert list(opened(tmp_path, name, content).features) == [f"state/{column}" for column in names]


def test_arrays_of_numpy(tmp_path: Path) -> None:
    np.save(tmp_path / "state.npy", np.ones((LENGTH, 3)))
    assert opened(tmp_path, "meta.yaml", "").features["state/state"].shape == (LENGTH, 3)
    np.savez(tmp_path / "state.npz", x=np.ones(LENGTH), phase=np.array(["grasp"] * LENGTH))
    episode = READER.open(tmp_path, 0)
    assert (list(episode.features), len(episode.info.notes)) == (["state/x"], 1)
    np.savez(tmp_path / "state.npz", x=np.array([{}], dtype=object))
    with pytest.raises(UnsafeFileError, match="objects"):
        READER.open(tmp_path, 0)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("state.csv", "1,2,3\n4,5,6\n", "name the columns"),
        ("state.csv", "a,b\n1,2\n3\n4,5\n", "row 2 has 1 cells, the line of names has 2"),
        ("state.csv", "a,b\n1,2,3\n4,5\n", "row 1 has 3 cells"),
        ("state.csv", "a,b\ng,x\n", "'a', 'b' are none"),
        ("state.csv", "a\tb\n1,234\tx\n", "'a', 'b' are none"),  # a thousand or 1.234: nobody knows
        ("state.csv", "a\n" + "nan\n" * LENGTH, "no column of numbers"),
        ("actions.json", '{"a": [[[1]]]}', "no column of numbers"),
        ("actions.json", '[{"a": 1}, {"b": 1}]', "columns of the first"),
        ("actions.json", "3", "list of"),
        ("actions.json", "[1, 2", "not JSON"),
    ],
)
def test_a_table_that_is_none_is_named_and_the_recording_opens(
    tmp_path: Path, name: str, content: str, says: str
) -> None:
    episode = opened(tmp_path, name, content)
    assert episode.info.length == LENGTH
    assert f"{name} is not read: " in episode.info.notes[0]
    assert says in episode.info.notes[0]
    assert not episode.features


def test_the_last_line_of_a_killed_recorder_is_left_out(tmp_path: Path) -> None:
    episode = opened(tmp_path, "state.csv", csv()[:-9])
    assert episode.info.length == LENGTH - 1
    assert episode.info.notes[0] == "state.csv: the last line is cut off and left out"
    assert len(episode.state) == LENGTH - 1

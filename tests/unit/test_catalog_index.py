"""The index: what has not changed is not read again, what has is, and a spoiled index is nobody's problem."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from model.errors import ConfigError, EpisodeError
from tests.calvin_factory import FIRST_STEP, write_calvin_split, write_language
from tests.factories import make_recording
from trainer.episodes.packed import save_packed
from trainer.episodes.readers.calvin import CalvinReader
from trainer.episodes.readers.reader import EpisodeSummary
from workbench.catalog import Catalog
from workbench.catalog_rows import EpisodeRow, Listed
from workbench.catalog_search import Search, choices, find
from workbench.catalog_thumbnails import Thumbnails
from workbench.predict import CancelledError


@pytest.fixture
def split(tmp_path: Path) -> Path:
    write_calvin_split(tmp_path / "set" / "training", windows=((2, 9), (4, 11)))
    return tmp_path / "set" / "training"


def test_what_has_not_changed_is_not_listed_again(split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[Path] = []
    original = CalvinReader.episodes

    def counted(self: CalvinReader, path: Path) -> Any:
        listed.append(path)
        return original(self, path)

    monkeypatch.setattr(CalvinReader, "episodes", counted)
    first = Catalog(episode_roots=[split], index_folder=tmp_path / "index")
    again = Catalog(episode_roots=[split], index_folder=tmp_path / "index")
    assert again.episodes() == first.episodes()
    assert len(listed) == 1
    (split / "lang_annotations" / "auto_lang_ann.npy").unlink()
    (split / "lang_annotations").rmdir()
    write_language(split, [(FIRST_STEP, FIRST_STEP + 5)], ["open the drawer"], ["open_drawer"])
    again.refresh()
    assert [row.listed.summary.instruction for row in again.episodes()] == ["open the drawer", ""]
    assert len(listed) == 2


def test_listing_reads_no_step_but_the_first(split: Path) -> None:
    for step in range(1, 12):
        (split / f"episode_{FIRST_STEP + step:07d}.npz").write_bytes(b"")
    catalog = Catalog(episode_roots=[split])
    assert len(catalog.episodes()) == 3
    assert not catalog.problems()
    with pytest.raises(EpisodeError):
        catalog.open(catalog.episodes()[0].id)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{".": [1, 2, 3]}', b'{".": ["calvin", "x", [[1]]]}'])
def test_a_spoiled_index_is_made_again(split: Path, tmp_path: Path, content: bytes) -> None:
    rows = Catalog(episode_roots=[split], index_folder=tmp_path / "index").episodes()
    (file,) = (tmp_path / "index").iterdir()
    file.write_bytes(content)
    assert Catalog(episode_roots=[split], index_folder=tmp_path / "index").episodes() == rows
    assert json.loads(file.read_bytes())["."][0] == "calvin"


@pytest.mark.parametrize("change", [{3: "many"}, {0: None}, {4: [1]}, {1: 7}, {8: 4}])
def test_a_row_of_another_type_is_not_believed(split: Path, tmp_path: Path, change: dict[int, Any]) -> None:
    rows = Catalog(episode_roots=[split], index_folder=tmp_path / "index").episodes()
    (file,) = (tmp_path / "index").iterdir()
    kept = json.loads(file.read_bytes())
    for column, value in change.items():
        kept["."][2][0][column] = value
    file.write_text(json.dumps(kept))
    assert Catalog(episode_roots=[split], index_folder=tmp_path / "index").episodes() == rows


def test_an_index_that_cannot_be_kept_changes_nothing(split: Path, tmp_path: Path) -> None:
    (tmp_path / "index").write_text("a file where a folder should be")
    assert len(Catalog(episode_roots=[split], index_folder=tmp_path / "index").episodes()) == 3


def test_ids_stay_when_the_dataset_moves_and_differ_between_its_episodes(split: Path, tmp_path: Path) -> None:
    before = [row.id for row in Catalog(episode_roots=[split]).episodes()]
    (tmp_path / "elsewhere").mkdir()
    (split.parent).rename(tmp_path / "elsewhere" / "set")
    moved = tmp_path / "elsewhere" / "set" / "training"
    assert [row.id for row in Catalog(episode_roots=[moved]).episodes()] == before
    assert len(set(before)) == 3


def test_two_datasets_that_look_the_same_are_both_listed(tmp_path: Path) -> None:
    for lab in ("a", "b"):
        write_calvin_split(tmp_path / lab / "set" / "training")
    rows = Catalog(episode_roots=[tmp_path]).episodes()
    assert len({row.id for row in rows}) == len(rows) == 4
    assert len(Catalog(episode_roots=[tmp_path, tmp_path / "a"]).episodes()) == 4  # a dataset reached twice is one


def test_uploads_are_seen_by_their_visitor_only(split: Path, tmp_path: Path) -> None:
    save_packed(make_recording(length=4, size=(16, 16)), tmp_path / "mine" / "trial")
    catalog = Catalog(episode_roots=[split], index_folder=tmp_path / "index")
    catalog.add_private("ann", [tmp_path / "mine"])
    own = catalog.episodes("ann")[0]
    assert own.space == "ann"
    assert len(own.id) == 32
    assert len(catalog.episodes("ann")) == 4
    assert len(catalog.episodes()) == len(catalog.episodes("bob")) == 3
    assert catalog.open(own.id).info.seed == 0
    catalog.refresh()
    assert catalog.episode(own.id) == own
    assert len(list((tmp_path / "index").iterdir())) == 1  # nothing of an upload is kept
    catalog.add_private("bob", [tmp_path / "mine"])
    assert catalog.episodes("bob")[0].id != own.id
    catalog.drop_private("ann")
    with pytest.raises(ConfigError, match="no episode of that id"):
        catalog.episode(own.id)


def test_a_large_root_is_listed_while_the_page_is_used(
    split: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_packed(make_recording(length=4, size=(16, 16)), tmp_path / "set" / "a-first")
    go_on = threading.Event()
    original = CalvinReader.episodes

    def slow(self: CalvinReader, path: Path) -> Any:
        assert go_on.wait(60)
        return original(self, path)

    monkeypatch.setattr(CalvinReader, "episodes", slow)
    catalog = Catalog(episode_roots=[split.parent], patience=0.0)
    while not catalog.episodes():
        assert not catalog.wait(0.01)
    progress = catalog.progress()
    assert progress is not None
    assert (progress.episodes, progress.done, progress.total) == (1, 1, 2)
    with pytest.raises(ConfigError, match="still being looked through"):
        catalog.episode("0123456789ab")
    go_on.set()
    assert catalog.wait(60.0)
    assert catalog.progress() is None
    assert len(catalog.episodes()) == 4


def row(name: str, **facts: Any) -> EpisodeRow:
    told: dict[str, Any] = {
        "source": "calvin",
        "instruction": "",
        "length": 5,
        "views": ("static",),
        "depth": None,
        "outcome": None,
    }
    return EpisodeRow(id=name, listed=Listed(index=0, summary=EpisodeSummary(name=f"/x/{name}#0", **(told | facts))))


def test_words_filters_and_order() -> None:
    rows = [
        row("a", instruction="Open the drawer", length=30, outcome="success"),
        row("b", instruction="close the drawer", length=None, depth=("true", "metric")),
        row("c", instruction="lift", length=4, outcome="failure", source="lerobot"),
    ]

    def ids(search: Search) -> str:
        return "".join(found.id for found in find(rows, search))

    assert ids(Search()) == "abc"
    assert ids(Search(words="DRAWER the")) == "ab"
    assert ids(Search(words="drawer lift")) == ""
    assert ids(Search(only={"outcome": "unknown", "depth": "true metric"})) == "b"
    assert ids(Search(order="steps")) == "cab"  # an unknown length comes last, either way
    assert ids(Search(order="steps", descending=True)) == "acb"
    assert ids(Search(order="instruction")) == "bca"
    assert choices(rows)["source"] == [("calvin", 2), ("lerobot", 1)]
    for wrong in (Search(order="path"), Search(only={"name": "x"})):
        with pytest.raises(ConfigError, match="no such column"):
            find(rows, wrong)


def test_a_thumbnail_is_made_once_and_not_for_nobody(split: Path, tmp_path: Path) -> None:
    catalog = Catalog(episode_roots=[split], index_folder=tmp_path / "index")
    opened: list[str] = []

    def open_episode(name: str) -> Any:
        opened.append(name)
        return catalog.open(name)

    thumbnails = Thumbnails(open_episode, tmp_path / "thumbnails")
    first = catalog.episodes()[0]
    gone = threading.Event()
    gone.set()
    with pytest.raises(CancelledError):
        thumbnails.jpeg(first, gone)
    assert opened == []
    made = thumbnails.jpeg(first, threading.Event())
    assert made.startswith(b"\xff\xd8")
    assert thumbnails.jpeg(first, threading.Event()) == made
    assert opened == [first.id]
    catalog.add_private("ann", [split])
    thumbnails.jpeg(catalog.episodes("ann")[0], threading.Event())
    assert len([path for _, _, files in os.walk(tmp_path / "thumbnails") for path in files]) == 1

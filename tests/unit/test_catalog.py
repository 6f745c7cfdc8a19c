"""Rows from folders: nothing decoded, nothing unreadable hides the rest, ids are content."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from model.errors import CheckpointError
from tests.factories import make_checkpoint, make_recording
from trainer.episodes.packed import save_packed
from trainer.loop.checkpoint import load_checkpoint
from workbench.catalog import Catalog
from workbench.catalog_checkpoints import read_checkpoint_row
from workbench.catalog_rows import EpisodeRow, Listed, tell_apart
from workbench.told import without_places


@pytest.fixture
def root(tmp_path: Path) -> Path:
    save_packed(make_recording(length=8, size=(16, 16)), tmp_path / "a")
    save_packed(make_recording(length=8, size=(16, 16), views=("static",), seed=1), tmp_path / "b")
    return tmp_path


def test_rows_tell_what_there_is(root: Path) -> None:
    catalog = Catalog(episode_roots=[root])
    first, second = catalog.episodes()
    assert first.cells() == {
        "episode": "synthetic-lift · start 0",
        "source": "synthetic",
        "instruction": "lift the box",
        "steps": 8,
        "outcome": "success",
        "views": "static, wrist",
        "depth": "true metric",
        "flow truth": "exact",
        "id": first.id,
    }
    assert second.cells()["views"] == "static"
    assert catalog.open(second.id).info.seed == 1
    assert not catalog.problems()


def test_episodes_of_one_file_have_names_of_their_own(root: Path) -> None:
    row = Catalog(episode_roots=[root]).episodes()[0]
    summaries = [replace(row.listed.summary, name=f"/data/many.hdf5#{index}", task=None) for index in range(3)]
    titles = [EpisodeRow(id="", listed=Listed(index=0, summary=summary)).title for summary in summaries]
    assert titles == ["many.hdf5", "many.hdf5 #1", "many.hdf5 #2"]


def test_rows_that_would_read_the_same_say_where_they_lie(root: Path) -> None:
    save_packed(make_recording(length=9, size=(16, 16)), root / "c")  # its start is that of a, not that of b
    titles = [row.title for row in Catalog(episode_roots=[root]).episodes()]
    assert titles == ["synthetic-lift · start 0 · a", "synthetic-lift · start 1", "synthetic-lift · start 0 · c"]
    catalog = Catalog()
    catalog.add_private("space", [root / "a", root / "c"])
    assert [row.title for row in catalog.episodes("space")] == [titles[0], titles[2]]


@pytest.mark.parametrize(
    ("places", "apart"),
    [
        (["/data/new/training", "/data/old/training"], ["new", "old"]),
        (["/new/a.hdf5", "/old/a.hdf5", "/packed/0"], ["new", "old", "packed"]),
        (["/x/a/training", "/y/a/training", "/y/b/training"], ["x/a", "y/a", "y/b"]),
        (["/training", "/a/training"], ["/", "a"]),
        (["/a/one", "/a/two", "/a/two"], ["one", "two", "two"]),
        (["/a/one", "/a/one"], ["", ""]),
    ],
)
def test_places_are_told_apart_by_as_little_as_does(places: list[str], apart: list[str]) -> None:
    assert tell_apart([Path(place) for place in places]) == apart


def test_equal_content_is_one_row_and_a_new_episode_appears(root: Path) -> None:
    shutil.copytree(root / "a", root / "copy")
    catalog = Catalog(episode_roots=[root])
    assert len(catalog.episodes()) == 2
    save_packed(make_recording(length=8, size=(16, 16), seed=2), root / "c")
    catalog.refresh()
    assert len(catalog.episodes()) == 3


def test_one_waits_for_the_list_while_another_begins_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = Catalog(episode_roots=[root])
    start, waited = threading.Thread.start, list[bool]()

    def begin(worker: threading.Thread) -> None:
        waited.append(catalog.wait(60.0))  # another visitor
        start(worker)

    monkeypatch.setattr(threading.Thread, "start", begin)
    catalog.refresh()
    assert waited == [True]
    assert len(catalog.episodes()) == 2


def test_problems_do_not_hide_the_rest(root: Path, tmp_path: Path) -> None:
    (root / "a" / "meta.json").write_text("{")
    empty = tmp_path / "empty"
    empty.mkdir()
    catalog = Catalog(episode_roots=[root, empty, tmp_path / "absent"], checkpoint_roots=[empty])
    assert [catalog.open(row.id).info.seed for row in catalog.episodes()] == [1]
    messages = [problem.message for problem in catalog.problems()]
    assert len(messages) == 4
    assert "a" in messages[0] or "meta.json" in " ".join(messages)
    assert any("no checkpoint here" in message for message in messages)


def test_checkpoint_id_is_the_content_hash_of_the_loader(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "run" / "final")
    row = read_checkpoint_row(folder)
    assert load_checkpoint(folder).content_hash.startswith(row.id)
    catalog = Catalog()
    catalog.add_checkpoint_root(tmp_path / "run")
    assert catalog.checkpoint(row.id).path == folder
    assert str(tmp_path) not in repr(row)


@pytest.mark.parametrize("content", ["", "[]", '{"files": {}}', '{"files": {"config.json": 3}}'])
def test_foreign_manifests(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"manifest\.json"):
        read_checkpoint_row(tmp_path)


def test_listing_imports_no_torch(root: Path) -> None:
    code = (
        "import sys, json; from workbench.catalog import Catalog; "
        f"rows = Catalog(episode_roots=[{str(root)!r}]).episodes(); "
        "print(json.dumps([len(rows), 'torch' in sys.modules, 'rerun' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [2, False, False]


def test_messages_say_nothing_of_where_labels_lie(tmp_path: Path) -> None:
    catalog = Catalog(labels=tmp_path / "labels")
    message = f"{tmp_path}/labels/depth/ab/cd.safetensors: damaged"
    assert without_places(message, catalog.places()) == "labels/depth/ab/cd.safetensors: damaged"

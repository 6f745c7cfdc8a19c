"""Folders and files that appear whole, and the reader that refuses all others."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from model.errors import CheckpointError, EpisodeError, UnsafeFileError
from trainer.episodes.manifest import PACKED_EPISODE
from trainer.files import MANIFEST, MAX_JSON_BYTES, new_folder, replace_file, sweep_temporaries, verify_folder
from trainer.loop.checkpoint import CHECKPOINT

DEAD_PID = 2**22 + 1  # above the largest pid Linux gives


def publish(folder: Path, *, durable: bool = True, **content: bytes) -> None:
    with new_folder(folder, {"format": "test"}, EpisodeError, durable=durable) as temp:
        for name, data in content.items():
            (temp / name).write_bytes(data)


def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", full)


def test_a_published_folder_verifies_and_leaves_nothing_else(tmp_path: Path) -> None:
    publish(tmp_path / "deep" / "a", x=b"one", y=b"two")
    manifest = verify_folder(tmp_path / "deep" / "a", CHECKPOINT)
    assert manifest["format"] == "test"
    assert set(manifest["files"]) == {"x", "y"}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a"]


def test_an_error_while_filling_leaves_nothing(tmp_path: Path) -> None:
    def fill_the_disk() -> None:
        with new_folder(tmp_path / "a", {}, EpisodeError) as temp:
            (temp / "x").write_bytes(b"half")
            raise OSError(errno.ENOSPC, "no space")

    with pytest.raises(OSError, match="no space"):
        fill_the_disk()
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_already_is_kept_unless_it_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    publish(tmp_path / "a", x=b"one")
    with pytest.raises(EpisodeError, match="exists already"):
        publish(tmp_path / "a", x=b"two")

    def write_while_another_does() -> None:
        with new_folder(tmp_path / "b", {}, CheckpointError) as temp:
            (temp / "x").write_bytes(b"two")
            publish(tmp_path / "b", x=b"first")

    with pytest.raises(CheckpointError, match="somebody else made it"):
        write_while_another_does()
    for name, content in (("a", b"one"), ("b", b"first")):
        verify_folder(tmp_path / name, CHECKPOINT)
        assert (tmp_path / name / "x").read_bytes() == content
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_only_a_durable_folder_is_flushed_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_fsync(monkeypatch)
    with pytest.raises(OSError, match="no space"):
        publish(tmp_path / "a", x=b"one")
    assert list(tmp_path.iterdir()) == []
    publish(tmp_path / "a", durable=False, x=b"one")
    verify_folder(tmp_path / "a", PACKED_EPISODE)
    replace_file(tmp_path / "b", b"1", durable=False)
    assert (tmp_path / "b").read_bytes() == b"1"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "x").write_bytes(b"onf"), "sha256"),
        (lambda folder: (folder / "x").write_bytes(b"on"), "truncated"),
        (lambda folder: (folder / "x").unlink(), "missing"),
        (lambda folder: (folder / MANIFEST).unlink(), "written last"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "not JSON"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "object"),
        (lambda folder: (folder / MANIFEST).write_text('{"files": 3}'), "files"),
        (lambda folder: (folder / MANIFEST).write_text('{"files": {"../x": {"bytes": 3}}}'), "plain file name"),
        (lambda folder: (folder / MANIFEST).write_text('{"files": {"x": {"bytes": 3}}}'), "sha256"),
        (lambda folder: (folder / MANIFEST).write_bytes(b" " * (MAX_JSON_BYTES + 1)), "too large"),
        (lambda folder: (folder / MANIFEST).write_text("[" * 100_000), "not JSON"),
    ],
)
def test_every_damage_has_its_message(tmp_path: Path, damage: object, message: str) -> None:
    publish(tmp_path / "a", x=b"one")
    damage(tmp_path / "a")  # pyright: ignore
    with pytest.raises(CheckpointError, match=message):
        verify_folder(tmp_path / "a", CHECKPOINT)
    with pytest.raises((EpisodeError, UnsafeFileError), match=message):
        verify_folder(tmp_path / "a", PACKED_EPISODE)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    publish(tmp_path / "a", x=b"one")
    (tmp_path / "a" / "x").rename(tmp_path / "x")
    (tmp_path / "a" / "x").symlink_to(tmp_path / "x")
    with pytest.raises(CheckpointError, match="a link"):
        verify_folder(tmp_path / "a", CHECKPOINT)
    with pytest.raises(EpisodeError, match="a link"):
        verify_folder(tmp_path / "a", PACKED_EPISODE)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        verify_folder(tmp_path / "absent", CHECKPOINT)


def test_sweeping_removes_dead_writers_only(tmp_path: Path) -> None:
    dead, alive = tmp_path / f"a.tmp-{DEAD_PID}-0af3", tmp_path / f"b.tmp-{os.getpid()}-0af3"
    dead.mkdir()
    (dead / "x").write_bytes(b"rubbish")
    alive.mkdir()
    (tmp_path / f"c.tmp-{DEAD_PID}").write_bytes(b"")
    (tmp_path / "d.tmp-notes").mkdir()
    sweep_temporaries(tmp_path, "b")
    assert dead.exists()
    publish(tmp_path / "a", x=b"one")  # sweeps its own name
    assert not dead.exists()
    sweep_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"a", alive.name, "d.tmp-notes"}


def test_replacing_a_file_keeps_the_old_one_on_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "status.json"
    replace_file(path, b"1")
    replace_file(path, json.dumps({"a": 2}).encode())
    assert json.loads(path.read_bytes()) == {"a": 2}

    no_fsync(monkeypatch)
    with pytest.raises(OSError, match="no space"):
        replace_file(path, b"3")
    assert json.loads(path.read_bytes()) == {"a": 2}
    assert [entry.name for entry in tmp_path.iterdir()] == ["status.json"]

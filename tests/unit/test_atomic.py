"""Folders and files that appear whole, and the reader that refuses all others."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from model.errors import CheckpointError
from trainer.loop.atomic import MANIFEST, publish_folder, replace_file, sweep_temporaries, verify_folder

DEAD_PID = 2**22 + 1  # above the largest pid Linux gives


def publish(folder: Path, **files: bytes) -> None:
    def fill(temp: Path) -> None:
        for name, data in files.items():
            (temp / name).write_bytes(data)

    publish_folder(folder, fill, format="test")


def test_a_published_folder_verifies_and_leaves_nothing_else(tmp_path: Path) -> None:
    publish(tmp_path / "deep" / "a", x=b"one", y=b"two")
    manifest = verify_folder(tmp_path / "deep" / "a")
    assert manifest["format"] == "test"
    assert set(manifest["files"]) == {"x", "y"}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a"]


def test_an_error_while_filling_leaves_nothing(tmp_path: Path) -> None:
    def fill(temp: Path) -> None:
        (temp / "x").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "no space")

    with pytest.raises(OSError, match="no space"):
        publish_folder(tmp_path / "a", fill)
    assert list(tmp_path.iterdir()) == []


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
        (lambda folder: (folder / MANIFEST).write_text('{"files": {"../x": {"bytes": 3}}}'), "unsafe"),
        (lambda folder: (folder / MANIFEST).write_text("[" * 100_000), "not JSON"),
    ],
)
def test_every_damage_has_its_message(tmp_path: Path, damage: object, message: str) -> None:
    publish(tmp_path / "a", x=b"one")
    damage(tmp_path / "a")  # pyright: ignore
    with pytest.raises(CheckpointError, match=message):
        verify_folder(tmp_path / "a")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    publish(tmp_path / "a", x=b"one")
    (tmp_path / "a" / "x").rename(tmp_path / "x")
    (tmp_path / "a" / "x").symlink_to(tmp_path / "x")
    with pytest.raises(CheckpointError, match="unsafe"):
        verify_folder(tmp_path / "a")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        verify_folder(tmp_path / "absent")


def test_sweeping_removes_dead_writers_only(tmp_path: Path) -> None:
    dead, alive = tmp_path / f"a.tmp-{DEAD_PID}", tmp_path / f"b.tmp-{os.getpid()}"
    dead.mkdir()
    (dead / "x").write_bytes(b"rubbish")
    alive.mkdir()
    (tmp_path / f"c.tmp-{DEAD_PID}").write_bytes(b"")
    (tmp_path / "d.tmp-notes").mkdir()
    sweep_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {alive.name, "d.tmp-notes"}


def test_replacing_a_file_keeps_the_old_one_on_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "status.json"
    replace_file(path, b"1")
    replace_file(path, json.dumps({"a": 2}).encode())
    assert json.loads(path.read_bytes()) == {"a": 2}

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        replace_file(path, b"3")
    assert json.loads(path.read_bytes()) == {"a": 2}
    assert [entry.name for entry in tmp_path.iterdir()] == ["status.json"]

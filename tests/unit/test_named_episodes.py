"""PATH#INDEX names one episode in every command that takes episodes; PATH alone names all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model.cli import run_command
from model.errors import EpisodeError
from tests.calvin_factory import write_calvin_split
from trainer.__main__ import COMMANDS
from trainer.episodes.open import find_episodes, open_episode
from trainer.loop.setup import open_episodes


@pytest.fixture
def split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FORESIGHT_CACHE", str(tmp_path / "cache"))
    write_calvin_split(tmp_path / "calvin", windows=((0, 6), (2, 9)))
    return tmp_path / "calvin"


def trainer(*arguments: object) -> int:
    return run_command("trainer", COMMANDS, [str(argument) for argument in arguments])


def test_an_index_names_one_and_a_path_all(split: Path) -> None:
    assert find_episodes(split) == [f"{split}#{index}" for index in range(3)]
    assert find_episodes(f"{split}#1") == [f"{split}#1"]
    with pytest.raises(EpisodeError, match="does not exist"):
        find_episodes(f"{split}x#1")


def test_training_takes_the_one(split: Path) -> None:
    assert [episode.name for episode in open_episodes([Path(f"{split}#1")])] == [f"{split}#1"]


def test_labels_are_made_for_the_one(split: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--store", tmp_path / "labels", "--workers", 1, "--grid", 4, "--reach", 2)
    assert trainer("label", "tracks", f"{split}#1", *flags) == 0
    assert "1 made" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["pack", "export"])
def test_the_one_is_written(split: Path, tmp_path: Path, command: str) -> None:
    flags = ("--format", "lerobot") if command == "export" else ()
    assert trainer(command, f"{split}#1", tmp_path / "out", *flags) == 0
    (name,) = find_episodes(tmp_path / "out")
    assert open_episode(name).info.instruction == open_episode(f"{split}#1").info.instruction


def test_an_audit_looks_at_the_one(split: Path, tmp_path: Path) -> None:
    from workbench.audit.command import main

    main([f"{split}#1", "--first", "3", "--json", str(tmp_path / "audit.json")])
    audits = json.loads((tmp_path / "audit.json").read_text())["audits"]
    assert [audit["episode"] for audit in audits] == [f"{split}#1"]

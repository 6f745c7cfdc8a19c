"""The record command: what it writes, that it goes on where it was stopped, and what it says when it cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model.errors import ConfigError, EpisodeError
from tests.factories import make_recording
from trainer.episodes.packed import PackedEpisode
from trainer.simulation import extra, session
from trainer.simulation.attempts import Attempt, AttemptLog, read_list
from trainer.simulation.record import RECORDED, main
from trainer.simulation.tasks import find_task

COMMAND = [
    *("--suite", "libero_spatial", "--task", "0", "--episodes", "1"),
    *("--resolution", "64", "--frame-stride", "10", "--out"),
]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.slow
@pytest.mark.chaos
def test_a_killed_recording_is_made_again_to_the_byte(tmp_path: Path) -> None:
    """kill -9 in the middle loses that episode only; the next run makes the same bytes as an undisturbed one."""
    assert main([*COMMAND, str(tmp_path / "whole")]) == 0
    out = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-m", "trainer", "record", *COMMAND, str(out)])
    while process.poll() is None and not list(out.glob("*/*")):  # until it starts to write the episode
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert main([*COMMAND, str(out)]) == 0
    assert main([*COMMAND, str(out)]) == 0  # nothing left to do
    episodes = [path.name for path in (out / "libero_spatial-0").iterdir()]
    assert episodes == ["0-0"]
    assert content(out / "libero_spatial-0/0-0") == content(tmp_path / "whole/libero_spatial-0/0-0")
    episode = PackedEpisode(out / "libero_spatial-0/0-0")
    episode.verify()
    assert episode.info.outcome == "success"
    assert episode.image_size("wrist") == (64, 64)
    assert list(episode.frame_steps[:3]) == [0, 10, 20]


def test_the_log_of_attempts_survives_a_cut_line(tmp_path: Path) -> None:
    log = AttemptLog(tmp_path)
    first, second = Attempt("libero_object", 0, 3, 0), Attempt("libero_object", 0, 4, 0)
    log.add(first, False)
    with (tmp_path / "attempts.jsonl").open("a") as file:
        file.write('{"suite": "libero_ob')
    log = AttemptLog(tmp_path)
    log.add(second, True)
    log = AttemptLog(tmp_path)
    assert log.outcome(first) is False
    assert log.outcome(second) is True
    assert log.outcome(Attempt("libero_object", 0, 5, 0)) is None


def test_the_committed_list_holds_no_held_out_state_or_task_for_training() -> None:
    listed = read_list(RECORDED)
    train = [attempt for folder, attempt in listed if folder == "train"]
    assert len(train) >= 200
    assert {attempt.initial_state for attempt in train}.isdisjoint({0, 1, 2})
    assert not any((attempt.suite, attempt.task) in {("libero_spatial", 7), ("libero_object", 8)} for attempt in train)


def test_tasks_are_found_by_index_and_name() -> None:
    assert find_task("libero_object", "0") == find_task("libero_object", "alphabet soup")
    with pytest.raises(ConfigError, match="has tasks 0 to 9"):
        find_task("libero_object", "10")
    with pytest.raises(ConfigError, match="tasks of libero_90 match 'black bowl'"):
        find_task("libero_90", "black bowl")
    with pytest.raises(ConfigError, match="no suite 'libero_subject'; choose one of libero_object"):
        find_task("libero_subject", "0")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--suite", "libero_object"], "give either --suite and --task"),
        (["--suite", "libero_object", "--task", "0", "--human", "lift"], "give either"),
        (["--human", "lift"], "--out"),
        (["--suite", "libero_object", "--task", "0", "--frame-stride", "0"], "--frame-stride must be at least 1"),
        (["--suite", "libero_object", "--task", "0", "--first-state", "50"], "initial states 0 to 49"),
        (["--suite", "libero_goal", "--task", "turn on the stove", "--episodes", "1"], "no scripted expert"),
        (["--again", "nowhere.json", "--out", "x"], "nowhere.json"),
    ],
)
def test_wrong_arguments_are_named(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        main(argv)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extra.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'foresight-workbench\[libero\]'"):
        extra.require()


def test_a_missing_system_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setattr(extra.ctypes.util, "find_library", lambda name: None)
    with pytest.raises(ConfigError, match="apt-get install libosmesa6"):
        extra.require(rendering=True)


def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(session, "save_packed", full)
    with pytest.raises(EpisodeError, match="No space left on device"):
        session.write(make_recording(), tmp_path / "episode")

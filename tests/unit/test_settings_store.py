"""Where source settings are kept: nearest place first, undone step by step, hostile files, every way of opening."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from model.cli import run_command
from model.errors import ConfigError, UnsafeFileError
from tests.factories import make_recording
from tests.foreign_factories import plain_frames, write_video
from trainer.__main__ import COMMANDS
from trainer.episodes.cache import mapped
from trainer.episodes.field_of_view import field_of_view_setting
from trainer.episodes.open import find_episodes, open_as_recorded, open_episode
from trainer.episodes.packed import PackedEpisode, save_packed
from trainer.episodes.settings_store import (
    add_setting,
    move_settings,
    remove_setting,
    setting_mark,
    setting_of,
    settings_folder,
    stored_settings,
    undo_setting,
)
from trainer.episodes.source_settings import SourceSetting, ViewSetting
from workbench.familiar import corrected as corrected_badges

ROTATED = SourceSetting(static=ViewSetting(turn="rotate-180"), why=("the sky is below",))
BGR = SourceSetting(static=ViewSetting(swap_red_blue=True))


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORESIGHT_CONFIG", str(tmp_path / "config"))
    monkeypatch.setenv("FORESIGHT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    save_packed(make_recording(length=8, size=(16, 16)), tmp_path / "data" / "one")
    save_packed(make_recording(length=8, size=(16, 16), seed=1), tmp_path / "data" / "two")
    return tmp_path / "data"


def test_what_is_set_for_a_source_reaches_every_way_of_opening(packed: Path) -> None:
    name = find_episodes(packed)[0]
    plain = open_episode(name)
    stored = add_setting(packed / "one", ROTATED)
    episode = open_episode(name)
    np.testing.assert_array_equal(episode.rgb("static", 2), plain.rgb("static", 2)[::-1, ::-1])
    np.testing.assert_array_equal(mapped(episode).rgb("static", 2), episode.rgb("static", 2))
    assert mapped(episode).content_hash == episode.content_hash != plain.content_hash
    assert corrected_badges(episode.info) == ["corrected: static rotated by 180°"]
    several = dataclasses.replace(episode.info, corrected=(*episode.info.corrected, "wrist red and blue swapped"))
    assert corrected_badges(several) == ["corrected: static rotated by 180°, wrist red and blue swapped"]  # one badge
    assert "Set for this source: the sky is below" in episode.info.notes
    assert stored.file.is_relative_to(settings_folder())
    assert sorted(path.name for path in packed.iterdir()) == ["one", "two"]  # nothing beside the data
    assert isinstance(open_as_recorded(name), PackedEpisode)
    assert open_episode(find_episodes(packed)[1]).info.corrected == ()
    assert setting_mark(packed / "one") != setting_mark(packed / "two") == ""
    remove_setting(packed / "one")
    assert open_episode(name).content_hash == plain.content_hash


def test_a_foreign_episode_that_travels_is_corrected_once(tmp_path: Path) -> None:
    write_video(tmp_path / "trial.mp4", plain_frames(0, 0, 4))
    plain = open_episode(tmp_path / "trial.mp4")
    add_setting(tmp_path / "trial.mp4", ROTATED)
    add_setting(tmp_path / "trial.mp4", field_of_view_setting(open_episode(tmp_path / "trial.mp4"), 60.0))
    episode = open_episode(tmp_path / "trial.mp4")
    assert episode.info.assumed[-2:] == ("K.static", "T_world_camera.static")
    travelled = copy.copy(episode)  # by __reduce__, as between processes
    np.testing.assert_array_equal(travelled.rgb("static", 1), plain.rgb("static", 1)[::-1, ::-1])
    assert travelled.content_hash == episode.content_hash


def test_a_corrected_episode_is_packed_as_corrected(packed: Path, tmp_path: Path) -> None:
    add_setting(packed, BGR)
    assert run_command("trainer", COMMANDS, ["pack", str(packed / "one"), str(tmp_path / "out")]) == 0
    (name,) = find_episodes(tmp_path / "out")
    copied = open_episode(name)
    assert copied.info.corrected == ("static red and blue swapped",)
    np.testing.assert_array_equal(copied.rgb("static", 0), open_episode(packed / "one").rgb("static", 0))


def test_the_nearest_place_counts_and_a_wider_one_replaces_it(packed: Path) -> None:
    add_setting(packed, BGR)
    assert setting_of(packed / "one").setting == BGR  # type: ignore[union-attr]
    add_setting(packed / "one", ROTATED)
    near = setting_of(packed / "one")
    assert near is not None
    assert near.setting.static == ViewSetting(turn="rotate-180", swap_red_blue=True)  # it was found on the corrected
    two = setting_of(packed / "two")
    assert two is not None
    assert two.setting == BGR
    wider = add_setting(packed / "one", SourceSetting(control_hz=5.0), scope=packed)
    assert stored_settings() == [wider]
    assert wider.setting.static == near.setting.static
    with pytest.raises(ConfigError, match="a folder around it"):
        add_setting(packed / "one", BGR, scope=packed / "two")


def test_steps_are_undone_one_by_one(packed: Path) -> None:
    add_setting(packed, BGR)
    add_setting(packed, ROTATED)
    left = undo_setting(packed / "one")  # what counts for it is the folder's
    assert left is not None
    assert left.setting == BGR
    assert undo_setting(packed) is None
    with pytest.raises(ConfigError, match="nothing is set"):
        undo_setting(packed)
    assert stored_settings() == []


def test_a_setting_that_contradicts_is_not_stored(packed: Path) -> None:
    add_setting(packed, SourceSetting(static=ViewSetting(ray_length=True)))
    with pytest.raises(ConfigError, match="undo that first"):
        add_setting(packed, SourceSetting(static=ViewSetting(ray_length=True)))
    with pytest.raises(ConfigError, match="changes nothing"):
        add_setting(packed, SourceSetting(why=("because",)))
    stored = setting_of(packed)
    assert stored is not None
    assert len(stored.steps) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(version=2),
        lambda record: record.update(source="/elsewhere"),
        lambda record: record.update(source=7),
        lambda record: record.update(source="\0"),
        lambda record: record.update(steps=[]),
        lambda record: record.update(steps=[{}] * 33),
        lambda record: record.update(steps={"0": {}}),
        lambda record: record.update(steps=[{"static": {"ray_length": True}}] * 2),
        lambda record: record.update(steps=[{"static": {"turn": "__import__('os')"}}]),
        lambda record: record.update(more=1),
        lambda record: record.pop("steps"),
    ],
)
def test_a_hostile_file_is_one_error_that_says_how_to_get_rid_of_it(packed: Path, change: object) -> None:
    file = add_setting(packed / "one", BGR).file
    record = json.loads(file.read_bytes())
    change(record)  # type: ignore[operator]
    file.write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="sources remove"):
        open_episode(packed / "one")
    assert [type(item) for item in stored_settings()] == [ConfigError]
    assert open_episode(packed / "two").info.corrected == ()
    assert remove_setting(packed / "one")
    assert open_episode(packed / "one").info.corrected == ()


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 5_000])
def test_what_is_no_record_is_one_error(packed: Path, content: bytes) -> None:
    add_setting(packed / "one", BGR).file.write_bytes(content)
    with pytest.raises(ConfigError):
        open_episode(packed / "one")


def test_a_huge_file_is_not_read(packed: Path) -> None:
    file = add_setting(packed / "one", BGR).file
    os.truncate(file, 1 << 30)
    with pytest.raises(UnsafeFileError, match="too large"):
        open_episode(packed / "one")


def test_a_moved_dataset_keeps_its_settings_when_told(packed: Path, tmp_path: Path) -> None:
    add_setting(packed / "one", BGR)
    add_setting(packed / "two", ROTATED)
    corrected_one = open_episode(packed / "one").content_hash
    moved = packed.rename(tmp_path / "moved")
    assert open_episode(moved / "one").info.corrected == ()
    with pytest.raises(ConfigError, match="does not exist"):
        move_settings(packed, tmp_path / "nowhere")
    assert move_settings(packed, moved) == 2
    assert open_episode(moved / "one").content_hash == corrected_one
    assert [item.source for item in stored_settings()] == [moved / "one", moved / "two"]  # type: ignore[union-attr]
    assert move_settings(packed, moved) == 0
    add_setting(packed, ROTATED)  # of another dataset that came to the old place
    add_setting(packed / "one", BGR)
    with pytest.raises(ConfigError, match=r"one: something is set for it already"):
        move_settings(packed, moved)
    assert setting_of(packed).setting == ROTATED  # type: ignore[union-attr]


_ADDS = """
import sys
import time
from pathlib import Path
from trainer.episodes import settings_store
from trainer.episodes.source_settings import SourceSetting

write = settings_store._write
settings_store._write = lambda stored: (time.sleep(0.02), write(stored))  # as a slow disk, so that they meet
print("ready", flush=True)
sys.stdin.readline()
for number in range(8):
    settings_store.add_setting(Path(sys.argv[1]), SourceSetting(control_hz=float(sys.argv[2]) + number))
"""


def test_two_programs_that_set_at_once_lose_nothing(packed: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _ADDS, str(packed), start], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for start in ("10", "50")
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        child.communicate(timeout=60)
    assert [child.returncode for child in children] == [0, 0]
    stored = setting_of(packed)
    assert stored is not None
    assert sorted(step.control_hz or 0 for step in stored.steps) == [*range(10, 18), *range(50, 58)]


def test_the_command_lists_sets_undoes_and_removes(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> tuple[int, str, str]:
        code = run_command("trainer", COMMANDS, ["sources", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    one = str(packed / "one")
    assert run()[0] == 1
    assert run("set", one, "--setting", '{"static": {"turn": "flip"}, "why": ["seen"]}')[0] == 0
    code, out, _ = run("list")
    assert (code, out) == (0, f"{one}\n  static flipped upside-down\n  because: seen\n")
    assert json.loads(run("list", one, "--machine")[1])[0]["setting"] == {"static": {"turn": "flip"}, "why": ["seen"]}
    (packed / "one").rename(packed / "new")
    assert "does not exist any more; `sources move`" in run("list")[1]
    assert run("move", one)[0] == 2
    assert run("move", one, str(packed / "new")) == (0, f"{packed / 'new'}: 1 setting counts here now\n", "")
    one = str(packed / "new")
    assert run("undo", one) == (0, f"{one}: nothing is set any more\n", "")
    assert run("remove", one)[0] == 1
    assert run("set", one, "--setting", "{")[0] == 2
    assert "'static.turn'" in run("set", one, "--setting", '{"static": {"turn": 3}}')[2]
    assert run("set", str(packed / "none"), "--setting", "{}")[0] == 2
    assert run("remove")[0] == 2

"""Names of episodes, the pack command and the cache of memory maps."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from model.cli import run_command
from model.errors import EpisodeError
from tests.factories import make_recording
from tests.foreign_factories import plain_frames, write_video
from trainer.__main__ import COMMANDS
from trainer.episodes import cache
from trainer.episodes.cache import cache_root, clean_cache, mapped
from trainer.episodes.memory import MemoryEpisode
from trainer.episodes.open import find_episodes, open_episode, split_name
from trainer.episodes.packed import PackedEpisode, save_packed
from trainer.files import TEMP_MARK, folder_bytes


@pytest.fixture
def episodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FORESIGHT_CACHE", str(tmp_path / "cache"))
    for number in range(3):
        folder = tmp_path / "data" / f"task-{number % 2}" / str(number)
        save_packed(make_recording(length=10, size=(16, 16), seed=number), folder)
    return tmp_path / "data"


def test_names(episodes: Path) -> None:
    names = find_episodes(episodes)
    assert names == [f"{episodes}/task-0/0#0", f"{episodes}/task-0/2#0", f"{episodes}/task-1/1#0"]
    assert [open_episode(name).name for name in names] == names
    assert open_episode(episodes / "task-1" / "1").name == names[2]
    assert find_episodes(names[0]) == names[:1]
    assert split_name("a#b/c") == (Path("a#b/c"), 0)
    assert split_name("a#b#12") == (Path("a#b"), 12)


def test_a_number_sign_in_a_folders_own_name_is_part_of_it(episodes: Path) -> None:
    folder = (episodes / "task-1" / "1").rename(episodes / "task-1" / "trial#2")
    assert open_episode(folder).name == f"{folder}#0"
    assert find_episodes(folder) == find_episodes(f"{folder}#0") == [f"{folder}#0"]
    assert split_name(f"{folder}#0") == (folder, 0)
    (episodes / "task-1" / "trial").mkdir()  # now the name alone would be its third episode's
    assert split_name(str(folder)) == (episodes / "task-1" / "trial", 2)
    assert open_episode(f"{folder}#0").name == f"{folder}#0"


def test_a_file_that_the_user_names_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "mine").mkdir()
    write_video(tmp_path / "disk/a.mp4", plain_frames(0, 0, 3))
    (link := tmp_path / "mine/l.mp4").symlink_to(tmp_path / "disk/a.mp4")
    assert open_episode(link).name == f"{link}#0"
    assert open_episode(link).content_hash == open_episode(tmp_path / "disk/a.mp4").content_hash
    assert find_episodes(tmp_path / "mine") == []


def test_what_is_not_an_episode_is_left_out(episodes: Path) -> None:
    (episodes / "checkpoint").mkdir()
    (episodes / "checkpoint" / "manifest.json").write_text("{}")
    shutil.copytree(episodes / "task-1" / "1", episodes / "task-1" / "2.tmp-77-ab")
    assert len(find_episodes(episodes)) == 3


def test_errors_say_what_was_looked_for(episodes: Path) -> None:
    with pytest.raises(EpisodeError, match=r"not an episode; looked for a packed episode .*; 3 episodes lie inside"):
        open_episode(episodes)
    with pytest.raises(EpisodeError, match="does not exist"):
        open_episode(episodes / "nowhere")
    with pytest.raises(EpisodeError, match="does not exist"):
        find_episodes(episodes / "nowhere")
    with pytest.raises(EpisodeError, match="has one episode"):
        open_episode(f"{episodes}/task-0/0#1")


def test_the_cache_is_made_once_and_mended(episodes: Path) -> None:
    episode = open_episode(episodes / "task-0" / "0")
    first = mapped(episode)
    assert isinstance(first, PackedEpisode)
    assert first.folder == cache_root() / "episodes" / episode.content_hash
    made = (first.folder / "static_rgb.npy").stat().st_mtime_ns
    assert mapped(episode).content_hash == episode.content_hash
    assert (first.folder / "static_rgb.npy").stat().st_mtime_ns == made
    (first.folder / "static_rgb.npy").write_bytes(b"short")
    np.testing.assert_array_equal(mapped(episode).rgb("static", 4), episode.rgb("static", 4))
    assert mapped(first) is first


@pytest.mark.parametrize("spoilt", ["static_rgb.npy", "manifest.json", "meta.json", "arrays.safetensors"])
@pytest.mark.parametrize("loss", ["zeros", "empty", "gone"])
def test_what_a_power_loss_spoils_is_made_again(
    episodes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: str, loss: str
) -> None:
    episode = open_episode(episodes / "task-0" / "0")
    copy = mapped(episode)
    assert isinstance(copy, PackedEpisode)
    path = copy.folder / spoilt
    size = path.stat().st_size
    path.unlink()
    if loss != "gone":
        path.write_bytes(bytes(size) if loss == "zeros" else b"")
    (tmp_path / "boot_id").write_text("the next boot")
    monkeypatch.setattr(cache, "_BOOT_ID", tmp_path / "boot_id")
    made_again = mapped(episode)
    assert isinstance(made_again, PackedEpisode)
    made_again.verify()
    np.testing.assert_array_equal(made_again.rgb("static", 4), episode.rgb("static", 4))


def test_a_copy_is_made_without_flushing_and_verified_once_a_boot(
    episodes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[PackedEpisode] = []
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("a cache needs no durability"))
    monkeypatch.setattr(PackedEpisode, "verify", lambda episode: verified.append(episode))
    monkeypatch.setattr(cache, "_BOOT_ID", tmp_path / "boot_id")
    for boot, times in (("first", 0), ("second", 1)):
        (tmp_path / "boot_id").write_text(boot)
        for _ in range(2):
            mapped(open_episode(episodes / "task-0" / "0"))
        assert len(verified) == times
    memory = MemoryEpisode(make_recording(length=4))
    assert mapped(memory) is memory


def test_the_cache_is_cleaned_from_the_oldest_on(episodes: Path) -> None:
    copies = [mapped(open_episode(name)) for name in find_episodes(episodes)]
    for age, copy in enumerate(copies):
        assert isinstance(copy, PackedEpisode)
        os.utime(copy.folder, (1000 - age, 1000 - age))
    kept = copies[0]
    assert isinstance(kept, PackedEpisode)
    size = sum(path.stat().st_size for path in kept.folder.iterdir())
    assert clean_cache(keep_bytes=size) == 2
    assert [path.name for path in (cache_root() / "episodes").iterdir()] == [kept.content_hash]
    assert clean_cache() == 1
    assert clean_cache() == 0


def test_a_copy_that_others_remove_while_it_is_used_is_read_from_its_source(episodes: Path) -> None:
    plain = open_episode(episodes / "task-0" / "0")
    copies = [mapped(plain), pickle.loads(travelled := pickle.dumps(mapped(plain)))]  # noqa: S301 - our own
    assert clean_cache() == 1
    copies.append(pickle.loads(travelled))  # noqa: S301 - on its way to a loader process when it went
    for copy in copies:
        np.testing.assert_array_equal(copy.state, plain.state)
        for view in plain.info.views:
            np.testing.assert_array_equal(copy.rgb(view, 4), plain.rgb(view, 4))
            np.testing.assert_array_equal(copy.depth(view, 4), plain.depth(view, 4))


def test_an_episode_that_is_removed_while_it_is_open_says_so(episodes: Path) -> None:
    episode = open_episode(episodes / "task-0" / "0")
    shutil.rmtree(episodes / "task-0" / "0")
    for read in (lambda: episode.rgb("static", 4), lambda: episode.rgb("wrist", 4), lambda: episode.depth("static", 4)):
        with pytest.raises(EpisodeError, match="was removed since the episode was opened"):
            read()


def test_two_processes_clean_the_cache_at_once(episodes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in find_episodes(episodes):
        mapped(open_episode(name))
    coming = cache_root() / "episodes" / f"0{TEMP_MARK}{os.getpid()}-00000000"
    coming.mkdir()
    left = cache_root() / "episodes" / f"0{TEMP_MARK}{2**22 + 1}-00000000"  # no process has such a number
    left.mkdir()
    listed: list[Path] = []

    def measured(folder: Path) -> int:
        if not listed:
            for other in cache_root().glob("episodes/*"):
                if other not in (folder, coming):
                    shutil.rmtree(other)  # by the other process
        listed.append(folder)
        return folder_bytes(folder)

    monkeypatch.setattr(cache, "folder_bytes", measured)
    assert clean_cache() == 1
    assert list(cache_root().glob("episodes/*")) == [coming]  # somebody is making it


def test_a_full_disk_is_said_before_writing(episodes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))  # pyright: ignore
    with pytest.raises(EpisodeError, match="set FORESIGHT_CACHE"):
        mapped(open_episode(episodes / "task-0" / "0"))


def trainer(*arguments: object) -> int:
    return run_command("trainer", COMMANDS, [str(argument) for argument in arguments])


def test_pack_there_and_back(episodes: Path, tmp_path: Path) -> None:
    assert trainer("pack", episodes, tmp_path / "m", "--encoding", "mapped", "--verify") == 0
    assert trainer("pack", tmp_path / "m", tmp_path / "c") == 0
    for name in find_episodes(episodes):
        folder = split_name(name)[0].relative_to(episodes)
        for path in (episodes / folder).iterdir():
            assert (tmp_path / "c" / folder / path.name).read_bytes() == path.read_bytes()


def test_pack_exits_with_two_on_bad_input(episodes: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    broken = episodes / "task-1" / "1" / "static_rgb.delta.safetensors"
    broken.write_bytes(broken.read_bytes()[:-1] + b"?")
    for arguments, message in (
        ((), "name a source"),
        ((episodes,), "name a destination"),
        ((tmp_path / "nowhere", "--verify"), "does not exist"),
        ((episodes, "--verify"), "sha256"),
    ):
        assert trainer("pack", *arguments) == 2
        assert message in capfd.readouterr().err
    (tmp_path / "empty").mkdir()
    assert trainer("pack", tmp_path / "empty", "--verify") == 2
    assert "looked for a packed episode" in capfd.readouterr().err

"""Spaces, quotas and what is left behind: uploads without a browser."""

from __future__ import annotations

import errno
import shutil
import stat
import threading
import time
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, NoReturn

import pytest

from model.errors import ConfigError, EpisodeError, WorkbenchError
from tests.waiting import files_below, wait_until
from workbench import upload_incoming, uploads
from workbench.scratch import Scratch
from workbench.upload_incoming import Announced
from workbench.upload_room import Limits
from workbench.uploads import Upload, Uploads

ANN, BOB = "a" * 32, "b" * 32
SMALL = Limits(
    file_bytes=1000,
    visitor_bytes=1500,
    total_bytes=2000,
    free_bytes=0,
    files=10,
    visitor_files=15,
    total_files=20,
    free_files=0,
    visitors=3,
    hours=1.0,
)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Uploads]:
    made = Uploads(tmp_path / "uploads", SMALL)
    yield made
    made.close()


def bring(desk: Uploads, files: dict[str, bytes], space: str = ANN, piece: int = 7) -> Upload:
    """Uploads files in small pieces, as they would come over a wire."""
    incoming = desk.begin(space, [Announced(name, len(data)) for name, data in files.items()])
    data = b"".join(files.values())
    for at in range(0, len(data), piece):
        incoming.write(data[at : at + piece])
    return desk.finish(space, incoming)


def left(tmp_path: Path) -> list[str]:
    """All files below the uploads' folder, but the lock."""
    return [name for name in files_below(tmp_path / "uploads") if name != "lock"]


def test_files_arrive_as_they_are_and_private(desk: Uploads) -> None:
    upload = bring(
        desk, {"trial/static.mp4": b"x" * 100, "trial/.hydra/merged_config.yaml": b"", "trial/a.csv": b"1,2"}
    )
    assert (upload.folder / "trial/static.mp4").read_bytes() == b"x" * 100
    assert (upload.folder / "trial/.hydra/merged_config.yaml").read_bytes() == b""
    assert (upload.folder / "trial/a.csv").read_bytes() == b"1,2"
    assert (upload.title, upload.bytes, upload.files) == ("trial", 103, 5)
    for path in (upload.folder, *upload.folder.rglob("*"), upload.folder.parent, upload.folder.parent.parent):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_loose_files_get_a_folder_of_their_own_and_rubbish_is_thrown_away(desk: Uploads) -> None:
    upload = bring(desk, {".DS_Store": b"zzz", "static.mp4": b"ab", "__MACOSX/x": b"y", "meta.yaml": b"c"})
    names = sorted(path.relative_to(upload.folder).as_posix() for path in upload.folder.rglob("*") if path.is_file())
    assert names == ["dropped files/meta.yaml", "dropped files/static.mp4"]
    assert (upload.folder / "dropped files/static.mp4").read_bytes() == b"ab"


def test_rubbish_without_end_is_refused_before_its_names_are_looked_at(desk: Uploads) -> None:
    rubbish = [Announced(".DS_Store", 0)] * (2 * SMALL.files)
    with pytest.raises(ConfigError, match="21 files, more than 10"):
        desk.begin(ANN, [Announced("a.mp4", 1), *rubbish])


def test_an_archive_is_replaced_by_what_is_in_it(desk: Uploads, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("run/static.mp4", b"0" * 300)
        archive.writestr("run/empty/", b"")
    upload = bring(desk, {"trial.ZIP": (tmp_path / "t.zip").read_bytes()})
    assert (upload.folder / "trial/run/static.mp4").read_bytes() == b"0" * 300
    assert (upload.bytes, upload.files) == (300, 3)
    assert left(tmp_path) == ["static.mp4"]


def test_visitors_do_not_see_each_other(desk: Uploads) -> None:
    upload = bring(desk, {"a.mp4": b"x"})
    assert desk.of(ANN) == (upload,)
    assert desk.of(BOB) == ()
    assert desk.of(None) == ()
    with pytest.raises(ConfigError, match="no upload of that name"):
        desk.remove(BOB, upload.name)
    assert upload.folder.is_dir()


def test_a_visitor_removes_his_own(desk: Uploads, tmp_path: Path) -> None:
    upload = bring(desk, {"a.mp4": b"x"})
    desk.remove(ANN, upload.name)
    assert desk.of(ANN) == ()
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("sizes", "why"),
    [
        ([], "no file"),
        ([1001], "a file may have 1 kB"),
        ([-1], "a file may have"),
        ([1] * 11, "more than 10"),
        ([800, 800], "a visitor has 1.5 kB"),
    ],
)
def test_what_cannot_fit_is_refused_before_a_byte_comes(
    desk: Uploads, tmp_path: Path, sizes: Sequence[int], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        desk.begin(ANN, [Announced(f"{at}.mp4", size) for at, size in enumerate(sizes)])
    assert left(tmp_path) == []


def test_quotas_count_what_is_kept_and_all_visitors(desk: Uploads) -> None:
    bring(desk, {"a.mp4": b"x" * 900})
    with pytest.raises(ConfigError, match=r"900 B are used, remove some"):
        bring(desk, {"a.mp4": b"x" * 700})
    bring(desk, {"a.mp4": b"x" * 900}, BOB)
    with pytest.raises(ConfigError, match=r"200 B are left for all visitors"):
        bring(desk, {"a.mp4": b"x" * 300})
    desk.remove(BOB, desk.of(BOB)[0].name)
    bring(desk, {"a.mp4": b"x" * 300})


def test_files_count_as_bytes_do(desk: Uploads, tmp_path: Path) -> None:
    bring(desk, {f"{at}.mp4": b"" for at in range(8)})  # and the folder around them
    with pytest.raises(
        ConfigError, match=r"7 files and folders, and a visitor has room for 15; 9 are used, remove some"
    ):
        bring(desk, {f"a/b/c/d/{at}.mp4": b"" for at in range(3)})
    bring(desk, {f"{at}.mp4": b"" for at in range(7)}, BOB)
    with pytest.raises(ConfigError, match="room for 3 is left for all visitors"):
        bring(desk, {"a/b/c/0.mp4": b""}, BOB)
    desk.remove(ANN, desk.of(ANN)[0].name)
    bring(desk, {"a/b/c/0.mp4": b""}, BOB)
    assert len(left(tmp_path)) == 8


def test_files_in_archives_count(desk: Uploads, tmp_path: Path) -> None:
    bring(desk, {f"{at}.mp4": b"" for at in range(8)})
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        for at in range(3):
            archive.writestr(f"{at}/x/y", b"")
    with pytest.raises(ConfigError, match="9 files and folders, and a visitor has room for 15; 10 are used"):
        bring(desk, {"t.zip": (tmp_path / "t.zip").read_bytes()})
    assert len(left(tmp_path)) == 8


def test_a_disk_s_file_table_keeps_some_room_free(desk: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    class Table:
        f_files, f_favail, f_blocks, f_bavail, f_bfree, f_frsize = 1000, 3, 1000, 1000, 1000, 4096

    monkeypatch.setattr(uploads.os, "statvfs", lambda _: Table)
    with pytest.raises(ConfigError, match="4 files and folders, and the disk has room for 3"):
        desk.begin(ANN, [Announced("a/b/c/d.mp4", 1)])
    monkeypatch.setattr(Table, "f_files", 0)
    assert bring(desk, {"a/b/c/d.mp4": b""}).files == 4


def test_the_disk_keeps_some_room_free(desk: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=150)
    monkeypatch.setattr(uploads.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(ConfigError, match="the disk has 150 B to spare"):
        desk.begin(ANN, [Announced("a.mp4", 151)])
    incoming = desk.begin(ANN, [Announced("a.mp4", 100)])
    with pytest.raises(ConfigError, match="the disk has 50 B to spare"):  # what is announced counts before it came
        desk.begin(BOB, [Announced("a.mp4", 51)])
    desk.abort(ANN, incoming)


def test_spaces_are_not_made_without_end(desk: Uploads) -> None:
    for at in range(3):
        bring(desk, {"a.mp4": b"x"}, f"{at}" * 32)
    with pytest.raises(ConfigError, match="3 visitors"):
        bring(desk, {"a.mp4": b"x"})


def test_who_brought_nothing_keeps_nobody_out(desk: Uploads) -> None:
    for at in range(3):
        with pytest.raises(ConfigError, match="a visitor has"):
            desk.begin(f"{at}" * 32, [Announced("a.mp4", 1000), Announced("b.mp4", 1000)])
    assert bring(desk, {"a.mp4": b"x"}).folder.is_dir()


def test_others_do_not_wait_while_files_are_removed(desk: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    upload, remove, seen = bring(desk, {"a.mp4": b"x"}), uploads.shutil.rmtree, list[tuple[Upload, ...]]()

    def slow(folder: Path, *, ignore_errors: bool) -> None:
        asking = threading.Thread(target=lambda: seen.append(desk.of(BOB)))
        asking.start()
        asking.join(60)
        remove(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr(uploads.shutil, "rmtree", slow)
    desk.remove(ANN, upload.name)
    assert seen == [()]
    desk.abort(ANN, desk.begin(ANN, [Announced("a.mp4", 1)]))
    assert seen == [(), ()]
    bring(desk, {"a.mp4": b"x"})
    desk.expire(time.monotonic() + 3700)
    assert seen == [(), (), ()]
    monkeypatch.undo()


def test_one_upload_at_a_time_unless_the_first_was_given_up(desk: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    first = desk.begin(ANN, [Announced("a.mp4", 5)])
    with pytest.raises(ConfigError, match="under way"):
        desk.begin(ANN, [Announced("b.mp4", 5)])
    monkeypatch.setattr(first, "touched", time.monotonic() - 1000)
    second = desk.begin(ANN, [Announced("b.mp4", 5)])
    with pytest.raises(ConfigError, match="cancelled"):
        first.write(b"x")
    assert desk.incoming(ANN, second.name) is second
    with pytest.raises(ConfigError, match="no upload of that name"):
        desk.incoming(BOB, second.name)


def test_too_few_and_too_many_bytes_leave_nothing(desk: Uploads, tmp_path: Path) -> None:
    incoming = desk.begin(ANN, [Announced("a.mp4", 5)])
    incoming.write(b"abc")
    with pytest.raises(EpisodeError, match="2 B early"):
        desk.finish(ANN, incoming)
    incoming = desk.begin(ANN, [Announced("a.mp4", 5)])
    with pytest.raises(ConfigError, match="more bytes"):
        incoming.write(b"abcdef")
    desk.abort(ANN, incoming)
    assert left(tmp_path) == []
    assert not list((tmp_path / "uploads").rglob("*.tmp-*"))


def test_a_full_disk_leaves_nothing_and_says_so(desk: Uploads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, _: object) -> NoReturn:
            raise OSError(errno.ENOSPC, "No space left on device")

    incoming = desk.begin(ANN, [Announced("a.mp4", 5)])
    monkeypatch.setattr(incoming, "_sink", Full())
    with pytest.raises(ConfigError, match="the disk is full"):
        incoming.write(b"abc")
    desk.abort(ANN, incoming)
    assert left(tmp_path) == []
    assert bring(desk, {"a.mp4": b"abc"}).bytes == 3


def test_a_full_disk_while_unpacking_leaves_nothing(
    desk: Uploads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("a.mp4", b"0" * 300)
        archive.writestr("b.mp4", b"0" * 300)

    def full(path: Path) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    incoming = desk.begin(ANN, [Announced("t.zip", (tmp_path / "t.zip").stat().st_size)])
    incoming.write((tmp_path / "t.zip").read_bytes())
    monkeypatch.setattr("workbench.safe_zip.new_file", full)
    with pytest.raises(ConfigError, match="the disk is full") as caught:
        desk.finish(ANN, incoming)
    assert str(tmp_path) not in str(caught.value)
    assert left(tmp_path) == []
    assert desk.of(ANN) == ()


def test_what_an_archive_unpacks_to_counts(desk: Uploads, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"0" * 1600)
    with pytest.raises(ConfigError, match="a visitor has"):
        bring(desk, {"t.zip": (tmp_path / "t.zip").read_bytes()})
    assert left(tmp_path) == []


def test_a_cancel_while_it_is_unpacked_leaves_nothing(
    desk: Uploads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        for name in "ab":
            archive.writestr(name, b"0" * 9)
    incoming = desk.begin(ANN, [Announced("t.zip", (tmp_path / "t.zip").stat().st_size)])
    incoming.write((tmp_path / "t.zip").read_bytes())
    write = upload_incoming.new_file

    def cancelled_meanwhile(path: Path) -> IO[bytes]:
        desk.abort(ANN, incoming)
        path.parent.mkdir(parents=True, exist_ok=True)  # as a slow thread would have, a moment later
        return write(path)

    monkeypatch.setattr("workbench.safe_zip.new_file", cancelled_meanwhile)
    with pytest.raises(WorkbenchError, match="cancelled"):
        desk.finish(ANN, incoming)
    assert left(tmp_path) == []


def test_spaces_expire_unless_their_visitor_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []
    desk = Uploads(tmp_path / "uploads", SMALL, gone.append)
    upload, other = bring(desk, {"a.mp4": b"x"}), bring(desk, {"a.mp4": b"x"}, BOB)
    desk.expire(time.monotonic() + 3500)
    assert gone == []
    now = time.monotonic()
    monkeypatch.setattr(uploads.time, "monotonic", lambda: now + 3500)
    desk.of(BOB)  # Bob looks again
    desk.expire(now + 3700)
    assert gone == [ANN]
    assert not upload.folder.exists()
    assert desk.of(BOB) == (other,)
    desk.close()
    assert left(tmp_path) == []


def test_a_space_does_not_expire_while_an_upload_comes(desk: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    incoming, now = desk.begin(ANN, [Announced("a.mp4", 2)]), time.monotonic()
    monkeypatch.setattr(uploads.time, "monotonic", lambda: now + 3500)
    incoming.write(b"x")
    desk.expire(now + 3700)
    incoming.write(b"x")
    assert desk.finish(ANN, incoming).bytes == 2


def test_spaces_expire_while_the_server_runs_whatever_goes_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: str) -> NoReturn:
        raise OSError("the catalogue cannot be told")

    said = "removing an expired space failed"
    monkeypatch.setattr(uploads, "_LOOK_EVERY", 0.02)
    desk = Uploads(tmp_path / "uploads", replace(SMALL, hours=1 / 3600), fails)
    for failures, space in enumerate((ANN, BOB, ANN), 1):
        bring(desk, {"a.mp4": b"x"}, space)
        wait_until(lambda: caplog.text.count(said) == failures, "the space expires")  # noqa: B023
        assert left(tmp_path) == []
    desk.close()


def test_another_process_s_files_are_left_alone(tmp_path: Path) -> None:
    living = Scratch(tmp_path / "uploads")
    (living.folder() / "mine").write_bytes(b"y")
    assert Scratch(tmp_path / "uploads").sweep() == 0
    assert left(tmp_path) == ["mine"]
    living.close()
    assert left(tmp_path) == []

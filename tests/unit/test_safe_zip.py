"""Archives from strangers: links, names, bombs and lies are refused in one line, and nothing is written elsewhere."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from model.errors import EpisodeError, UnsafeFileError, WorkbenchError
from workbench.safe_zip import SafeZip
from workbench.upload_names import MAX_DEPTH, safe_parts


def write(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def unpack(path: Path, into: Path, max_files: int = 100) -> list[str]:
    into.mkdir()
    with SafeZip(path, "a.zip", max_files=max_files) as found:
        found.unpack(into, lambda: None)
    return sorted(item.relative_to(into).as_posix() for item in into.rglob("*") if item.is_file())


def patched(path: Path, old: bytes, new: bytes) -> Path:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    return path


def test_an_honest_archive_is_unpacked(tmp_path: Path) -> None:
    files = {"trial/static.mp4": b"x" * 5000, "trial/.hydra/merged_config.yaml": b"a: 1", "__MACOSX/._x": b"", "e": b""}
    path = write(tmp_path / "t.zip", files)
    assert unpack(path, tmp_path / "out") == ["e", "trial/.hydra/merged_config.yaml", "trial/static.mp4"]
    assert (tmp_path / "out/trial/static.mp4").read_bytes() == b"x" * 5000
    assert stat.S_IMODE((tmp_path / "out/trial/static.mp4").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "name", ["../out", "a/../../out", "/etc/passwd", "..", "a\\..\\b", "C:/x", "x/" * (MAX_DEPTH + 1) + "y", "é" * 150]
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "t.zip", {"good": b"1", name: b"2"})
    with pytest.raises(UnsafeFileError, match=r"a\.zip: the name"):
        unpack(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert sorted(item.name for item in tmp_path.iterdir()) == ["out", "t.zip"]


def test_a_name_cut_by_a_zero_is_refused(tmp_path: Path) -> None:
    path = patched(write(tmp_path / "t.zip", {"good_bad": b"1"}), b"good_bad", b"good\0bad")
    with pytest.raises(WorkbenchError):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(UnsafeFileError, match="link or a device"):
        unpack(tmp_path / "t.zip", tmp_path / "out")


def test_two_names_that_meet_are_refused(tmp_path: Path) -> None:
    for number, names in enumerate((("a<b", "a>b"), ("a", "a/b"), ("x/y", "x//y"))):
        path = write(tmp_path / f"{number}.zip", dict.fromkeys(names, b"1"))
        with pytest.raises(UnsafeFileError, match=r"twice|at once"):
            unpack(path, tmp_path / f"out{number}")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("z", "w") as member:
        for _ in range(80):
            member.write(bytes(1 << 20))
    with pytest.raises(UnsafeFileError, match="more than 200 times"):
        unpack(tmp_path / "t.zip", tmp_path / "out")


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.zip", {f"{number}": b"" for number in range(11)})
    with pytest.raises(UnsafeFileError, match="11 files and folders, more than 10"):
        unpack(path, tmp_path / "out", max_files=10)


def test_a_list_of_members_that_says_it_is_huge_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "t.zip"
    size = 9 << 20
    path.write_bytes(bytes(size) + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, size, 0, 0))
    with pytest.raises(UnsafeFileError, match="list of members"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_with_large_dictionaries_are_refused(tmp_path: Path, method: int) -> None:
    with pytest.raises(UnsafeFileError, match="unusual method"):
        unpack(write(tmp_path / "t.zip", {"a": b"1" * 100}, method), tmp_path / "out")


def _say_encrypted(path: Path) -> Path:
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 8] |= 1
    path.write_bytes(data)
    return path


def _say_smaller(path: Path) -> Path:
    return patched(path, struct.pack("<L", 5000), struct.pack("<L", 50))


def _say_larger(path: Path) -> Path:
    return patched(path, struct.pack("<L", 5000), struct.pack("<L", 6000))


def _cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-30])
    return path


def _rename_inside(path: Path) -> Path:
    data = path.read_bytes()
    path.write_bytes(data.replace(b"good", b"evil", 1))
    return path


@pytest.mark.parametrize("lie", [_say_encrypted, _say_smaller, _say_larger, _cut, _rename_inside])
def test_lies_in_headers_are_one_error(tmp_path: Path, lie: Callable[[Path], Path]) -> None:
    path = lie(write(tmp_path / "t.zip", {"good": bytes(range(250)) * 20}))
    with pytest.raises(WorkbenchError, match=r"^a\.zip") as caught:
        unpack(path, tmp_path / "out")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"PK", bytes(100), b"PK\x03\x04" + bytes(60)])
def test_what_is_no_archive_is_one_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "t.zip"
    path.write_bytes(data)
    with pytest.raises(EpisodeError, match="not a zip archive"):
        unpack(path, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("trial/static.mp4", ("trial", "static.mp4")),
        ("./a//b", ("a", "b")),
        ("<img src=x onerror=alert(1)>.mp4", ("_img src=x onerror=alert(1)_.mp4",)),
        ("a#3.hdf5", ("a_3.hdf5",)),
        ("a\"'&`$;|*?~%\n\u202e\ud800b", ("a" + "_" * 14 + "b",)),
        ("Versuch 3 (übung).mp4", ("Versuch 3 (übung).mp4",)),
        ("杯子.mp4", ("杯子.mp4",)),
        ("...", ("...",)),
    ],
)
def test_a_name_never_means_anything_but_itself(name: str, kept: tuple[str, ...]) -> None:
    assert safe_parts(name, "x") == kept

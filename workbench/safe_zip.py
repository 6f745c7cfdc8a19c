"""Zip archives from strangers, unpacked within bounds: plain files only, and never more than they announced.

What an archive announces is checked before a byte is unpacked; what comes out is counted, because announcements lie.
Only stored and deflated members are read: the dictionaries of the other methods ask for gigabytes of memory.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, cast

from model.errors import EpisodeError, UnsafeFileError

from .upload_names import Parts, check_distinct, is_junk, safe_parts

MAX_RATIO = 200
"""Zeros deflate to a thousandth, recordings hardly to a tenth of their size."""
_SMALL = 64 << 20
"""An archive that unpacks to no more than this can do no harm, whatever its ratio."""
_MAX_READ = 8 << 20
"""`zipfile` reads the list of members at once, an object for every 46 bytes; nothing else that it reads is so long."""
_PIECE = 1 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    NotImplementedError,
    RuntimeError,
    EOFError,
    ValueError,
    OverflowError,
)


class SafeZip:
    """An archive whose list of members was read and found harmless.

    Args:
        path: The archive.
        where: What to call it in messages.
        max_files: Files and folders it may have.

    Attributes:
        bytes: What it unpacks to.
        files: Files and folders it unpacks to; what file managers leave is not counted.

    Raises:
        EpisodeError: It is damaged or no archive.
        UnsafeFileError: A member is a link or device, leads outside, is encrypted, or would unpack to too much.
    """

    def __init__(self, path: Path, where: str, *, max_files: int) -> None:
        self._where = where
        self._file = path.open("rb")
        try:
            # zipfile needs read, seek, tell and seekable only.
            self._zip = zipfile.ZipFile(cast("IO[bytes]", _ShortReads(self._file, where)))
            self._members, self.files = self._checked(max_files)
        except UnsafeFileError:
            self._file.close()
            raise
        except _DAMAGE as error:
            self._file.close()
            raise EpisodeError(f"{where}: not a zip archive, or damaged ({error}); pack it again") from None
        self.bytes = sum(info.file_size for info, _ in self._members)
        self._check_ratio(os.fstat(self._file.fileno()).st_size)

    def __enter__(self) -> SafeZip:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def unpack(self, into: Path, stop: Callable[[], None]) -> None:
        """Writes every file below a folder that exists.

        Args:
            into: What is there already is never overwritten.
            stop: Called before every file; raises where nobody waits any more.

        Raises:
            EpisodeError: The archive is damaged.
            UnsafeFileError: A member unpacks to more than it announced.
            OSError: The disk is full.
        """
        for info, parts in self._members:
            stop()
            target = into.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            try:
                with self._zip.open(info) as source, new_file(target) as out:
                    self._copy(source.read, out, info)
            except _DAMAGE as error:
                raise EpisodeError(
                    f"{self._where}: {'/'.join(parts)!r:.80} is damaged ({error}); pack it again"
                ) from None

    def _copy(self, read: Callable[[int], bytes], out: IO[bytes], info: zipfile.ZipInfo) -> None:
        left = info.file_size
        while piece := read(_PIECE):
            left -= len(piece)
            if left < 0:
                raise UnsafeFileError(f"{self._where}: {info.filename!r:.80} holds more than it announces")
            out.write(piece)
        if left:
            raise zipfile.BadZipFile(f"{left} bytes are missing")

    def _checked(self, max_files: int) -> tuple[list[tuple[zipfile.ZipInfo, Parts]], int]:
        """The members, and how many files and folders they become."""
        members: list[tuple[zipfile.ZipInfo, Parts]] = []
        for info in self._zip.infolist():
            said = f"{self._where}: {info.filename!r:.80}"
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise UnsafeFileError(f"{said} is a link or a device; pack the files themselves")
            if info.is_dir():
                safe_parts(info.orig_filename + "folder", self._where)
                continue
            parts = safe_parts(info.orig_filename, self._where)
            if is_junk(parts):
                continue
            if info.flag_bits & 0x1:
                raise UnsafeFileError(f"{said} is encrypted; pack it without a password")
            if info.compress_type not in _METHODS:
                raise UnsafeFileError(
                    f"{said} is packed by an unusual method; make the archive with `zip` or a file manager"
                )
            members.append((info, parts))
        files = check_distinct((parts for _, parts in members), self._where)
        if files > max_files:
            raise UnsafeFileError(
                f"{self._where}: {files} files and folders, more than {max_files}; upload it in parts"
            )
        return members, files

    def _check_ratio(self, packed: int) -> None:
        if self.bytes > max(_SMALL, MAX_RATIO * packed):
            self._file.close()
            raise UnsafeFileError(
                f"{self._where}: {packed} bytes would unpack to {self.bytes}, more than {MAX_RATIO} times as many;"
                " if it is no bomb, upload the folder instead"
            )


def new_file(path: Path) -> IO[bytes]:
    """A file that nobody else reads, at a place where nothing is, not even a link."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")


class _ShortReads:
    """A file that is never read far at once, whatever the numbers in it say."""

    def __init__(self, file: IO[bytes], where: str) -> None:
        self._file, self._where = file, where
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """As a file does.

        Raises:
            UnsafeFileError: More at once than any honest archive needs.
        """
        if size > _MAX_READ:
            raise UnsafeFileError(f"{self._where}: its list of members has {size} bytes; upload it in parts")
        return self._file.read(size if size >= 0 else _MAX_READ)  # to the end is asked for near the end only

"""An upload on its way in: bytes of the announced files, one after the other, into a folder nobody looks at yet."""

from __future__ import annotations

import contextlib
import errno
import shutil
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from model.errors import ConfigError, EpisodeError

from .safe_zip import new_file
from .upload_names import Parts, check_distinct, is_junk, safe_parts

_WHERE = "the upload"
_LOOSE = "dropped files"
_ARCHIVE = ".zip"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Announced:
    """A file as the browser says: its relative name with forward slashes, and its size in bytes."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Planned:
    """A file that comes: where it is to lie, and its size; `parts` is None where its bytes are thrown away."""

    parts: Parts | None
    bytes: int


@dataclass(frozen=True)
class Plan:
    """All that comes.

    Attributes:
        items: In the order in which their bytes come.
        files: Files and folders that it makes.
    """

    items: Sequence[Planned]
    files: int

    @property
    def bytes(self) -> int:
        """All bytes that come, also those that are thrown away."""
        return sum(item.bytes for item in self.items)


def plan_files(files: Sequence[Announced], *, max_files: int, max_bytes: int) -> Plan:
    """Where announced files are to lie. Loose files that came together get a folder of their own.

    Raises:
        ConfigError: None, too many, or one of them too large.
        UnsafeFileError: A name would lead elsewhere, or two names meet.
    """
    if len(files) > 2 * max_files:  # before any name is looked at; file managers leave one of their own beside each
        raise ConfigError(f"{_WHERE} has {len(files)} files, more than {max_files}; upload parts of it")
    for file in files:
        if file.bytes < 0 or file.bytes > max_bytes:
            raise ConfigError(f"{file.name!r:.80}: {size_text(file.bytes)}, and a file may have {size_text(max_bytes)}")
    named = [(safe_parts(file.name, _WHERE), file.bytes) for file in files]
    wanted = [parts for parts, _ in named if not is_junk(parts)]
    if not wanted:
        raise ConfigError(f"{_WHERE} has no file in it; drop a video, a dataset's folder or a zip of one")
    count = check_distinct(wanted, _WHERE)
    if count > max_files:
        raise ConfigError(f"{_WHERE} has {count} files and folders, more than {max_files}; upload parts of it")
    together = len(wanted) > 1 and (len({parts[0] for parts in wanted}) > 1)
    above: Parts = (_LOOSE,) if together else ()
    items = [Planned(None if is_junk(parts) else (*above, *parts), size) for parts, size in named]
    return Plan(items, count + len(above))


class Incoming:
    """Takes the bytes of the planned files. Safe across threads.

    Args:
        name: What the browser calls it.
        folder: Temporary; made here, removed by `cancel`.
        plan: What comes.

    Attributes:
        claimed: Bytes set aside for it; grows while archives are unpacked.
        files: Files and folders set aside for it; grows likewise.
        touched: When something last came, on the monotonic clock in seconds.
    """

    def __init__(self, name: str, folder: Path, plan: Plan) -> None:
        self.name, self.folder = name, folder
        self._items = plan.items
        self.claimed, self.files = plan.bytes, plan.files
        self.touched = time.monotonic()
        self._lock = threading.RLock()
        self._wanted = True
        self._missing = self.claimed
        folder.mkdir(mode=0o700)
        self._sinks = self._open_each()
        self._sink, self._left = next(self._sinks)

    @property
    def missing(self) -> int:
        """Bytes that have not come yet."""
        return self._missing

    @property
    def title(self) -> str:
        """What to call it: the file or folder that was dropped."""
        first = next(item.parts for item in self._items if item.parts is not None)
        return first[0]

    def write(self, data: bytes) -> None:
        """Takes the next bytes.

        Raises:
            ConfigError: It was cancelled, the disk is full, or more comes than was announced.
        """
        with self._lock, disk_errors():
            self.check_wanted()
            if len(data) > self._missing:
                raise ConfigError(f"{_WHERE} has more bytes than it announced; start it again")
            self._missing -= len(data)
            rest = memoryview(data)
            while rest:
                while not self._left:
                    self._sink, self._left = next(self._sinks)
                piece, rest = rest[: self._left], rest[self._left :]
                if self._sink is not None:
                    self._sink.write(piece)
                self._left -= len(piece)

    def close(self) -> None:
        """Ends the bytes.

        Raises:
            EpisodeError: Some are missing.
            ConfigError: It was cancelled, or the disk is full.
        """
        with self._lock, disk_errors():
            self.check_wanted()
            if self._missing:
                raise EpisodeError(f"{_WHERE} ended {size_text(self._missing)} early; start it again")
            for _ in self._sinks:  # empty files at the end
                pass

    def check_wanted(self) -> None:
        """Says that it goes on, unless somebody cancelled it.

        Raises:
            ConfigError: It was cancelled.
        """
        if not self._wanted:
            raise ConfigError(f"{_WHERE} was cancelled; nothing of it was kept")
        self.touched = time.monotonic()

    def cancel(self) -> None:
        """Ends it and removes what came."""
        self._wanted = False
        with self._lock:
            with contextlib.suppress(OSError):  # closing writes again what a full disk refused
                self._sinks.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def archives(self) -> Iterator[tuple[Path, Path]]:
        """The archives among the files that came, and the new folder for what is in each."""
        for item in self._items:
            if item.parts is not None and item.parts[-1].lower().endswith(_ARCHIVE):
                path = self.folder.joinpath(*item.parts)
                into = path.with_name(path.name[: -len(_ARCHIVE)] or "archive")
                while into.exists():
                    into = into.with_name(f"{into.name}_")
                yield path, into

    def _open_each(self) -> Generator[tuple[IO[bytes] | None, int]]:
        """Opens one file after the other; None for what nobody needs."""
        for item in self._items:
            if item.parts is None:
                yield None, item.bytes
                continue
            path = self.folder.joinpath(*item.parts)
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with new_file(path) as file:
                yield file, item.bytes


@contextlib.contextmanager
def disk_errors() -> Generator[None]:
    """Says in one line, without a path, what the disk has against an upload."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ConfigError(f"{_WHERE} does not fit: the disk is full; nothing of it was kept") from error
        raise ConfigError(f"{_WHERE} cannot be kept on disk: {error.strerror or error}") from error


def size_text(count: int) -> str:
    """A number of bytes for people, in decimal units."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"

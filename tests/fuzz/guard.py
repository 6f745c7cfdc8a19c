"""What a parser must not do while it reads a hostile file, seen from inside its process.

Python tells an audit hook about every file it opens, every process it starts, every socket, module and piece of code.
Libraries written in C open files without telling; bait of the run's own (files outside the root, whose paths stand in
the seeds) is watched by the kernel instead.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from pathlib import Path
from typing import Any

_FORBIDDEN = (
    *("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.spawn", "pty.", "socket.", "ctypes."),
    *(
        "exec",
        "compile",
        "import",
        "pickle.",
        "marshal.",
        "code.",
        "urllib.",
        "http.",
        "ftplib.",
        "smtplib.",
        "shutil.",
    ),
    *("os.remove", "os.rename", "os.link", "os.symlink", "os.mkdir", "os.rmdir", "os.chmod", "os.chown", "os.truncate"),
)
_EVENT = struct.Struct("iIII")
_OPENED, _READ = 0x20, 0x01
_NON_BLOCKING = 0x800
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class ForbiddenError(BaseException):
    """The parser did what no parser may do. No `except Exception` hides it."""


class Guard:
    """Watches this process from `arm` on, for ever: an audit hook cannot be taken away.

    Args:
        root: The only folder whose files may be opened, for reading.
        allowed: Kinds of events that are part of how this parser works: a decoder in a process of its own, which
            also writes temporary files into the root.
    """

    def __init__(self, root: Path, allowed: tuple[str, ...] = ()) -> None:
        self._root, self._allowed = f"{root}{os.sep}", allowed
        self._armed = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def arm(self, armed: bool = True) -> None:
        """Starts or stops objecting."""
        self._armed = armed

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._armed:
            return
        if event == "open":
            path, flags = arguments[0], arguments[2]
            inside = isinstance(path, int) or f"{os.fsdecode(path)}{os.sep}".startswith(self._root)
            if path == os.devnull and self._allowed:
                return  # what a process of its own is started with
            if not inside or (flags & _WRITES and not self._allowed):
                self._object(f"open {path!r} {flags:#x}")
        elif event.startswith(_FORBIDDEN) and not event.startswith(self._allowed or "\0"):
            self._object(f"{event} {arguments!r:.200}")

    def _object(self, what: str) -> None:
        self.seen.append(what)
        raise ForbiddenError(what)


class Bait:
    """Files that nobody may open, watched through inotify."""

    def __init__(self, folder: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._events = self._libc.inotify_init1(_NON_BLOCKING)
        if self._events < 0 or self._libc.inotify_add_watch(self._events, os.fsencode(folder), _OPENED | _READ) < 0:
            raise OSError(ctypes.get_errno(), "inotify does not work here")

    def touched(self) -> bool:
        """Whether any of them was opened or read since the last call."""
        try:
            return len(os.read(self._events, 64 * _EVENT.size)) > 0
        except BlockingIOError:
            return False

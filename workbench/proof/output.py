"""What the proof's commands share: progress on stderr and files that are complete or absent."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from model.errors import ConfigError

_CLEAR = "\r\x1b[K"


class ProgressLine:
    """`[3/20] what` on stderr: one line that changes on a terminal, a line for each step elsewhere."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, done: int, total: int, what: str) -> None:
        """Says where the work is, unless that is what it said last."""
        line = f"[{done}/{total}] {what}"
        if line == self._last:
            return
        self._last = line
        terminal = sys.stderr.isatty()
        ends = "" if terminal and done < total else "\n"
        sys.stderr.write(f"{_CLEAR if terminal else ''}{line}{ends}")
        sys.stderr.flush()


def check_writable(flag: str, path: Path | None) -> None:
    """Fails before any work is done when `path` cannot be written.

    Raises:
        ConfigError: It is a folder, or lies in one that does not exist or takes no files.
    """
    if path is None:
        return
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(f"{flag} {path}: cannot be written; name a file in a folder that exists")


def write_text(flag: str, path: Path, text: str) -> None:
    """Writes a file that appears whole or not at all.

    Raises:
        ConfigError: It cannot be written.
    """
    fresh = path.with_name(f".{path.name}.new-{os.getpid()}")
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise ConfigError(f"{flag} {path}: cannot be written ({error.strerror or error})") from error

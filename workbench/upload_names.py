"""Names that strangers give to files, made into names that are safe on our disk.

A reader needs the names (`static.mp4`, `.hydra/merged_config.yaml`), so they are kept where they are harmless: a name
is taken apart, each part is checked on its own, and every character that means something to a shell, to markup or to
`PATH#INDEX` becomes an underscore. What tries to lead elsewhere is refused, because no honest program writes it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from model.errors import UnsafeFileError

Parts = tuple[str, ...]
MAX_DEPTH = 12
_MAX_PART_BYTES = 200
_MAX_NAME = 1000
_HARMLESS = frozenset(" ._-+=,@()[]")
_JUNK_FOLDERS = frozenset({"__MACOSX"})
_JUNK_FILES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})


def safe_parts(name: str, where: str) -> Parts:
    """The folders and the file of a relative name with forward slashes.

    Args:
        name: As the browser or an archive gives it.
        where: What gave it, for the message.

    Raises:
        UnsafeFileError: It is empty, absolute, climbs with `..`, is too long or too deep, or is no name of a file.
    """
    said = f"{where}: the name {name!r:.80}"
    if len(name) > _MAX_NAME:
        raise UnsafeFileError(f"{said} has {len(name)} characters; at most {_MAX_NAME} can be a real one")
    if name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/") or name[1:2] == ":":
        raise UnsafeFileError(f"{said} would lead out of its folder; nothing was kept")
    parts = tuple(_safe(part) for part in name.split("/") if part not in ("", "."))
    if not parts or name.endswith("/"):
        raise UnsafeFileError(f"{said} names no file; nothing was kept")
    if len(parts) > MAX_DEPTH:
        raise UnsafeFileError(f"{said} is {len(parts)} folders deep, more than {MAX_DEPTH}; pack what lies inside")
    if any(len(part.encode()) > _MAX_PART_BYTES for part in parts):
        raise UnsafeFileError(f"{said} has a part of more than {_MAX_PART_BYTES} bytes; give it a shorter name")
    return parts


def is_junk(parts: Parts) -> bool:
    """Whether it is what file managers leave everywhere, of no use to a reader."""
    return parts[0] in _JUNK_FOLDERS or parts[-1] in _JUNK_FILES or parts[-1].startswith("._")


def check_distinct(files: Iterable[Parts], where: str) -> int:
    """No file twice, none that is another one's folder; how many files and folders they are together.

    Raises:
        UnsafeFileError: Two names meet, perhaps only after their special characters were replaced.
    """
    seen: set[Parts] = set()
    folders: set[Parts] = set()
    for parts in files:
        folders.update(parts[:depth] for depth in range(1, len(parts)))
        if parts in seen:
            raise UnsafeFileError(f"{where}: {'/'.join(parts)!r:.120} is there twice; rename one of them")
        seen.add(parts)
    if both := seen & folders:
        raise UnsafeFileError(
            f"{where}: {'/'.join(both.pop())!r:.120} is a file and a folder at once; nothing was kept"
        )
    return len(seen) + len(folders)


def _safe(part: str) -> str:
    """One part with nothing in it but letters and digits of any script and a few marks."""
    part = unicodedata.normalize("NFC", part)
    return "".join(mark if mark.isalnum() or mark in _HARMLESS else "_" for mark in part)

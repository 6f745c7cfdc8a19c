"""Paths of a dataset that cannot lead out of it: no links to elsewhere, no `..`, nothing but plain files."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from model.errors import EpisodeError, UnsafeFileError


def inside(root: Path, name: str, where: str) -> Path:
    """`root / name` for a name that a dataset's own meta data gives.

    Args:
        root: The dataset's folder.
        name: Relative path with forward slashes.
        where: File and field the name comes from, for the message.

    Raises:
        UnsafeFileError: The name is absolute, climbs out of the root, or is no name at all.
    """
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or ":" in path.parts[0]:
        raise UnsafeFileError(f"{where}: {name!r:.120} leads out of the dataset")
    return root / path


def plain_file(path: Path, root: Path, *, max_bytes: int) -> os.stat_result:
    """What the system says of a file that is about to be read.

    Raises:
        EpisodeError: It is missing.
        UnsafeFileError: It is a link to outside of `root`, no plain file (a pipe would wait for ever), or too large.
    """
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode) or not stat.S_ISREG(found.st_mode):
            if not path.resolve().is_relative_to(root.resolve()):
                raise UnsafeFileError(f"{path}: a link to outside of {root}; put a copy in its place")
            found = path.stat()
    except FileNotFoundError:
        raise EpisodeError(f"{path}: missing") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise EpisodeError(f"{path}: cannot be read ({error})") from None
    if not stat.S_ISREG(found.st_mode):
        raise UnsafeFileError(f"{path}: not a plain file")
    if found.st_size > max_bytes:
        raise UnsafeFileError(f"{path}: {found.st_size} bytes, more than the {max_bytes} such a file may have")
    return found

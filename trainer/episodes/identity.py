"""What names the content of a foreign episode: sha256 over the files it consists of.

Small episodes (64 MiB of files at most) are named by their content: a copy on another machine has the same hash. Of
larger ones only names, sizes and times of change are looked at, because reading them would cost minutes before the
first image: a copy then counts as another episode, and so does a file that was touched. Either way a changed file gives
a changed hash, so that no cached prediction outlives the frames it was made from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from model.errors import EpisodeError

MAX_CONTENT_BYTES = 64 << 20


def content_hash(root: Path, files: Iterable[Path], *, salt: str) -> str:
    """sha256 hex over files, in the order given.

    Args:
        root: The dataset; names count relative to it, so that a dataset may be moved.
        files: Everything the episode is read from, all at or below `root`.
        salt: Tells apart episodes of the same files: format and version of the reader, index, options that change what
            is read.

    Raises:
        EpisodeError: A file is missing or cannot be read.
    """
    digest = hashlib.sha256(f"foresight-foreign-1\0{salt}\0".encode())
    try:
        stats = [(path, path.stat()) for path in files]
        by_content = sum(stat.st_size for _, stat in stats) <= MAX_CONTENT_BYTES
        for path, stat in stats:
            digest.update(f"{path.relative_to(root).as_posix()}\0{stat.st_size}\0".encode())
            if by_content:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            else:
                digest.update(f"{stat.st_mtime_ns}\0".encode())
    except OSError as error:
        raise EpisodeError(f"{error.filename}: cannot be read ({error.strerror})") from None
    return digest.hexdigest()

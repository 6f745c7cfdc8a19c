"""Where files that can be made again are kept between sessions."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/foresight-workbench` (else below `~/.cache`), made if needed, private to the user."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "foresight-workbench"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def prune_oldest(folder: Path, pattern: str, disk_bytes: int) -> None:
    """Removes the files that match `pattern` and were used longest ago, until the rest takes no more than that."""
    files: list[tuple[float, int, Path]] = []
    for path in folder.glob(pattern):
        try:
            facts = path.stat()
        except OSError:  # another process was faster
            continue
        files.append((facts.st_mtime, facts.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= disk_bytes:
            return
        path.unlink(missing_ok=True)
        total -= size

"""Memory-mapped copies of compressed episodes on the local disk, made on first use, keyed by content hash.

A copy that two processes make at once is kept once. Nothing here is precious: the folder may be deleted at any time.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from model.errors import EpisodeError
from trainer.files import folder_bytes

from .episode import Episode
from .packed import PackedEpisode
from .transcode import save_mapped

_KEPT_BYTES = 60 << 30


def cache_root() -> Path:
    """$FORESIGHT_CACHE, or ~/.cache/foresight-workbench."""
    configured = os.environ.get("FORESIGHT_CACHE")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "foresight-workbench"


def mapped(episode: Episode) -> Episode:
    """The same episode with random access to its frames; anything that is not a compressed episode stays as it is.

    Raises:
        EpisodeError: The episode is damaged, or the disk is too full; says how to move the cache.
    """
    if not isinstance(episode, PackedEpisode) or episode.encoding == "mapped":
        return episode
    folder = _episodes() / episode.content_hash
    if (kept := _open(folder)) is None:
        need = sum(_raw_bytes(episode))
        clean_cache(keep_bytes=max(0, _KEPT_BYTES - need))
        folder.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder.parent).free
        if free < 1.2 * need:
            raise EpisodeError(
                f"{folder.parent}: needs {need >> 20} MiB for {episode.name}, {free >> 20} MiB are free; "
                "set FORESIGHT_CACHE to a folder on a larger disk"
            )
        try:
            save_mapped(episode, folder)
        except EpisodeError:
            if not folder.exists():  # else somebody else was faster
                raise
        kept = PackedEpisode(folder)
    os.utime(folder)  # when it was last used
    return kept


def clean_cache(keep_bytes: int = 0) -> int:
    """Removes the copies that were used longest ago until at most `keep_bytes` are left; returns how many went.

    A process that still maps a removed copy keeps it until it ends.
    """
    if not _episodes().is_dir():
        return 0
    copies = sorted((path for path in _episodes().iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    sizes = [folder_bytes(path) for path in copies]
    removed = 0
    while sum(sizes[removed:]) > keep_bytes:
        shutil.rmtree(copies[removed], ignore_errors=True)
        removed += 1
    return removed


def _episodes() -> Path:
    return cache_root() / "episodes"


def _open(folder: Path) -> PackedEpisode | None:
    """A kept copy, or None where there is none or it is damaged (then it is removed)."""
    if not folder.is_dir():
        return None
    try:
        return PackedEpisode(folder)
    except EpisodeError:
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _raw_bytes(episode: PackedEpisode) -> list[int]:
    frames = episode.meta.n_frames
    bytes_per_pixel = {"rgb": 3, "depth": 2, "body": 1}
    return [
        frames * size.height * size.width * sum(bytes_per_pixel[kind] for kind in size.streams)
        for size in episode.meta.views.values()
    ]

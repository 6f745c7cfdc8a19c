"""Memory-mapped copies of compressed episodes on the local disk, made on first use, keyed by content hash.

A copy that two processes make at once is kept once. Nothing here is precious: the folder may be deleted at any time.
So nothing is flushed to disk either. What a power loss spoils (it may keep a file's size and lose its content) is found
by the hashes, which are compared when a copy is first opened after the machine started, and is made again.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from model.errors import EpisodeError, WorkbenchError
from trainer.files import folder_bytes, replace_file

from .corrected import CorrectedStreamEpisode, corrected
from .episode import Episode
from .packed import PackedEpisode
from .transcode import save_mapped

_KEPT_BYTES = 60 << 30
_CHECKED = "checked-since-boot"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def cache_root() -> Path:
    """$FORESIGHT_CACHE, or ~/.cache/foresight-workbench."""
    configured = os.environ.get("FORESIGHT_CACHE")
    return Path(configured).expanduser() if configured else Path.home() / ".cache" / "foresight-workbench"


def mapped(episode: Episode) -> Episode:
    """The same episode with random access to its frames; what does not come from a compressed episode stays as it is.

    Raises:
        EpisodeError: The episode is damaged, or the disk is too full; says how to move the cache.
    """
    if isinstance(episode, CorrectedStreamEpisode):
        return corrected(mapped(episode.original), episode.setting)
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
            save_mapped(episode, folder, durable=False)
            _mark_checked(folder)  # written since the machine started: the page cache has all of it
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
        kept = PackedEpisode(folder)
        if not _is_checked(folder):
            kept.verify()
            _mark_checked(folder)
    except WorkbenchError:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return kept


def _is_checked(folder: Path) -> bool:
    """Whether the copy was made or verified since the machine started; unknown counts as not."""
    try:
        return (folder / _CHECKED).read_bytes() == _BOOT_ID.read_bytes()
    except OSError:
        return False


def _mark_checked(folder: Path) -> None:
    if _BOOT_ID.is_file():  # elsewhere than on Linux, every opening verifies
        replace_file(folder / _CHECKED, _BOOT_ID.read_bytes(), durable=False)


def _raw_bytes(episode: PackedEpisode) -> list[int]:
    frames = episode.meta.n_frames
    bytes_per_pixel = {"rgb": 3, "depth": 2, "body": 1}
    return [
        frames * size.height * size.width * sum(bytes_per_pixel[kind] for kind in size.streams)
        for size in episode.meta.views.values()
    ]

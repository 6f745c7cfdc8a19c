"""Memory-mapped copies of compressed episodes on the local disk, made on first use, keyed by content hash.

A copy that two processes make at once is kept once. Nothing here is precious: the folder may be deleted at any time.
So nothing is flushed to disk either. What a power loss spoils (it may keep a file's size and lose its content) is found
by the hashes, which are compared when a copy is first opened after the machine started, and is made again.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import EpisodeError, WorkbenchError
from trainer.files import TEMP_MARK, folder_bytes, replace_file, sweep_temporaries

from .corrected import CorrectedStreamEpisode, corrected
from .episode import Episode, View
from .packed import GoneError, PackedEpisode
from .schema import StreamKind
from .streams import Stream
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
    kept = _open(folder, episode) or _make(folder, episode)
    with suppress(FileNotFoundError):  # removed by another process already
        os.utime(folder)  # when it was last used
    return kept


def clean_cache(keep_bytes: int = 0) -> int:
    """Removes the copies that were used longest ago until at most `keep_bytes` are left; returns how many went.

    Whoever has mapped a removed copy keeps it until it ends; what he had not mapped yet, he reads from the compressed
    episode.
    """
    if not _episodes().is_dir():
        return 0
    sweep_temporaries(_episodes())
    copies = _copies()
    left, removed = sum(size for _, size, _ in copies), 0
    for _, size, folder in copies:
        if left <= keep_bytes:
            break
        shutil.rmtree(folder, ignore_errors=True)
        left, removed = left - size, removed + 1
    return removed


class _Copy(PackedEpisode):
    """A kept copy. Files are opened when first needed: those that are gone by then are read from its source."""

    def __init__(self, folder: Path, source: PackedEpisode) -> None:
        super().__init__(folder)
        self._source = source

    def __reduce__(self) -> tuple[Any, ...]:
        return _copy, (self.folder, self._source)

    def stream(self, view: View, kind: StreamKind) -> Stream:
        """Frames by index in the stored dtype (depth in 0.1 mm)."""
        try:
            return super().stream(view, kind)
        except GoneError:
            return self._source.stream(view, kind)

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        try:
            return super()._arrays
        except GoneError:
            return self._source._arrays


def _copy(folder: Path, source: PackedEpisode) -> PackedEpisode:
    """The copy of `source` that was made in `folder`; `source` itself where it was removed since."""
    try:
        return _Copy(folder, source)
    except (EpisodeError, FileNotFoundError):
        if folder.exists():
            raise
        return source


def _copies() -> list[tuple[float, int, Path]]:
    """When each copy was last used, its bytes and its folder, the one used longest ago first."""
    found: list[tuple[float, int, Path]] = []
    for path in _episodes().iterdir():
        if TEMP_MARK in path.name:  # somebody is making it
            continue
        with suppress(FileNotFoundError, NotADirectoryError):  # another process was faster; no copy
            found.append((path.stat().st_mtime, folder_bytes(path), path))
    return sorted(found)


def _make(folder: Path, episode: PackedEpisode) -> PackedEpisode:
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
        with suppress(FileNotFoundError):  # removed by another process already
            _mark_checked(folder)  # written since the machine started: the page cache has all of it
    except EpisodeError:
        if not folder.exists():  # else somebody else was faster
            raise
    return _copy(folder, episode)


def _episodes() -> Path:
    return cache_root() / "episodes"


def _open(folder: Path, source: PackedEpisode) -> PackedEpisode | None:
    """A kept copy, or None where there is none or it is damaged (then it is removed)."""
    if not folder.is_dir():
        return None
    try:
        kept = _Copy(folder, source)
        if not _is_checked(folder):
            kept.verify()
            _mark_checked(folder)
    except (WorkbenchError, FileNotFoundError):
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

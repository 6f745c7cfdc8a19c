"""Small pictures of episodes for the list: first frames as JPEG, made when they come into sight, kept on disk."""

from __future__ import annotations

import hashlib
import io
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from model.errors import EpisodeError
from trainer.episodes.episode import Episode
from trainer.episodes.open import split_name
from trainer.episodes.settings_store import setting_mark
from trainer.files import replace_file

from .cache_folder import prune_oldest
from .catalog_rows import EpisodeRow
from .predict import Cancel, CancelledError

_log = logging.getLogger(__name__)
SIZE = (96, 72)
"""Width and height that a picture fits into, pixels."""
_AT_ONCE = 2
_DISK_BYTES = 256 << 20
_PRUNED_EVERY = 500


class Thumbnails:
    """Pictures of rows. Safe across threads; at most two are made at a time, so that the page stays quick.

    Args:
        open_episode: Opens the episode of an id.
        folder: Where pictures are kept; None keeps none. A visitor's own uploads are never kept.
    """

    def __init__(self, open_episode: Callable[[str], Episode], folder: Path | None) -> None:
        self._open = open_episode
        self._folder = folder
        self._slots = threading.Semaphore(_AT_ONCE)
        self._written = 0

    def jpeg(self, row: EpisodeRow, cancel: Cancel) -> bytes:
        """The picture of a row.

        Args:
            row: The episode.
            cancel: Set when nobody waits any more, such as after scrolling on.

        Raises:
            EpisodeError: The first frame cannot be read, or there is no camera.
            CancelledError: Nobody waits.
        """
        path = self._path(row)
        kept = _read(path)
        if kept is not None:
            return kept
        with self._slots:
            if cancel.is_set():
                raise CancelledError
            made = jpeg(first_frame(self._open(row.id)), SIZE)
        if path is not None:
            self._keep(path, made)
        return made

    def _path(self, row: EpisodeRow) -> Path | None:
        if self._folder is None or row.space is not None or not row.stamp:
            return None
        mark = setting_mark(split_name(row.name)[0])  # the picture is of the corrected episode
        key = hashlib.sha256(f"1\0{row.id}\0{row.stamp}\0{mark}".encode()).hexdigest()
        return self._folder / key[:2] / f"{key[2:34]}.jpg"

    def _keep(self, path: Path, data: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, data, durable=False)
        except OSError as error:
            _log.warning("thumbnail not kept on disk: %s", error)
            return
        if self._written % _PRUNED_EVERY == 0:  # with the first one too: most sessions do not make so many
            prune_oldest(path.parents[1], "*/*.jpg", _DISK_BYTES)
        self._written += 1


def first_frame(episode: Episode) -> UInt8[np.ndarray, "h w 3"]:
    """The first image of the first camera.

    Raises:
        EpisodeError: No camera, no frame, or a damaged one.
    """
    if len(episode.frame_steps) and episode.info.views:
        return episode.rgb(episode.info.views[0], int(episode.frame_steps[0]))
    other = next(iter(episode.others.values()), None)
    if other is None:
        raise EpisodeError(f"{episode.name}: has no camera")
    return other.rgb(0)


def jpeg(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int], *, quality: int = 82) -> bytes:
    """An image as JPEG, made smaller where it does not fit into `size` (width, height)."""
    from PIL import Image

    picture = Image.fromarray(image)
    picture.thumbnail(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError:
        return None

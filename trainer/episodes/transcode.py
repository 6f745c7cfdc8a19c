"""From one encoding of a packed episode to the other, without loss in either direction.

A mapped episode keeps the JPEG file its wrist images came from (a few per cent of its size), because JPEG again would
be a second loss and another episode under the same hash.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .content import stream_codec, stream_file, stream_keys
from .manifest import new_episode_folder
from .packed import PackedEpisode
from .schema import ARRAYS_FILE, META_FILE, Encoding, stream_dtype
from .streams import create_npy, write_delta


def save_as(episode: PackedEpisode, folder: str | Path, encoding: Encoding) -> None:
    """Writes a packed episode in an encoding; every file that is read is compared with its hash on the way."""
    if encoding == "mapped":
        save_mapped(episode, folder)
    else:
        save_compressed(episode, folder)


def save_mapped(episode: PackedEpisode, folder: str | Path, *, durable: bool = True) -> None:
    """Writes memory maps; without `durable` a power loss may spoil them (see `trainer.files.new_folder`)."""
    with new_episode_folder(Path(folder), "mapped", episode.content_hash, durable=durable) as temp:
        _copy_common(episode, temp)
        for view, kind in stream_keys(episode.meta):
            stream, shape = episode.stream(view, kind), episode.meta.stream_shape(view, kind)
            path = temp / stream_file(view, kind, "mapped")
            frames = create_npy(path, shape, stream_dtype(kind))
            for index in range(shape[0]):
                frames[index] = stream.frame(index)


def save_compressed(episode: PackedEpisode, folder: str | Path) -> None:
    """Writes compressed streams."""
    with new_episode_folder(Path(folder), "compressed", episode.content_hash) as temp:
        _copy_common(episode, temp)
        for view, kind in stream_keys(episode.meta):
            if stream_codec(view, kind) == "delta":
                stream, count = episode.stream(view, kind), episode.meta.n_frames
                frames = np.stack([stream.frame(index) for index in range(count)])
                write_delta(temp / stream_file(view, kind, "compressed"), frames)


def _copy_common(episode: PackedEpisode, temp: Path) -> None:
    jpegs = [key for key in stream_keys(episode.meta) if stream_codec(*key) == "jpeg"]
    for name in (META_FILE, ARRAYS_FILE, *(stream_file(*key, "compressed") for key in jpegs)):
        (temp / name).write_bytes(episode.read_file(name))

"""The packed episode: a folder with a manifest of hashes, in two encodings of one schema (see `schema`).

`compressed` is small, to be bundled and moved around; `mapped` holds raw memory maps, for random access in training
(see `cache`). Both give the same values bit for bit: a mapped episode holds what the compressed one decodes to.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from model.errors import EpisodeError, UnsafeFileError

from .base import StreamEpisode
from .content import (
    array_shape,
    content_hash,
    recording_arrays,
    recording_meta,
    stream_codec,
    stream_file,
    stream_keys,
    stream_values,
)
from .episode import View
from .manifest import new_episode_folder, read_episode_manifest
from .recording import Recording
from .recording_check import check_arrays, check_recording
from .schema import (
    ARRAYS_FILE,
    META_FILE,
    Encoding,
    EpisodeMeta,
    StreamKind,
    meta_from_json,
    meta_to_json,
    stream_dtype,
)
from .streams import ArrayStream, DeltaStream, JpegStream, Stream, open_npy, write_delta, write_jpeg

_ARRAY_DTYPES = {"F64": np.float64, "I64": np.int64}


class GoneError(EpisodeError):
    """A file that was there when the episode was opened was removed before it was first read."""


class PackedEpisode(StreamEpisode):
    """A packed episode on disk. Opening reads meta.json only; arrays and images are read when first asked for.

    The hash of a compressed episode's file is checked when the file is first used; those of a mapped one, which is
    large and local, when it is made and by `verify`. Sizes, shapes and types always.

    Args:
        folder: The episode's folder.

    Raises:
        EpisodeError: Not a packed episode, or damaged; the message names file and field. `GoneError`, when it is read:
            removed meanwhile.
        UnsafeFileError: A file announces something else than it may hold.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        self._manifest = read_episode_manifest(self._folder)
        text = self._manifest.read_checked(META_FILE).decode("utf-8", "replace")
        meta = meta_from_json(text, self._folder / META_FILE)
        super().__init__(f"{self._folder}#0", meta, self._manifest.content_hash)
        self._streams: dict[str, Stream] = {}
        for name in self.file_names:
            if name not in self._manifest.files:
                raise EpisodeError(f"{self._folder}: has no '{name}', though {META_FILE} announces it")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._folder,)  # open files do not travel between processes

    @property
    def folder(self) -> Path:
        """Where the episode lies."""
        return self._folder

    @property
    def encoding(self) -> Encoding:
        """How its images are stored."""
        return self._manifest.encoding

    @property
    def meta(self) -> EpisodeMeta:
        """The content of meta.json."""
        return self._meta

    @property
    def file_names(self) -> list[str]:
        """The files that are read, without the manifest."""
        return [META_FILE, ARRAYS_FILE, *(stream_file(*key, self.encoding) for key in stream_keys(self._meta))]

    def verify(self) -> None:
        """Compares every file's sha256 with the manifest and decodes everything; raises at the first fault."""
        for name in self._manifest.files:
            self._manifest.check_hash(name)
        _ = self._arrays
        for view, kind in stream_keys(self._meta):
            stream = self.stream(view, kind)
            for index in range(self._meta.n_frames):
                stream.frame(index)

    def read_file(self, name: str) -> bytes:
        """One file's bytes, compared with the manifest's sha256."""
        return self._manifest.read_checked(name)

    def stream(self, view: View, kind: StreamKind) -> Stream:
        """Frames by index in the stored dtype (depth in 0.1 mm)."""
        self._check(view, kind)
        name = stream_file(view, kind, self.encoding)
        if name not in self._streams:
            path, shape, dtype = self._folder / name, self._meta.stream_shape(view, kind), stream_dtype(kind)
            with _still_there(path):
                if self.encoding == "mapped":
                    self._streams[name] = ArrayStream(open_npy(path, shape, dtype))
                else:
                    self._manifest.check_hash(name)
                    jpeg = stream_codec(view, kind) == "jpeg"
                    self._streams[name] = JpegStream(path, shape) if jpeg else DeltaStream(path, shape, dtype)
        return self._streams[name]

    @cached_property
    def _arrays(self) -> dict[str, np.ndarray]:
        path = self._folder / ARRAYS_FILE
        with _still_there(path):
            self._manifest.check_hash(ARRAYS_FILE)
            return _read_arrays(path, self._meta)


@contextmanager
def _still_there(path: Path) -> Generator[None]:
    try:
        yield
    except FileNotFoundError:
        raise GoneError(f"{path}: was removed since the episode was opened; open it where it is now") from None


def save_packed(recording: Recording, folder: str | Path, encoding: Encoding = "compressed") -> None:
    """Writes a recording as a packed episode; `folder` appears complete or not at all.

    Depth is stored to 0.1 mm and the wrist camera's images go through JPEG, in either encoding.

    Raises:
        EpisodeError: The recording contradicts itself (the message names the field), or `folder` exists.
    """
    check_recording(recording)
    if encoding == "mapped":
        from .transcode import save_mapped

        with tempfile.TemporaryDirectory(prefix="foresight-") as temp:
            save_packed(recording, Path(temp) / "compressed")
            save_mapped(PackedEpisode(Path(temp) / "compressed"), folder)
        return
    meta = recording_meta(recording)
    with new_episode_folder(Path(folder), encoding, content_hash(recording)) as temp:
        (temp / META_FILE).write_text(meta_to_json(meta), encoding="utf-8")
        (temp / ARRAYS_FILE).write_bytes(save(recording_arrays(recording)))
        for view, kind in stream_keys(meta):
            write = write_jpeg if stream_codec(view, kind) == "jpeg" else write_delta
            write(temp / stream_file(view, kind, encoding), stream_values(recording, view, kind))


def _read_arrays(path: Path, meta: EpisodeMeta) -> dict[str, np.ndarray]:
    """Reads the small arrays; names, dtypes and sizes are checked in the header before anything is allocated."""
    arrays: dict[str, np.ndarray] = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - safe_open is not a mapping
                dtype = file.get_slice(name).get_dtype()
                if array_shape(name, meta) is None or dtype not in _ARRAY_DTYPES:
                    raise UnsafeFileError(f"{path}: field '{name}' ({dtype}) does not belong here")
                arrays[name] = file.get_tensor(name)
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError) as error:
        raise EpisodeError(f"{path}: not readable ({error}); copy or pack the episode again") from None
    check_arrays(arrays, meta, path)
    for array in arrays.values():
        array.flags.writeable = False
    return arrays

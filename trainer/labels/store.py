"""Where labels lie: one file per episode and labeller, complete or absent, named by the hash of what made it.

    STORE/tracks/3f/3fa2...c1.safetensors   arrays, and facts as JSON in the header
    STORE/tracks/3f/3fa2...c1.failed.json   why there is none
    STORE/tracks/of/9b/9b04.../3fa2...c1    an empty file: episode 9b04... may have that label

A run is therefore a plan minus what exists, whoever made it and however the last run ended.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from model.errors import EpisodeError, UnsafeFileError
from trainer.files import FolderKind, read_json, replace_file, sweep_temporaries

from .labeller import Label, LabelKind

MAX_LABEL_BYTES = 4 << 30
_FACTS = "facts"
_DAMAGE = (
    KeyError,
    ValueError,
    OSError,
    RecursionError,
    TypeError,
    AttributeError,
)  # the last two: kinds numpy has not
_STORE = FolderKind(
    name="a label store", remedy="delete it and label again", error=EpisodeError, unsafe=UnsafeFileError
)


class LabelStore:
    """Reads and writes labels of one kind below a folder.

    Args:
        root: The store; made on first writing.
        kind: tracks or depth.
    """

    def __init__(self, root: Path, kind: LabelKind):
        self.root, self.kind = root, kind

    def path(self, key: str) -> Path:
        """The file of a label."""
        return self.root / self.kind / key[:2] / f"{key}.safetensors"

    def has(self, key: str) -> bool:
        """Whether the label is there; files are complete or absent."""
        return self.path(key).is_file()

    def write(self, key: str, label: Label) -> int:
        """Writes a label in one step and returns its bytes. An earlier failure is forgotten.

        A label whose facts have a `content_hash` is found again by it (`labels_of`).
        """
        from safetensors.numpy import save

        arrays = {name: np.ascontiguousarray(array) for name, array in label.arrays.items()}
        data = save(arrays, metadata={_FACTS: json.dumps(label.facts, allow_nan=False)})
        path = self.path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content_hash := label.facts.get("content_hash"), str):
            mark = self._marks(content_hash) / key  # before the label: a mark without a label is passed over
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
        sweep_temporaries(path.parent, path.name)
        replace_file(path, data)
        self._failure(key).unlink(missing_ok=True)
        return len(data)

    def labels_of(self, *content_hashes: str) -> list[str]:
        """The keys of all labels of an episode, by the content hashes it may have been labelled under; newest last."""
        keys: list[str] = []
        for content_hash in content_hashes:
            try:
                keys += [mark.name for mark in self._marks(content_hash).iterdir()]
            except OSError:
                continue
        return sorted(filter(self.has, keys), key=lambda key: (self.path(key).stat().st_mtime_ns, key))

    def read(self, key: str, frame: int | None = None) -> Label:
        """A label with its arrays in memory.

        Args:
            key: Its name.
            frame: Of each array take this entry of the first dimension alone, as a clip of one frame. Nothing else is
                read, so that a page or a training run needs no memory for the labels of long videos.

        Raises:
            EpisodeError: There is none, it is damaged, or it has no such frame.
            UnsafeFileError: It is larger than any label.
        """
        with self._open(key) as (file, facts):
            names = file.keys()
            if frame is None:
                return Label(arrays={name: file.get_tensor(name) for name in names}, facts=facts)
            arrays = {name: file.get_slice(name)[frame : frame + 1] for name in names}
            return Label(arrays=arrays, facts=facts)

    def facts(self, key: str) -> Mapping[str, Any]:
        """What a label says of itself; its arrays are not read.

        Raises:
            EpisodeError: There is none, or it is damaged.
            UnsafeFileError: It is larger than any label.
        """
        with self._open(key) as (_, facts):
            return facts

    @contextmanager
    def _open(self, key: str) -> Generator[tuple[Any, Mapping[str, Any]]]:
        """The file and its facts, every way in which either can be damaged told in one way."""
        from safetensors import SafetensorError, safe_open

        path = self.path(key)
        if not path.is_file():
            raise EpisodeError(f"{path}: no such label; make it with `python -m trainer label`")
        if path.stat().st_size > MAX_LABEL_BYTES:
            raise UnsafeFileError(f"{path}: {path.stat().st_size} bytes is too large for a label")
        try:
            with safe_open(path, framework="numpy") as file:
                facts = json.loads((file.metadata() or {})[_FACTS])
                if not isinstance(facts, dict):
                    raise TypeError(f"'{_FACTS}' is no JSON object")
                yield file, cast("dict[str, Any]", facts)
        except (SafetensorError, *_DAMAGE) as error:
            raise EpisodeError(f"{path}: damaged ({str(error)[:120]}); delete it and label again") from None

    def fail(self, key: str, episode: str, error: str) -> None:
        """Notes that a label could not be made, and why."""
        path = self._failure(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps({"episode": episode, "error": error}, indent=1).encode())

    def failure(self, key: str) -> str | None:
        """Why the label could not be made, None if nobody failed."""
        path = self._failure(key)
        return str(read_json(path, _STORE).get("error", "unknown")) if path.is_file() else None

    def failures(self) -> Iterator[dict[str, Any]]:
        """All failures noted in the store: episode and error."""
        for path in sorted((self.root / self.kind).glob("*/*.failed.json")):
            yield read_json(path, _STORE)

    def _marks(self, content_hash: str) -> Path:
        return self.root / self.kind / "of" / content_hash[:2] / content_hash

    def _failure(self, key: str) -> Path:
        return self.path(key).with_name(f"{key}.failed.json")

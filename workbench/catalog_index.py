"""The index: what the datasets below a root list, kept on disk, so that a second start asks the changed ones only.

One file a root, below the user's cache folder. A dataset's entry holds while its stamp does: sizes and times of the few
files that its list of episodes is made from. Frames are never looked at, neither for the list nor for the stamp, so
a million step files cost nothing; whoever opens an episode is told what is wrong with it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from model.errors import WorkbenchError
from trainer.episodes.episode import DepthOrigin, DepthScale
from trainer.episodes.open import find_datasets, open_episode, split_name
from trainer.episodes.readers.packed import summary_of
from trainer.episodes.readers.reader import EpisodeSummary, Reader
from trainer.files import replace_file

from .catalog_rows import Listed

_log = logging.getLogger(__name__)
_VERSION = 1
_MAX_BYTES = 512 << 20
# Which files a list of episodes is made from, by format; nothing for a dataset that is one file. Of A|B, B counts only
# where there is no A: a split of a million files is not looked through for its language.
_LISTED_FROM: dict[str, tuple[str, ...]] = {
    "packed": ("manifest.json", "meta.json"),
    "calvin": ("ep_start_end_ids.npy", "lang_annotations/auto_lang_ann.npy|lang_*/auto_lang_ann.npy"),
    "libero": (),
    "lerobot": ("meta/info.json", "meta/tasks*", "meta/episodes*", "meta/episodes/*/*.parquet"),
    "rlds": ("features.json", "*.tfrecord*"),
    "mcap": (),
    "folder": ("*", "*/*"),
}
_MOST_STAMPED = 20_000
"""Files of one dataset; a folder of more loose images than this is listed anew each time."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One dataset and its episodes.

    Attributes:
        path: As it was found below the root that the user named.
        stamp: sha256 hex over what the list depends on; "" where that cannot be said cheaply.
    """

    path: Path
    format: str
    stamp: str
    episodes: tuple[Listed, ...]


class Looked(NamedTuple):
    """One step of looking through a root: a dataset, or why there is none, and how far this is."""

    found: Dataset | WorkbenchError
    path: Path
    done: int
    total: int


class Index:
    """The lists of one root's datasets, from disk where they still hold.

    Args:
        root: A file or folder that the user named, `#INDEX` is ignored.
        folder: Where the file of this root is kept; None keeps nothing.
    """

    def __init__(self, root: str, folder: Path | None) -> None:
        self._root = split_name(root)[0]
        self._file = None
        if folder is not None:
            key = hashlib.sha256(f"{_VERSION}\0{self._root.absolute()}".encode("utf-8", "replace")).hexdigest()
            self._file = folder / f"{key[:32]}.json"

    def look(self) -> Iterator[Looked]:
        """Every dataset below the root, sorted by path; the file is written when the last one was taken.

        Raises:
            EpisodeError: The root does not exist.
        """
        kept = self._read()
        found = find_datasets(self._root)
        lists: dict[str, Any] = {}
        for number, (path, reader) in enumerate(found, 1):
            key = path.relative_to(self._root).as_posix()
            try:
                stamp = stamp_of(path, reader.format)
                dataset = _from_json(kept.get(key), path, reader.format, stamp) if stamp else None
                if dataset is not None:
                    lists[key] = kept[key]
                else:
                    dataset = Dataset(path=path, format=reader.format, stamp=stamp, episodes=tuple(_list(path, reader)))
                    if stamp:
                        lists[key] = _to_json(dataset)
            except WorkbenchError as error:
                yield Looked(error, path, number, len(found))
                continue
            yield Looked(dataset, path, number, len(found))
        if lists != kept:
            self._write(lists)

    def _read(self) -> dict[str, Any]:
        """The kept lists; nothing where there are none or something spoiled them."""
        try:
            if self._file is None or self._file.stat().st_size > _MAX_BYTES:
                return {}
            kept = json.loads(self._file.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return kept if isinstance(kept, dict) else {}

    def _write(self, lists: dict[str, Any]) -> None:
        if self._file is None:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self._file, json.dumps(lists, separators=(",", ":")).encode(), durable=False)
        except OSError as error:
            _log.warning("the index of %s is not kept: %s", self._root, error)


def stamp_of(path: Path, format_name: str) -> str:
    """sha256 hex over names, sizes and times of the files that a dataset's list is made from; "" for too many.

    A format that is not known here is listed anew each time.
    """
    patterns = _LISTED_FROM.get(format_name)
    if patterns is None:
        return ""
    digest = hashlib.sha256(f"{format_name}\0".encode())
    try:
        for number, file in enumerate([path] if path.is_file() else _files(path, patterns)):
            if number >= _MOST_STAMPED:
                return ""
            stat = file.stat()
            facts = f"{file.relative_to(path).as_posix()}\0{stat.st_size}\0{stat.st_mtime_ns}\0"
            digest.update(facts.encode("utf-8", "replace"))
    except OSError:
        return ""
    return digest.hexdigest()


def _files(folder: Path, patterns: Iterable[str]) -> Iterator[Path]:
    for choice in patterns:
        for pattern in choice.split("|"):
            found = sorted(folder.glob(pattern)) if "*" in pattern else [folder / pattern]
            if "*" in pattern or found[0].exists():
                yield from found
                break


def _list(path: Path, reader: Reader) -> Iterator[Listed]:
    if reader.format != "packed":
        for summary in reader.episodes(path):
            yield Listed(index=split_name(summary.name)[1], summary=summary)
        return
    episode = open_episode(f"{path}#0")  # reads its manifest and meta data only
    info = episode.info
    summary = summary_of(episode.name, info)
    yield Listed(
        index=0,
        summary=summary,
        content_hash=episode.content_hash,
        initial_state=info.initial_state,
        has_exact_flow=info.has_exact_flow,
    )


def _to_json(dataset: Dataset) -> list[Any]:
    """Format, stamp and one short list an episode; names are left out, they follow from path and index."""
    return [dataset.format, dataset.stamp, [_row(item) for item in dataset.episodes]]


def _row(item: Listed) -> list[Any]:
    told = item.summary
    summary = [told.source, told.instruction, told.length, list(told.views), told.depth, told.outcome, told.task]
    return [item.index, *summary, item.content_hash, item.initial_state, item.has_exact_flow]


def _from_json(value: Any, path: Path, format_name: str, stamp: str) -> Dataset | None:
    """What `_to_json` wrote of a dataset that has not changed since, None for anything else."""
    try:
        known_format, known_stamp, rows = value
        if (known_format, known_stamp) != (format_name, stamp):
            return None
        episodes = tuple(_listed(row, path) for row in rows)
    except (TypeError, ValueError):
        return None
    return Dataset(path=path, format=format_name, stamp=stamp, episodes=episodes)


def _listed(row: Any, path: Path) -> Listed:
    index, source, instruction, length, views, depth, outcome, task, content_hash, initial_state, exact = row
    texts = (source, instruction, *views, *(depth or ()), outcome or "", task or "", content_hash or "")
    if set(map(type, texts)) != {str} or {type(index), type(length or 0), type(initial_state or 0)} != {int}:
        raise TypeError("not a row of the index")
    kind: tuple[DepthOrigin, DepthScale] | None = (depth[0], depth[1]) if depth else None
    summary = EpisodeSummary(
        name=f"{path}#{index}",
        source=source,
        instruction=instruction,
        length=length,
        views=tuple(views),
        depth=kind,
        outcome=outcome,
        task=task,
    )
    return Listed(
        index=index,
        summary=summary,
        content_hash=content_hash,
        initial_state=initial_state,
        has_exact_flow=bool(exact),
    )

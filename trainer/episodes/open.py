"""Names of episodes: PATH#INDEX in, an `Episode` out, whatever the format. A format is recognised by content."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from model.errors import EpisodeError, WorkbenchError
from trainer.files import TEMP_MARK

from .corrected import corrected
from .episode import Episode
from .readers import reader_of, readers
from .readers.reader import EpisodeSummary, Reader
from .settings_store import setting_of

_MAX_DEPTH = 6


def open_episode(name: str | Path) -> Episode:
    """Opens an episode lazily, corrected by what is set for its source (see `settings_store`).

    Args:
        name: PATH#INDEX; `#0` may be left out. A packed folder holds one episode, index 0; a dataset holds many.

    Raises:
        EpisodeError: Nothing there, not an episode, or damaged; says what was looked for.
        UnsafeFileError: A file would run code, lead outside, or exhaust memory.
        ConfigError: The setting of its source is damaged, or needs something that the episode does not have.
    """
    episode = open_as_recorded(name)
    stored = setting_of(split_name(str(name))[0])
    return episode if stored is None else corrected(episode, stored.setting)


def open_as_recorded(name: str | Path) -> Episode:
    """Opens an episode lazily as its files are. Raises `EpisodeError` and `UnsafeFileError` as `open_episode`."""
    path, index = split_name(str(name))
    if not path.exists():
        raise EpisodeError(f"{path}: does not exist")
    reader = reader_of(path)
    if reader is None:
        inside = len(find_episodes(path)) if path.is_dir() else 0
        hint = f"; {inside} episodes lie inside it, name one of them" if inside else ""
        raise EpisodeError(f"{path}: not an episode; looked for {looked_for()}{hint}")
    return reader.open(path, index)


def find_episodes(root: str | Path) -> list[str]:
    """The names of all episodes at or below a file or folder, sorted by path; PATH#INDEX names that one alone.

    Unfinished ones are left out. A damaged dataset is named by its first episode, which cannot be opened: opening it
    says why.

    Raises:
        EpisodeError: `root` does not exist.
    """
    path, index = split_name(str(root))
    if path != Path(root) and path.exists():
        return [f"{path}#{index}"]
    names: list[str] = []
    for path, reader in find_datasets(root):
        if reader.format == "packed":  # a dataset of one, whose meta data nobody asked for yet
            names.append(f"{path}#0")
            continue
        try:
            names += [summary.name for summary in reader.episodes(path)]
        except WorkbenchError:
            names.append(f"{path}#0")
    return names


def list_episodes(root: str | Path) -> Iterator[EpisodeSummary | WorkbenchError]:
    """What is known of every episode at or below a file or folder; of a damaged dataset, the error instead.

    Raises:
        EpisodeError: `root` does not exist.
    """
    for path, reader in find_datasets(root):
        try:
            yield from reader.episodes(path)
        except WorkbenchError as error:
            yield error


def find_datasets(root: str | Path) -> list[tuple[Path, Reader]]:
    """Every dataset at or below a file or folder with its reader, sorted by path. Links that lead outside are left out.

    Raises:
        EpisodeError: `root` does not exist.
    """
    root, _ = split_name(str(root))
    if not root.exists():
        raise EpisodeError(f"{root}: does not exist")
    return list(_datasets(root, root.resolve(), _MAX_DEPTH))


def looked_for() -> str:
    """All that an episode may be, for messages."""
    return "; ".join(reader.looks_for for reader in readers())


def split_name(name: str) -> tuple[Path, int]:
    """PATH#INDEX -> path and index; a name without #INDEX means index 0.

    A folder `trial#2` is named by that, unless a `trial` lies beside it: then it is `trial#2#0`.
    """
    path, mark, index = name.rpartition("#")
    if mark and index.isascii() and index.isdigit() and (os.path.exists(path) or not os.path.exists(name)):
        return Path(path), int(index)
    return Path(name), 0


def _datasets(path: Path, root: Path, depth: int) -> Iterator[tuple[Path, Reader]]:
    if TEMP_MARK in path.name:
        return
    reader = reader_of(path)
    if reader is not None:
        yield path, reader
    elif depth and path.is_dir():
        for child in _children(path, root):
            yield from _datasets(child, root, depth - 1)


def _children(folder: Path, root: Path) -> list[Path]:
    """What lies in a folder, without hidden things and without links to places outside `root`."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.is_symlink()) for entry in entries if not entry.name.startswith(".")]
    except OSError:
        return []
    paths = [(folder / name, linked) for name, linked in sorted(found)]
    return [path for path, linked in paths if not linked or path.resolve().is_relative_to(root)]

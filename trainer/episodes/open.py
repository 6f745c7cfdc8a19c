"""Names of episodes: PATH#INDEX in, an `Episode` out. The one place that knows which reader reads what."""

from __future__ import annotations

from pathlib import Path

from model.errors import EpisodeError
from trainer.files import MANIFEST, TEMP_MARK

from .episode import Episode
from .packed import PackedEpisode

LOOKED_FOR = f"a packed episode ({MANIFEST}, meta.json, arrays.safetensors)"
_MAX_DEPTH = 6


def open_episode(name: str | Path) -> Episode:
    """Opens an episode lazily.

    Args:
        name: PATH#INDEX; `#0` may be left out. A packed folder holds one episode, index 0.

    Raises:
        EpisodeError: Nothing there, not an episode, or damaged; says what was looked for.
    """
    path, index = split_name(str(name))
    if not path.exists():
        raise EpisodeError(f"{path}: does not exist")
    if not (path / MANIFEST).is_file():
        inside = len(find_episodes(path)) if path.is_dir() else 0
        hint = f"; {inside} episodes lie inside it, name one of them" if inside else ""
        raise EpisodeError(f"{path}: not an episode; looked for {LOOKED_FOR}{hint}")
    if index != 0:
        raise EpisodeError(f"{path}: has one episode, #0; asked for #{index}")
    return PackedEpisode(path)


def find_episodes(root: str | Path) -> list[str]:
    """The names of all episodes at or below a folder, sorted; unfinished ones are left out.

    Raises:
        EpisodeError: `root` does not exist.
    """
    root, _ = split_name(str(root))
    if not root.exists():
        raise EpisodeError(f"{root}: does not exist")
    return [f"{folder}#0" for folder in _packed_folders(root, _MAX_DEPTH)]


def split_name(name: str) -> tuple[Path, int]:
    """PATH#INDEX -> path and index; a name without #INDEX means index 0."""
    path, mark, index = name.rpartition("#")
    if mark and index.isascii() and index.isdigit():
        return Path(path), int(index)
    return Path(name), 0


def _packed_folders(folder: Path, depth: int) -> list[Path]:
    if not folder.is_dir() or TEMP_MARK in folder.name:
        return []
    if (folder / MANIFEST).is_file():
        # a checkpoint has a manifest too
        return [folder] if (folder / "meta.json").is_file() else []
    if depth == 0:
        return []
    return [found for child in _children(folder) for found in _packed_folders(child, depth - 1)]


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except PermissionError:
        return []

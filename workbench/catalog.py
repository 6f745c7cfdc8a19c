"""Folders in, rows out: which episodes and checkpoints there are, under ids that are safe to put into a link.

Nothing is decoded and torch is not imported: a row is read from manifests. An id is the start of a content hash, so
the same episode has the same id on every machine and the browser never sees or sends a path.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from model.errors import CheckpointError, ConfigError, WorkbenchError
from trainer.episodes.episode import Episode, EpisodeInfo
from trainer.episodes.open import find_episodes, open_episode

ID_LENGTH = 12
_MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class EpisodeRow:
    """One line of the episode table.

    Attributes:
        id: Start of the content hash; the only name the browser knows.
        name: PATH#INDEX, for the server only.
        frame_steps: Control steps that have images.
    """

    id: str
    name: str = field(repr=False)
    content_hash: str
    info: EpisodeInfo
    frame_steps: tuple[int, ...] = field(repr=False)

    @property
    def title(self) -> str:
        """Task and initial state where known, else the folder's name and, after its first episode, which one."""
        path, _, index = self.name.rpartition("#")
        task = self.info.task or Path(path or self.name).name
        if self.info.initial_state is not None:
            return f"{task} · start {self.info.initial_state}"
        return f"{task} #{index}" if path and index != "0" else task

    def cells(self) -> dict[str, str | int]:
        """What the table shows, by column."""
        info = self.info
        depth = f"{info.depth_origin} {info.depth_scale}" if info.depth_origin and info.depth_scale else "none"
        return {
            "episode": self.title,
            "source": info.source,
            "instruction": info.instruction,
            "steps": info.length,
            "outcome": info.outcome or "unknown",
            "views": ", ".join(info.views),
            "depth": depth,
            "flow truth": "exact" if info.has_exact_flow else "none",
            "id": self.id,
        }


@dataclass(frozen=True, kw_only=True)
class CheckpointRow:
    """One line of the checkpoint list. `path` is for the server only."""

    id: str
    name: str
    path: Path = field(repr=False)


Row = TypeVar("Row", EpisodeRow, CheckpointRow)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something in a root that looks like an episode or a checkpoint and is not usable, and why."""

    where: str
    message: str


class Catalog:
    """All episodes and checkpoints under some roots. Safe across threads; `refresh` looks at the disk again."""

    def __init__(
        self, *, episode_roots: Sequence[str | Path] = (), checkpoint_roots: Sequence[str | Path] = ()
    ) -> None:
        self._episode_roots = [str(root) for root in episode_roots]
        self._checkpoint_roots = [Path(root) for root in checkpoint_roots]
        self._lock = threading.Lock()
        self._episodes: dict[str, EpisodeRow] = {}
        self._checkpoints: dict[str, CheckpointRow] = {}
        self._problems: list[Problem] = []
        self.refresh()

    def refresh(self) -> None:
        """Reads the roots again; what is unreadable becomes a `Problem` and never hides the rest."""
        problems: list[Problem] = []
        episodes = _rows(_episode_names(self._episode_roots, problems), read_episode_row, problems)
        checkpoints = _rows(_checkpoint_folders(self._checkpoint_roots, problems), read_checkpoint_row, problems)
        with self._lock:
            self._episodes, self._checkpoints, self._problems = episodes, checkpoints, problems

    def add_checkpoint_root(self, root: Path) -> None:
        """Adds a folder of checkpoints (a run that has just saved one) and looks at the disk again."""
        if root not in self._checkpoint_roots:
            self._checkpoint_roots.append(root)
        self.refresh()

    def episodes(self) -> tuple[EpisodeRow, ...]:
        """Rows in the order of the roots."""
        return tuple(self._episodes.values())

    def checkpoints(self) -> tuple[CheckpointRow, ...]:
        """Rows in the order of the roots."""
        return tuple(self._checkpoints.values())

    def problems(self) -> tuple[Problem, ...]:
        """What could not be listed, and why."""
        return tuple(self._problems)

    def episode(self, episode_id: str) -> EpisodeRow:
        """The row of an id.

        Raises:
            ConfigError: No such episode here.
        """
        if episode_id not in self._episodes:
            raise ConfigError(
                "no episode of that id is open here; start the app with --episodes pointing at its folder"
            )
        return self._episodes[episode_id]

    def checkpoint(self, checkpoint_id: str) -> CheckpointRow:
        """The row of an id.

        Raises:
            ConfigError: No such checkpoint here.
        """
        if checkpoint_id not in self._checkpoints:
            raise ConfigError("no checkpoint of that id is open here; start the app with --checkpoint DIR")
        return self._checkpoints[checkpoint_id]

    def open(self, episode_id: str) -> Episode:
        """The episode of an id.

        Raises:
            ConfigError: No such episode here.
            EpisodeError: It cannot be read any more.
        """
        return open_episode(self.episode(episode_id).name)


def read_episode_row(name: str) -> EpisodeRow:
    """Opens an episode far enough to list it.

    Raises:
        EpisodeError: It is not an episode.
    """
    episode = open_episode(name)
    return EpisodeRow(
        id=episode.content_hash[:ID_LENGTH],
        name=episode.name,
        content_hash=episode.content_hash,
        info=episode.info,
        frame_steps=tuple(int(step) for step in episode.frame_steps),
    )


def read_checkpoint_row(folder: str | Path) -> CheckpointRow:
    """Reads the manifest of a checkpoint; the weights are verified when they are loaded.

    Raises:
        CheckpointError: The folder is missing or holds no readable manifest.
    """
    folder = Path(folder)
    return CheckpointRow(id=checkpoint_hash(folder)[:ID_LENGTH], name=folder.name, path=folder)


def checkpoint_hash(folder: Path) -> str:
    """The content hash that `trainer.loop.checkpoint` computes, from the hashes in the manifest: no weights are read.

    Raises:
        CheckpointError: The folder is missing, or its manifest is not a checkpoint's.
    """
    manifest = folder / _MANIFEST
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; give a checkpoint folder such as assets/checkpoints/compact")
    if not manifest.is_file():
        raise CheckpointError(
            f"{folder}: no {_MANIFEST}; this is not a finished checkpoint (`python -m trainer train` makes one)"
        )
    try:
        files = json.loads(manifest.read_bytes())["files"]
        parts = str(files["config.json"]["sha256"]) + str(files["weights.safetensors"]["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{manifest}: not the manifest of a checkpoint; copy the folder again") from error
    return hashlib.sha256(parts.encode()).hexdigest()


def _episode_names(roots: Iterable[str], problems: list[Problem]) -> list[str]:
    names: list[str] = []
    for root in roots:
        try:
            found = find_episodes(root)
        except WorkbenchError as error:
            problems.append(Problem(where=root, message=str(error)))
            continue
        if not found:
            problems.append(
                Problem(where=root, message=f"{root}: no episode here (`python -m trainer record` makes some)")
            )
        names += found
    return names


def _checkpoint_folders(roots: Iterable[Path], problems: list[Problem]) -> list[str]:
    """Checkpoint folders among `roots` and one level below them."""
    folders: list[str] = []
    for root in roots:
        if (root / _MANIFEST).is_file():
            found = [root]
        elif root.is_dir():
            found = sorted(path.parent for path in root.glob(f"*/{_MANIFEST}"))
        else:
            found = []
        if not found:
            problems.append(Problem(where=str(root), message=f"{root}: no checkpoint here (a folder with {_MANIFEST})"))
        folders += [str(folder) for folder in found]
    return folders


def _rows(names: Iterable[str], read: Callable[[str], Row], problems: list[Problem]) -> dict[str, Row]:
    """Rows by id; the same content under two paths is listed once."""
    rows: dict[str, Row] = {}
    for name in names:
        try:
            row = read(name)
        except WorkbenchError as error:
            problems.append(Problem(where=name, message=str(error)))
        else:
            rows.setdefault(row.id, row)
    return rows

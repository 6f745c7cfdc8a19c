"""Lines of the catalogue: an episode and a checkpoint as a table shows them, under ids that are safe in a link.

An id names a packed episode by its content (its manifest holds the hash), so a bundled episode has the same id on every
machine. An episode of another format is named by what is known without reading it: the last two parts of its path,
format, index, instruction and length. Copies of one dataset on two machines mostly agree, and a frame that was changed
keeps its link; caches go by `Episode.content_hash`, which does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from trainer.episodes.readers.reader import EpisodeSummary

ID_LENGTH = 12


@dataclass(frozen=True, kw_only=True)
class Listed:
    """What a dataset tells of one of its episodes without a frame being read.

    Attributes:
        index: Its number in the dataset.
        content_hash: Only where the format keeps one beside the episode.
        has_exact_flow: Whether the source says how things moved.
    """

    index: int
    summary: EpisodeSummary
    content_hash: str | None = None
    initial_state: int | None = None
    has_exact_flow: bool = False


@dataclass(frozen=True, kw_only=True)
class EpisodeRow:
    """One line of the episode table.

    Attributes:
        id: The only name the browser knows.
        stamp: Changes when the dataset's list of episodes does; part of the key of a thumbnail.
        space: Whose upload it is; None for everybody's.
        apart: The part of its path that tells it from rows that would read the same; empty where nothing else does.
    """

    id: str
    listed: Listed
    stamp: str = field(default="", repr=False)
    space: str | None = field(default=None, repr=False)
    apart: str = ""

    @property
    def name(self) -> str:
        """PATH#INDEX, for the server only."""
        return self.listed.summary.name

    @cached_property
    def title(self) -> str:
        """Task and initial state where known, else the folder's name and, after its first episode, which one."""
        return f"{self._short} · {self.apart}" if self.apart else self._short

    @property
    def _short(self) -> str:
        path, _, index = self.name.rpartition("#")
        task = self.listed.summary.task or Path(path or self.name).name
        if self.listed.initial_state is not None:
            return f"{task} · start {self.listed.initial_state}"
        return f"{task} #{index}" if path and index != "0" else task

    @property
    def outcome(self) -> str:
        """How it ended: success, failure or unknown."""
        return self.listed.summary.outcome or "unknown"

    @property
    def views(self) -> str:
        """The policy's cameras."""
        return ", ".join(self.listed.summary.views) or "none"

    @property
    def depth(self) -> str:
        """Where depth comes from and in which scale."""
        return " ".join(self.listed.summary.depth or ("none",))

    def cells(self) -> dict[str, str | int | None]:
        """What the table shows, by column; None where only opening the episode would tell."""
        summary = self.listed.summary
        return {
            "episode": self.title,
            "source": summary.source,
            "instruction": summary.instruction,
            "steps": summary.length,
            "outcome": self.outcome,
            "views": self.views,
            "depth": self.depth,
            "flow truth": "exact" if self.listed.has_exact_flow else "none",
            "id": self.id,
        }

    @cached_property
    def words(self) -> str:
        """Everything a search looks at, in small letters."""
        return " ".join(str(cell) for name, cell in self.cells().items() if name != "id").lower()


@dataclass(frozen=True, kw_only=True)
class CheckpointRow:
    """One line of the checkpoint list. `path` is for the server only."""

    id: str
    name: str
    path: Path = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something in a root that looks like an episode or a checkpoint and is not usable, and why."""

    where: str
    message: str


def tell_apart(places: Sequence[Path]) -> list[str]:
    """What tells each of some absolute places from the others: new and old for /data/new/training, /data/old/training.

    Nothing (empty) does where all are one place.
    """
    parts = [place.parts[::-1] for place in places]
    if len(set(parts)) == 1:
        return [""] * len(parts)
    same = 0
    while len({tail[same] for tail in parts}) == 1 and all(len(tail) > same + 1 for tail in parts):
        same += 1
    for depth in range(same, min(map(len, parts))):  # one folder's name may do alone
        if len({tail[depth] for tail in parts}) == len(set(parts)):
            return [tail[depth] for tail in parts]
    end = same + 1
    while len({tail[same:end] for tail in parts}) < len(set(parts)):
        end += 1
    return ["/".join(reversed(tail[same:end])) for tail in parts]


def episode_id(listed: Listed, place: Path, format_name: str) -> str:
    """The id of an episode of a dataset that lies at `place` (resolved)."""
    if listed.content_hash is not None:
        return listed.content_hash[:ID_LENGTH]
    summary = listed.summary
    facts = (format_name, *place.parts[-2:], listed.index, summary.instruction, summary.length)
    return hashlib.sha256(repr(facts).encode("utf-8", "replace")).hexdigest()[:ID_LENGTH]


def other_id(first: str, place: Path) -> str:
    """An id for the second of two episodes that `episode_id` cannot tell apart."""
    return hashlib.sha256(f"{first}\0{place}".encode("utf-8", "replace")).hexdigest()[:ID_LENGTH]

"""What a reader of a foreign format offers. One module a format; each has one object `READER`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..episode import DepthOrigin, DepthScale, Episode, EpisodeInfo, Outcome, View


@dataclass(frozen=True, kw_only=True)
class EpisodeSummary:
    """One line of a list of episodes: what is known without touching a frame. `None` means that it is not known yet.

    Attributes:
        name: PATH#INDEX.
        source: What `EpisodeInfo.source` will say.
        instruction: "" where the source has none.
        length: Control steps; None where only decoding would tell (a lone video).
        depth: Origin and scale; None without depth.
        task: Name of the task where the source has one.
    """

    name: str
    source: str
    instruction: str
    length: int | None
    views: tuple[View, ...]
    depth: tuple[DepthOrigin, DepthScale] | None
    outcome: Outcome | None
    task: str | None = None


@runtime_checkable  # so that the tests can check annotations
class Reader(Protocol):
    """Reads the episodes of one format. Stateless; safe across threads."""

    @property
    def format(self) -> str:
        """Its name, such as "calvin"."""
        ...

    @property
    def looks_for(self) -> str:
        """What makes a file or folder one of this format, for messages: "a CALVIN split (ep_start_end_ids.npy)"."""
        ...

    def recognise(self, path: Path) -> bool:
        """Whether a file or folder is a dataset of this format, by content. Cheap; never raises.

        It is asked of every file and folder below a root, so it must look at names first and read a few bytes at most.
        """
        ...

    def episodes(self, path: Path) -> Sequence[EpisodeSummary]:
        """All episodes of a dataset, in the order of their indices. Touches no frame file.

        Raises:
            EpisodeError: The dataset is damaged.
            UnsafeFileError: One of its files would run code, lead outside, or exhaust memory.
        """
        ...

    def open(self, path: Path, index: int) -> Episode:
        """Opens one episode lazily.

        Raises:
            EpisodeError: No such index, or damaged.
            UnsafeFileError: As `episodes`.
        """
        ...


def depth_kind(info: EpisodeInfo) -> tuple[DepthOrigin, DepthScale] | None:
    """Origin and scale of an episode's depth, None where it has none."""
    if info.depth_origin is None or info.depth_scale is None:
        return None
    return info.depth_origin, info.depth_scale

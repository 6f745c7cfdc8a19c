"""The packed episode as a format among others: a folder, one episode, index 0."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.errors import EpisodeError
from trainer.files import MANIFEST

from ..episode import Episode, EpisodeInfo
from ..packed import PackedEpisode
from ..schema import ARRAYS_FILE, META_FILE
from .reader import EpisodeSummary, Reader, depth_kind


class PackedReader:
    """Reads what `trainer record` and `trainer pack` write."""

    format = "packed"
    looks_for = f"a packed episode ({MANIFEST}, {META_FILE}, {ARRAYS_FILE})"

    def recognise(self, path: Path) -> bool:
        """Whether a folder has a manifest and the episode's meta data (a checkpoint has a manifest too)."""
        return (path / MANIFEST).is_file() and (path / META_FILE).is_file()

    def episodes(self, path: Path) -> Sequence[EpisodeSummary]:
        """The one episode; reads manifest.json and meta.json."""
        return (summary_of(f"{path}#0", PackedEpisode(path).info),)

    def open(self, path: Path, index: int) -> Episode:
        """The episode; only index 0 exists."""
        if index != 0:
            raise EpisodeError(f"{path}: has one episode, #0; asked for #{index}")
        return PackedEpisode(path)


def summary_of(name: str, info: EpisodeInfo) -> EpisodeSummary:
    """What a list says of an episode whose meta data is known."""
    return EpisodeSummary(
        name=name,
        source=info.source,
        instruction=info.instruction,
        length=info.length,
        views=info.views,
        depth=depth_kind(info),
        outcome=info.outcome,
        task=info.task,
    )


READER: Reader = PackedReader()

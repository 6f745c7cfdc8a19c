"""Which episodes of a source are written as data: those with an instruction, where some have one."""

from __future__ import annotations

import logging
from pathlib import Path

from .open import find_datasets, find_episodes, list_episodes, split_name
from .readers.reader import EpisodeSummary

log = logging.getLogger(__name__)


def episodes_to_write(source: Path, *, silent_play: bool) -> list[str]:
    """The names of the episodes of a source that become data: the one that PATH#INDEX names, or all of a folder.

    Args:
        source: An episode, a dataset, or a folder with such in it.
        silent_play: Also what has no instruction, in a dataset where other episodes have one. CALVIN's raw play is
            such: it holds the frames of the spoken episodes once more.

    Raises:
        EpisodeError: `source` does not exist.
    """
    path, _ = split_name(str(source))
    if path != source:
        return find_episodes(source)
    names: list[str] = []
    for dataset, reader in find_datasets(path):
        if reader.format == "packed":
            names.append(f"{dataset}#0")
            continue
        listed = [item for item in list_episodes(dataset) if isinstance(item, EpisodeSummary)]
        spoken = [item for item in listed if item.instruction]
        if spoken and not silent_play and len(spoken) < len(listed):
            log.info(
                "%s: %d episodes without an instruction left out (--silent-play)", dataset, len(listed) - len(spoken)
            )
            listed = spoken
        names += [item.name for item in listed] or find_episodes(dataset)
    return names

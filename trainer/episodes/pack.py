"""`python -m trainer pack SRC DST`: any source as packed training data, or packed episodes checked and re-encoded."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from model.errors import EpisodeError, WorkbenchError
from trainer.files import MANIFEST, folder_bytes

from .cache import cache_root, clean_cache
from .convert import recording_of
from .episode import Episode
from .open import open_episode, split_name
from .packed import PackedEpisode, save_packed
from .schema import Encoding
from .selection import episodes_to_write
from .transcode import save_as

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackArguments:
    """Turn episodes of any format into packed training data, or verify packed ones.

    Run the same command again to go on where it stopped: an episode is written whole or not at all, and what is there
    is kept. Episodes that cannot be read are listed at the end, the rest is packed all the same.

    Attributes:
        source: An episode (PATH#INDEX), a dataset, or a folder with such in it.
        destination: Where the packed episodes go, under their names relative to `source`.
        encoding: compressed (small, to move around) or mapped (raw memory maps, for training).
        verify: Compare every file with its sha256 and decode everything; with a destination, the copies too.
        silent_play: Also what has no instruction, in a dataset where other episodes have one (CALVIN's raw play).
        longest: Control steps; a longer episode is packed in pieces of at most this length.
        labels: A store of `python -m trainer label`: its depth is packed, marked pseudo, where the source has none.
            Tracks are not packed: label what was packed.
        clean_cache: Remove all local memory-mapped copies first.
    """

    source: tyro.conf.Positional[Path | None] = None
    destination: tyro.conf.Positional[Path | None] = None
    encoding: Annotated[Encoding, tyro.conf.arg(aliases=["-e"])] = "compressed"
    verify: bool = False
    silent_play: bool = False
    longest: int = 2000
    labels: Path | None = None
    clean_cache: bool = False


@dataclass
class _Tally:
    """What was packed so far."""

    episodes: int = 0
    kept: int = 0
    frames: int = 0
    bytes: int = 0


def main(argv: list[str]) -> int:
    """Runs the command; returns the exit code."""
    arguments = tyro.cli(PackArguments, args=argv, prog="python -m trainer pack")
    if arguments.longest < 2:
        raise EpisodeError(f"pack: --longest must be at least 2, got {arguments.longest}")
    if arguments.clean_cache:
        log.info("%s: %d memory-mapped copies removed", cache_root(), clean_cache())
    if arguments.source is None:
        if not arguments.clean_cache:
            raise EpisodeError("pack: name a source: an episode, or a folder with episodes in it")
        return 0
    if arguments.destination is None and not arguments.verify:
        raise EpisodeError("pack: name a destination folder, or --verify to check the source")
    names = episodes_to_write(arguments.source, silent_play=arguments.silent_play)
    if not names:
        open_episode(arguments.source)  # says what was looked for
    _pack_all(names, arguments)
    return 0


def _pack_all(names: list[str], arguments: PackArguments) -> None:
    """Packs one after the other; raises at the end when some could not be."""
    started, tally = time.monotonic(), _Tally()
    failed: list[WorkbenchError] = []
    for number, name in enumerate(names, 1):
        try:
            _pack(name, arguments, tally)
        except WorkbenchError as error:
            log.error("%s", error)
            failed.append(error)
        spent = time.monotonic() - started
        left = spent / number * (len(names) - number)
        log.info("%d of %d, %.0f frames a second, about %.0f s left", number, len(names), tally.frames / spent, left)
    spent = time.monotonic() - started
    if arguments.destination is not None:
        rates = (tally.frames, tally.frames / spent, tally.bytes / 2**20, tally.bytes / 2**20 / spent)
        log.info("%d packed, %d were there", tally.episodes, tally.kept)
        log.info("%d frames, %.1f a second; %.1f MiB written, %.2f a second", *rates)
    if failed:
        more = "" if len(failed) == 1 else f" (and {len(failed) - 1} more, see above)"
        rest = "" if len(failed) == len(names) else "; the others are done"
        raise type(failed[0])(f"{failed[0]}{more}{rest}")


def _pack(name: str, arguments: PackArguments, tally: _Tally) -> None:
    episode = _with_depth(open_episode(name), arguments.labels)
    if arguments.verify:
        _verify(episode)
    if arguments.destination is None or arguments.source is None:
        return
    for target, start, stop in _targets(episode, arguments.source, arguments.destination, arguments.longest):
        if (target / MANIFEST).is_file():
            _check_same(PackedEpisode(target), episode, start, stop)
            tally.kept += 1
            continue
        if isinstance(episode, PackedEpisode):
            save_as(episode, target, arguments.encoding)
        else:
            save_packed(recording_of(episode, start, stop), target, arguments.encoding)
        copy = PackedEpisode(target)
        if arguments.verify:
            copy.verify()
        size = folder_bytes(target)
        tally.episodes, tally.frames, tally.bytes = (
            tally.episodes + 1,
            tally.frames + copy.meta.n_frames,
            tally.bytes + size,
        )
        log.info("%s: %.2f MiB, %s", target, size / 2**20, copy.encoding)


def _check_same(copy: PackedEpisode, episode: Episode, start: int, stop: int) -> None:
    """Two data sets packed to one place number their episodes alike, and the second would count as packed.

    Raises:
        EpisodeError: What is there is of another episode, or not whole.
    """
    there, wanted = copy.info, episode.info
    same = (there.source, there.instruction, there.length) == (wanted.source, wanted.instruction, stop - start)
    if same and copy.has("state") and episode.has("state"):
        same = np.allclose(copy.state, episode.state[start:stop], atol=1e-4, equal_nan=True)
    if not same:
        raise EpisodeError(
            f"{copy.name}: holds another episode than {episode.name}, or an older state of it (of {there.source}, "
            f"{there.length} steps, '{there.instruction:.60}'): pack to another destination, a folder for each source"
        )


def _with_depth(episode: Episode, labels: Path | None) -> Episode:
    """The episode with a store's pseudo depth, if it has none of its own."""
    if labels is None or episode.info.depth_origin is not None:
        return episode
    from trainer.labels.overlay import with_labels  # labels are made from episodes

    labelled = with_labels(episode, labels)
    return labelled if labelled.info.depth_origin == "pseudo" else episode


def _verify(episode: Episode) -> None:
    """Reads everything there is."""
    if isinstance(episode, PackedEpisode):
        episode.verify()
        log.info("%s: verified, %s, sha256 %s", episode.name, episode.encoding, episode.content_hash[:12])
        return
    for step in episode.frame_steps:
        recording_of(episode, int(step), int(step) + 1)
    log.info("%s: every frame decodes; sha256 %s", episode.name, episode.content_hash[:12])


def _targets(episode: Episode, source: Path, destination: Path, longest: int) -> Iterator[tuple[Path, int, int]]:
    """The folders an episode goes to, with the steps of each."""
    path, index = split_name(episode.name)
    target = destination / path.relative_to(split_name(str(source))[0])
    if isinstance(episode, PackedEpisode):
        yield target, 0, episode.info.length
        return
    length = episode.info.length
    for piece, start in enumerate(range(0, length, longest)):
        name = f"{index:06d}" if length <= longest else f"{index:06d}-{piece:03d}"
        yield target / name, start, min(start + longest, length)

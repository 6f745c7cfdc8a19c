"""`python -m trainer pack SRC DST --encoding mapped`: copies packed episodes into another encoding, or checks them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from model.errors import EpisodeError
from trainer.files import folder_bytes

from .cache import cache_root, clean_cache
from .open import find_episodes, open_episode, split_name
from .packed import PackedEpisode
from .schema import Encoding
from .transcode import save_as

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackArguments:
    """Copy packed episodes into another encoding, or verify them.

    Attributes:
        source: An episode, or a folder with episodes in it.
        destination: Where the copies go, under the same names relative to `source`.
        encoding: compressed (small, to move around) or mapped (raw memory maps, for training).
        verify: Compare every file with its sha256 and decode everything; with a destination, the copies too.
        clean_cache: Remove all local memory-mapped copies first.
    """

    source: tyro.conf.Positional[Path | None] = None
    destination: tyro.conf.Positional[Path | None] = None
    encoding: Annotated[Encoding, tyro.conf.arg(aliases=["-e"])] = "compressed"
    verify: bool = False
    clean_cache: bool = False


def main(argv: list[str]) -> int:
    """Runs the command; returns the exit code."""
    arguments = tyro.cli(PackArguments, args=argv, prog="python -m trainer pack")
    if arguments.clean_cache:
        log.info("%s: %d memory-mapped copies removed", cache_root(), clean_cache())
    if arguments.source is None:
        if not arguments.clean_cache:
            raise EpisodeError("pack: name a source: an episode, or a folder with episodes in it")
        return 0
    if arguments.destination is None and not arguments.verify:
        raise EpisodeError("pack: name a destination folder, or --verify to check the source")
    names = find_episodes(arguments.source)
    if not names:
        open_episode(arguments.source)  # says what was looked for
    for name in names:
        _pack(name, arguments)
    return 0


def _pack(name: str, arguments: PackArguments) -> None:
    episode = open_episode(name)
    if not isinstance(episode, PackedEpisode):
        raise EpisodeError(f"{name}: not a packed episode")
    if arguments.verify:
        episode.verify()
        log.info("%s: verified, %s, sha256 %s", name, episode.encoding, episode.content_hash[:12])
    if arguments.destination is not None and arguments.source is not None:
        path = split_name(name)[0]
        target = arguments.destination / path.relative_to(arguments.source)
        save_as(episode, target, arguments.encoding)
        copy = PackedEpisode(target)
        if arguments.verify:
            copy.verify()
        log.info("%s: %.2f MiB, %s", target, folder_bytes(target) / 2**20, copy.encoding)

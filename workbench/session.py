"""The state of one visitor: which checkpoint, which episode, which time; and the link that brings it back.

Plain logic, no gradio, no rerun. The browser never names a path: it sends ids that the catalog gave out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from model.errors import ConfigError

from .catalog import Catalog, CheckpointRow, EpisodeRow

_ID = re.compile(r"[0-9a-f]{12}")
_STEP = re.compile(r"[0-9]{1,7}")


@dataclass(frozen=True, kw_only=True)
class Link:
    """What a link may hold; every part may be absent."""

    checkpoint: str | None = None
    episode: str | None = None
    step: int | None = None


def parse_link(query: Mapping[str, str]) -> Link:
    """Reads `?checkpoint=&episode=&t=`.

    Raises:
        ConfigError: A part is not an id or not a time; the message names the part and never repeats its content.
    """
    checkpoint, episode, step = (query.get(name) or None for name in ("checkpoint", "episode", "t"))
    for name, value in (("checkpoint", checkpoint), ("episode", episode)):
        if value is not None and not _ID.fullmatch(value):
            raise ConfigError(f"the link's '{name}' is not an id of this workbench; choose one from the list instead")
    if step is not None and not _STEP.fullmatch(step):
        raise ConfigError("the link's 't' is not a control step; it must be a whole number such as t=84")
    return Link(checkpoint=checkpoint, episode=episode, step=None if step is None else int(step))


def format_link(link: Link) -> str:
    """The query string that `parse_link` reads back, without the question mark."""
    parts = {"checkpoint": link.checkpoint, "episode": link.episode, "t": link.step}
    return urlencode({name: value for name, value in parts.items() if value is not None})


@dataclass(frozen=True, kw_only=True)
class Session:
    """One visitor. Immutable: every change makes a new one, so that a late callback cannot spoil a newer state.

    Attributes:
        step: The control step in view; always one that has an image.
    """

    checkpoint: CheckpointRow | None
    episode: EpisodeRow | None
    step: int

    def at(self, step: int) -> Session:
        """The same visitor at the nearest step that has an image."""
        return Session(checkpoint=self.checkpoint, episode=self.episode, step=snap(self.episode, step))

    def with_episode(self, episode: EpisodeRow, step: int = 0) -> Session:
        """Another episode, from `step` on."""
        return Session(checkpoint=self.checkpoint, episode=episode, step=snap(episode, step))

    def with_checkpoint(self, checkpoint: CheckpointRow) -> Session:
        """Another checkpoint at the same time of the same episode."""
        return Session(checkpoint=checkpoint, episode=self.episode, step=self.step)

    @property
    def link(self) -> Link:
        """What to put into the address bar."""
        return Link(
            checkpoint=self.checkpoint.id if self.checkpoint else None,
            episode=self.episode.id if self.episode else None,
            step=self.step if self.episode else None,
        )


def open_session(catalog: Catalog, link: Link) -> Session:
    """A visitor's first state: what the link names, else the first of each list.

    Raises:
        ConfigError: The link names a checkpoint or an episode that this workbench does not have.
    """
    checkpoints, episodes = catalog.checkpoints(), catalog.episodes()
    checkpoint = catalog.checkpoint(link.checkpoint) if link.checkpoint else next(iter(checkpoints), None)
    episode = catalog.episode(link.episode) if link.episode else next(iter(episodes), None)
    return Session(checkpoint=checkpoint, episode=episode, step=snap(episode, link.step or 0))


def snap(episode: EpisodeRow | None, step: int) -> int:
    """The nearest control step with an image; 0 without an episode."""
    if episode is None or not episode.frame_steps:
        return 0
    return min(episode.frame_steps, key=lambda candidate: (abs(candidate - step), candidate))

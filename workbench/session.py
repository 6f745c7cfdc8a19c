"""The state of one visitor: which checkpoint, which episode, which time; and the link that brings it back.

Plain logic, no gradio, no rerun. The browser never names a path: it sends ids that the catalog gave out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model.errors import ConfigError

from .catalog import Catalog
from .catalog_rows import CheckpointRow, EpisodeRow

_ID = re.compile(r"[0-9a-f]{12}|[0-9a-f]{32}")  # the longer ones are of a visitor's own uploads
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


@dataclass(frozen=True, kw_only=True)
class Session:
    """One visitor. Immutable: every change makes a new one, so that a late callback cannot spoil a newer state.

    Attributes:
        step: The control step that was asked for; which of them have images, only the opened episode knows.
    """

    checkpoint: CheckpointRow | None
    episode: EpisodeRow | None
    step: int


def open_session(catalog: Catalog, link: Link) -> Session:
    """A visitor's first state: what the link names, else the first of each list. Opens nothing.

    Raises:
        ConfigError: The link names a checkpoint or an episode that this workbench does not have.
    """
    checkpoints, episodes = catalog.checkpoints(), catalog.episodes()
    checkpoint = catalog.checkpoint(link.checkpoint) if link.checkpoint else next(iter(checkpoints), None)
    episode = catalog.episode(link.episode) if link.episode else next(iter(episodes), None)
    return Session(checkpoint=checkpoint, episode=episode, step=link.step or 0)


def nearest_step(steps: Sequence[int], wanted: int) -> int:
    """The nearest control step with an image, of two the earlier one; 0 where there is none."""
    return min(steps, key=lambda step: (abs(step - wanted), step), default=0)

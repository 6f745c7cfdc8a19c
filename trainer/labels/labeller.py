"""What a labeller is: something that makes arrays from an episode, named so well that its result can be found again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from trainer.episodes.episode import Episode

LabelKind = Literal["tracks", "depth"]


@dataclass(frozen=True, kw_only=True)
class Label:
    """What a labeller says about one episode.

    Attributes:
        arrays: By name; the first part of the name is the view ("static.visible").
        facts: Plain values: how it was made, how far it can be trusted.
    """

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]


@runtime_checkable  # so that the tests can check annotations
class Labeller(Protocol):
    """Makes labels. Built once in every worker process; must be a pure function of the episode."""

    @property
    def kind(self) -> LabelKind:
        """What it makes."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name, version and every parameter that decides the result (hashes of weights too), as plain values."""
        ...

    def label(self, episode: Episode) -> Label:
        """The label of an episode.

        Raises:
            WorkbenchError: The episode lacks what this labeller needs, or cannot be read.
        """
        ...


def label_key(content_hash: str, identity: Mapping[str, Any]) -> str:
    """sha256 hex that names a label: of the episode's content, the labeller, its version and its parameters."""
    text = json.dumps({"episode": content_hash, "labeller": identity}, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()

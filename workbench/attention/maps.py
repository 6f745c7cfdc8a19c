"""What one forward pass says about where its queries look: the raw material of every roll-up. numpy only.

Dimensions: m trunk layer, n head, k key position, j FLOW token, p point, t frame of the window, r latent,
c patch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

from model.errors import ConfigError
from trainer.episodes.episode import View

EARLIER = "earlier frames"
GOAL = "goal image"
OTHERS = "other frames"
NOW = 0
PREFIX = -1


@dataclass(frozen=True, kw_only=True)
class AttentionMaps:
    """Attention of the newest frame's queries, as captured; every row sums to 1 over the keys it may see.

    Attributes:
        rows: Trunk attention of a query group ("ACT", and "FLOW" where the policy has one), mean over its tokens.
        allowed: The keys each of those groups may see: mask and padding together.
        names: Token groups of the layout in order, prefix included.
        group: For every key, its index into `names`.
        age: For every key, how many frames of the window before the newest; -1 later (padding) or in the prefix.
        steps: Control step of every frame of the window by age, newest first; -1 before the episode's start.
        points: C[p -> FLOW token], mean over the flow decoder's layers and heads; None without a flow decoder.
        patches: C[latent -> patch] by view and age of the frame, mean over the resampler's layers and heads. A row sums
            to what the latent takes from patches; the rest it takes from other latents.
    """

    rows: dict[str, Float[np.ndarray, "m n k"]]
    allowed: dict[str, Bool[np.ndarray, " k"]]
    names: tuple[str, ...]
    group: Integer[np.ndarray, " k"]
    age: Integer[np.ndarray, " k"]
    steps: Integer[np.ndarray, " t"]
    points: Float[np.ndarray, "p j"] | None
    patches: dict[View, Float[np.ndarray, "t r c"]]

    def keys(self, name: str, age: int = NOW) -> Integer[np.ndarray, " j"]:
        """Key positions of a group in one frame, in order; empty for a group that is not there."""
        index = self.names.index(name) if name in self.names else -1
        return np.flatnonzero((self.group == index) & (self.age == age))

    def mean_row(self, query: str, layer: int | None = None, head: int | None = None) -> Float[np.ndarray, " k"]:
        """Attention of a query group, the mean over all layers or heads that are not chosen.

        Raises:
            ConfigError: The policy has no such query, layer or head.
        """
        if query not in self.rows:
            raise ConfigError(f"this policy has no {query} queries; choose one of {', '.join(self.rows)}")
        rows = self.rows[query]
        for chosen, count, what in ((layer, rows.shape[0], "layer"), (head, rows.shape[1], "head")):
            if chosen is not None and not 0 <= chosen < count:
                raise ConfigError(f"there is no {what} {chosen + 1}; this policy's trunk has {count}")
        rows = rows if layer is None else rows[layer : layer + 1]
        return (rows if head is None else rows[:, head : head + 1]).mean(axis=(0, 1))

    def groups_seen(self, query: str) -> Mapping[str, Integer[np.ndarray, " _"]]:
        """Key positions that a query may see: groups of the newest frame, then the prefix, then all earlier frames."""
        allowed = self.allowed[query]
        now = {name: self.keys(name) for name in self.names}
        seen = {name: where for name, where in now.items() if allowed[where].any()}
        goal = np.flatnonzero((self.age == PREFIX) & allowed)
        return seen | ({GOAL: goal} if goal.size else {}) | {EARLIER: np.flatnonzero((self.age > NOW) & allowed)}


def latent_group(view: View) -> str:
    """Name of the token group that holds a view's resampler latents."""
    return f"{view[0].upper()}_PATCH"

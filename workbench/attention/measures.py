"""Numbers about attention: mass of token groups, lift over an even spread, entropy. numpy only.

Dimensions: m trunk layer, n head, k key position, g group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

from .maps import NOW, AttentionMaps


@dataclass(frozen=True, kw_only=True)
class GroupRow:
    """What lies on one token group.

    Attributes:
        age: Frames before the newest; None for the prefix.
        tokens: How many tokens of it may be seen.
        mass: Weight on them, in the unit of the whole.
        uniform: Share they would get if weight were spread evenly over all keys that may be seen.
        lift: mass / uniform: 1 = even; of a share only, NaN where nothing may be seen.
    """

    name: str
    age: int | None
    tokens: int
    mass: float
    uniform: float
    lift: float


def group_mass(
    rows: Float[np.ndarray, "m n k"], groups: Mapping[str, Integer[np.ndarray, " _"]]
) -> Float[np.ndarray, "m n g"]:
    """Attention mass of each group of key positions, by layer and head."""
    return np.stack([rows[:, :, keys].sum(axis=-1) for keys in groups.values()], axis=-1)


def uniform_share(allowed: Bool[np.ndarray, " k"], keys: Integer[np.ndarray, " _"]) -> float:
    """The mass on `keys` if the row were spread evenly over all keys it may see."""
    return float(allowed[keys].sum() / max(int(allowed.sum()), 1))


def entropy(rows: Float[np.ndarray, "*m k"], allowed: Bool[np.ndarray, " k"]) -> Float[np.ndarray, "*m"]:
    """-sum p log p, divided by the log of the number of keys that may be seen: 0 = one key, 1 = all alike.

    0 where only one key may be seen. Rows that are a mean over layers or heads are a distribution too, a flatter one.
    """
    seen = np.asarray(rows, np.float64)[..., allowed]
    plogp = np.where(seen > 0, seen * np.log(np.where(seen > 0, seen, 1.0)), 0.0)
    return np.asarray(np.abs(plogp.sum(axis=-1)) / np.log(max(int(allowed.sum()), 2)))


def group_rows(weights: Float[np.ndarray, " k"], maps: AttentionMaps, query: str) -> list[GroupRow]:
    """One row for each group and frame that the query may see, newest frame first; their masses add up to all of it."""
    allowed = maps.allowed[query]
    total = max(int(allowed.sum()), 1)
    rows: list[GroupRow] = []
    for age in range(-1, len(maps.steps)):
        for index, name in enumerate(maps.names):
            keys = np.flatnonzero((maps.group == index) & (maps.age == age) & allowed)
            if not len(keys):
                continue
            mass, uniform = float(weights[keys].sum()), len(keys) / total
            rows.append(
                GroupRow(
                    name=name,
                    age=None if age < NOW else age,
                    tokens=len(keys),
                    mass=mass,
                    uniform=uniform,
                    lift=mass / uniform,
                )
            )
    return rows

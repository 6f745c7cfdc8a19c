"""A mean over episodes with its interval. Frames of one episode are not independent: episodes are what is resampled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

RESAMPLES = 4000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its 95 % bootstrap interval; `low` and `high` are NaN for fewer than two episodes."""

    mean: float
    low: float
    high: float
    n: int


def bootstrap_mean(per_episode: Float[np.ndarray, " e"]) -> Interval:
    """Mean of one value an episode, with the percentile bootstrap interval. NaN values are left out and not counted.

    The resampling is seeded: equal input gives an equal interval.
    """
    values = per_episode[np.isfinite(per_episode)]
    if len(values) < 2:
        mean = float(values.mean()) if len(values) else float("nan")
        return Interval(mean=mean, low=float("nan"), high=float("nan"), n=len(values))
    draws = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(mean=float(values.mean()), low=float(low), high=float(high), n=len(values))

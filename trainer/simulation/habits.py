"""The small differences between episodes of one task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, kw_only=True)
class Habits:
    """What varies from episode to episode.

    Attributes:
        hover: Metres above a grasp to come from and to lift to.
        speed: Of the fastest.
        nudge: Metres off the middle of the grasp, x and y.
    """

    hover: float
    speed: float
    nudge: Float[np.ndarray, " 2"]

    @staticmethod
    def drawn(initial_state: int, seed: int) -> Habits:
        """The habits of one episode."""
        random = np.random.default_rng([initial_state, seed])
        return Habits(
            hover=float(random.uniform(0.07, 0.12)),
            speed=float(random.uniform(0.8, 1.0)),
            nudge=random.uniform(-0.003, 0.003, size=2),
        )

"""How far a run is, and what follows from it: learning rate and phase.

A run is bounded by optimizer steps, by hours, or by both (whichever comes first). Everything else is a function of the
fraction of that budget which is used: with `--steps` it depends on the step alone; with `--hours` on the seconds spent
training, which a checkpoint stores, so that the cosine ends on time on any machine and a resumed run goes on at the
fraction where it stopped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from model.errors import ConfigError

FLOOR = 0.01
"""The cosine ends at this share of the peak (GR-MG: 1 %)."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Learning rate and phase over one run.

    Attributes:
        steps: Optimizer updates in all, or None.
        hours: Training time in all, or None; one of the two is needed.
        peak_lr: Learning rate after the warm-up.
        warmup_steps: Updates over which it rises linearly.
        phase1_fraction: Share of the budget trained on foresight alone before actions join; 0 = from the start.
    """

    steps: int | None
    hours: float | None
    peak_lr: float
    warmup_steps: int
    phase1_fraction: float

    def __post_init__(self) -> None:
        if self.steps is None and self.hours is None:
            raise ConfigError("give the run an end: --steps N, --hours H, or both")

    def fraction(self, step: int, elapsed_s: float) -> float:
        """Share of the budget used after `step` updates and `elapsed_s` seconds of training, 0..1."""
        by_steps = step / self.steps if self.steps is not None else 0.0
        by_time = elapsed_s / (self.hours * 3600.0) if self.hours is not None else 0.0
        return min(1.0, max(by_steps, by_time))

    def lr(self, step: int, fraction: float) -> float:
        """Learning rate of update number `step` (from 0): linear warm-up times cosine to 1 % of the peak."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        return self.peak_lr * warm * (FLOOR + (1.0 - FLOOR) * 0.5 * (1.0 + math.cos(math.pi * fraction)))

    def phase(self, fraction: float) -> int:
        """1 = foresight only, 2 = with actions."""
        return 1 if fraction < self.phase1_fraction else 2

    def expected_steps(self, step: int, fraction: float) -> int | None:
        """Updates the run will have made at its end, judged by its pace so far; None before the first."""
        if self.hours is None:
            return self.steps
        return max(step, round(step / fraction)) if step and fraction > 0 else self.steps

"""From what labelling took here to what it takes for a collection: time, bytes and money of each stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .jobs import Outcome


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What one stage took, measured.

    Attributes:
        stage: Labeller's name.
        episodes: Labels made.
        frames: Their frames.
        seconds: Worker time, all workers together.
        bytes: Of their labels.
    """

    stage: str
    episodes: int
    frames: int
    seconds: float
    bytes: int


def measured(stage: str, outcomes: Sequence[Outcome]) -> Rate | None:
    """The rate of the labels that were made in this run; None if none was."""
    made = [outcome for outcome in outcomes if outcome.status == "made"]
    if not made:
        return None
    return Rate(
        stage=stage,
        episodes=len(made),
        frames=sum(outcome.frames for outcome in made),
        seconds=sum(outcome.seconds for outcome in made),
        bytes=sum(outcome.bytes for outcome in made),
    )


def projection(rate: Rate, trajectories: int, cost_per_hour: float) -> str:
    """One line of a table: what `trajectories` of the same length take on one worker of the kind that was measured."""
    scale = trajectories / rate.episodes
    hours = rate.seconds * scale / 3600.0
    return (
        f"{rate.stage}: {trajectories} trajectories of {rate.frames / rate.episodes:.0f} frames: "
        f"{hours:,.1f} worker-hours ({rate.frames / rate.seconds:.1f} frames/s a worker), "
        f"{rate.bytes * scale / 1e9:,.1f} GB, {hours * cost_per_hour:,.2f} at {cost_per_hour:g} an hour; "
        f"measured on {rate.episodes} episodes, {rate.frames} frames"
    )

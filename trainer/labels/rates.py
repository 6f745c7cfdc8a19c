"""From what labelling took here to what it takes for a collection: time, bytes and money of each stage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .computed import REACHED, computed_rates
from .jobs import Outcome


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What one stage took, measured.

    Attributes:
        stage: Labeller's name.
        episodes: Labels made.
        frames: Their frames.
        seconds: Worker time, all workers together.
        processor_seconds: Processor time of the workers: on a machine that others use too, the better figure.
        bytes: Of their labels.
    """

    stage: str
    episodes: int
    frames: int
    seconds: float
    processor_seconds: float
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
        processor_seconds=sum(outcome.processor_seconds for outcome in made),
        bytes=sum(outcome.bytes for outcome in made),
    )


def projection(rate: Rate, trajectories: int, *, worker_cost: float, gpu_cost: float) -> str:
    """A table: what `trajectories` of the measured length take in this stage, and in depth networks on a GPU.

    Args:
        rate: What was measured in this run.
        trajectories: How many.
        worker_cost: Money for an hour of one worker of the kind that was measured; 0 = not known.
        gpu_cost: The same for a GPU.
    """
    frames = rate.frames / rate.episodes
    total = trajectories * frames
    processor = rate.processor_seconds * trajectories / rate.episodes / 3600.0
    lines = [
        f"{trajectories} trajectories of {frames:.0f} frames, {total:,.0f} frames:",
        "",
        "| stage | on | frames/s | hours | GB | cost | known how |",
        "|---|---|---|---|---|---|---|",
        _line(
            rate.stage,
            "one worker here",
            rate.frames / rate.seconds,
            total,
            rate.bytes / rate.frames,
            worker_cost,
            f"measured, {rate.episodes} episodes, {rate.frames} frames; {processor:,.0f} of them processor-hours",
        ),
    ]
    for item in computed_rates():
        how = f"computed, not measured: counted operations at {REACHED:.0%} of the published bf16 rate"
        lines.append(_line(item.network, item.device, item.frames_per_s, total, item.bytes_per_frame, gpu_cost, how))
    return "\n".join(lines)


def _line(
    stage: str, device: str, frames_per_s: float, frames: float, bytes_per_frame: float, cost: float, how: str
) -> str:
    hours = frames / frames_per_s / 3600.0
    money = f"{hours * cost:,.0f}" if cost else "-"
    size = frames * bytes_per_frame / 1e9
    return f"| {stage} | {device} | {frames_per_s:,.1f} | {hours:,.1f} | {size:,.1f} | {money} | {how} |"

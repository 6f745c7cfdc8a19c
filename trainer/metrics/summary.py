"""From figures of single times to a table: mean over the times of an episode, then over episodes, with an interval."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from .catalog import BASELINE, DATASET_MEAN, metric_of, skill
from .interval import Interval, bootstrap_mean

_SUFFIXES = (BASELINE, DATASET_MEAN)


@dataclass(frozen=True, kw_only=True)
class EpisodeScores:
    """The figures of one episode.

    Attributes:
        name: PATH#INDEX.
        task: What it is grouped by.
        values: Mean of each figure over the times at which it is defined.
        times: Number of times that were scored.
    """

    name: str
    task: str
    values: dict[str, float]
    times: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table. `skill` is the share of the baseline's error that is gone (see `catalog.skill`)."""

    metric: str
    unit: str
    model: Interval
    baseline: Interval
    skill: float
    dataset_mean: Interval | None


def summarise_episode(name: str, task: str, scores: Sequence[Mapping[str, float]]) -> EpisodeScores:
    """Means over the times of an episode; NaN where a figure was never defined."""
    collected: dict[str, list[float]] = defaultdict(list)
    for at in scores:
        for key, value in at.items():
            collected[key].append(value)
    values = {key: _mean(items) for key, items in collected.items()}
    return EpisodeScores(name=name, task=task, values=values, times=len(scores))


def table(episodes: Sequence[EpisodeScores]) -> list[Row]:
    """One row a metric, in the order in which the metrics first appear. Every episode weighs the same."""
    names = dict.fromkeys(key for episode in episodes for key in episode.values if not key.endswith(_SUFFIXES))
    rows: list[Row] = []
    for name in names:
        model, baseline = (_interval(episodes, key) for key in (name, name + BASELINE))
        mean = name + DATASET_MEAN
        rows.append(
            Row(
                metric=name,
                unit=metric_of(name).unit,
                model=model,
                baseline=baseline,
                skill=skill(name, model.mean, baseline.mean),
                dataset_mean=_interval(episodes, mean) if any(mean in item.values for item in episodes) else None,
            )
        )
    return rows


def by_task(episodes: Iterable[EpisodeScores]) -> dict[str, list[EpisodeScores]]:
    """Episodes grouped by task, tasks sorted."""
    groups: dict[str, list[EpisodeScores]] = defaultdict(list)
    for episode in episodes:
        groups[episode.task].append(episode)
    return dict(sorted(groups.items()))


def as_text(rows: Sequence[Row]) -> str:
    """A table for the terminal: metric | model [95 % interval] | baseline | skill | n episodes."""
    cells = [("metric", "model", "95 % interval", "baseline", "skill", "n")]
    for row in rows:
        label = f"{row.metric} ({row.unit})" if row.unit else row.metric
        interval = f"[{_number(row.model.low)}, {_number(row.model.high)}]" if math.isfinite(row.model.low) else "-"
        baseline = _number(row.baseline.mean)
        if row.dataset_mean is not None:
            baseline += f" (dataset mean {_number(row.dataset_mean.mean)})"
        share = f"{row.skill:+.0%}" if math.isfinite(row.skill) else "-"
        cells.append((label, _number(row.model.mean), interval, baseline, share, str(row.model.n)))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    padded = (zip(line, widths, strict=True) for line in cells)
    return "\n".join("  ".join(cell.ljust(width) for cell, width in line).rstrip() for line in padded)


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as plain values; NaN becomes null."""
    return [plain(asdict(row)) for row in rows]


def plain(value: Any) -> Any:
    """`value` with NaN and infinity as null, so that it is valid JSON."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _interval(episodes: Sequence[EpisodeScores], key: str) -> Interval:
    return bootstrap_mean(np.array([episode.values.get(key, math.nan) for episode in episodes]))


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return sum(finite) / len(finite) if finite else math.nan


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "-"

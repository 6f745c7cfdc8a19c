"""The table twins: every number and every heat map of the page as plain rows, worst first where that helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..foresight import Foresight

BASELINE = ".baseline"


@dataclass(frozen=True, kw_only=True)
class NumberRow:
    """One metric at one time. `skill` = 1 - value / baseline for errors: 1 perfect, 0 as good as the baseline."""

    name: str
    label: str
    unit: str
    value: float
    baseline: float | None
    baseline_name: str
    skill: float | None


@dataclass(frozen=True, kw_only=True)
class PointRow:
    """One tracked point at the last known flow step. Errors are predicted - true in camera space.

    Attributes:
        point: Index into the point axis of the foresight: the row that a click in 3D selects.
        px: Distance in the image, pixels of the model's image.
        lateral_mm: Distance across the viewing ray, millimetres.
        along_mm: Signed distance along the viewing ray, millimetres, + = too far.
        moved_mm: How far the point really moved, millimetres.
    """

    point: int
    px: float
    lateral_mm: float
    along_mm: float
    moved_mm: float
    moving: bool
    visible: bool


def number_rows(foresight: Foresight) -> list[NumberRow]:
    """The numbers at this time, beside their trivial baselines."""
    raise NotImplementedError


def point_rows(foresight: Foresight, *, limit: int | None = 20) -> list[PointRow]:
    """The worst points by 3D error; empty without ground truth. `limit=None` gives all."""
    raise NotImplementedError


def series_rows(foresights: Sequence[Foresight], names: Sequence[str]) -> list[dict[str, float]]:
    """Twin of the timeline: one row a step with `step`, each metric and its baseline (NaN where absent)."""
    rows: list[dict[str, float]] = []
    for foresight in foresights:
        row: dict[str, float] = {"step": float(foresight.step)}
        for name in names:
            for key in (name, name + BASELINE):
                row[key] = foresight.metrics.get(key, float("nan"))
        rows.append(row)
    return rows


def attention_rows(foresights: Sequence[Foresight]) -> list[dict[str, float]]:
    """Twin of the attention heat map: one row for each step, layer and head, with the uniform share and the lift."""
    return [
        {
            "step": float(foresight.step),
            "layer": float(layer),
            "head": float(head),
            "action to flow": float(mass),
            "uniform share": foresight.attention.uniform,
            "lift": float(mass) / max(foresight.attention.uniform, 1e-12),
        }
        for foresight in foresights
        for (layer, head), mass in np.ndenumerate(foresight.attention.to_flow)
    ]

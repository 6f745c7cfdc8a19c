"""The table twins: every number and every heat map of the page as plain rows, worst first where that helps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.metrics.catalog import BASELINE, metric_of, skill
from trainer.metrics.flow import track_errors

from ..foresight import Foresight
from ..pseudo import is_pseudo
from .labels import label_of, model_names


@dataclass(frozen=True, kw_only=True)
class NumberRow:
    """One metric at one time.

    Attributes:
        baseline: The same figure for the trivial guess that `baseline_name` describes; None where there is none.
        skill: Share of the baseline's error that is gone: 1 perfect, 0 no better; None where it has no meaning.
        definition: One sentence for the tooltip.
    """

    name: str
    label: str
    unit: str
    value: float
    baseline: float | None
    baseline_name: str
    skill: float | None
    definition: str


@dataclass(frozen=True, kw_only=True)
class PointRow:
    """One tracked point at the last flow step that is known. Errors are predicted - true in camera space.

    Attributes:
        point: Index into the point axis of the foresight: the row that a click in 3D selects.
        step: The control step of the comparison.
        px: Distance in the image, pixels of the model's image.
        lateral_mm: Distance across the viewing ray, millimetres.
        along_mm: Signed distance along the viewing ray, millimetres, + = too far.
        moved_mm: How far the point really moved, millimetres.
        visible: The true point can be seen at that step.
    """

    point: int
    step: int
    px: float
    lateral_mm: float
    along_mm: float
    moved_mm: float
    moving: bool
    visible: bool


def number_rows(foresight: Foresight) -> list[NumberRow]:
    """The numbers at this time beside their trivial baselines; figures without a value at this time are left out."""
    rows: list[NumberRow] = []
    for name in model_names(foresight.metrics):
        value = foresight.metrics[name]
        if math.isnan(value):
            continue
        baseline = foresight.metrics.get(name + BASELINE, math.nan)
        gain = skill(name, value, baseline)
        rows.append(
            NumberRow(
                name=name,
                label=label_of(name, pseudo=is_pseudo(name, foresight.remarks)),
                unit=metric_of(name).unit,
                value=value,
                baseline=None if math.isnan(baseline) else baseline,
                baseline_name=metric_of(name).baseline,
                skill=None if math.isnan(gain) else gain,
                definition=metric_of(name).definition,
            )
        )
    return rows


def point_rows(foresight: Foresight, *, limit: int | None = 20) -> list[PointRow]:
    """Points by 3D error, worst first; empty without ground truth or intrinsics. `limit=None` gives all."""
    flow, K = foresight.flow, foresight.views["static"].K
    if flow.uvz_true is None or flow.known is None or flow.visible_true is None or K is None:
        return []
    compared = np.flatnonzero(flow.known[:, 1:].any(axis=1))
    last = flow.known.shape[1] - 1 - np.argmax(flow.known[compared, ::-1], axis=1)
    true, start = flow.uvz_true[compared, last], flow.uvz_true[compared, 0]
    errors = track_errors(flow.uvz[compared, last][:, None], true[:, None], K)
    moved = track_errors(start[:, None], true[:, None], K).epe_mm[:, 0]
    order = np.argsort(-errors.epe_mm[:, 0], kind="stable")[:limit]
    return [
        PointRow(
            point=int(compared[i]),
            step=int(flow.steps[last[i]]),
            px=float(errors.lateral_px[i, 0]),
            lateral_mm=float(errors.lateral_mm[i, 0]),
            along_mm=float(errors.along_mm[i, 0]),
            moved_mm=float(moved[i]),
            moving=bool(flow.moving[compared[i]]),
            visible=bool(flow.visible_true[compared[i], last[i]]),
        )
        for i in order
    ]


def series_rows(foresights: Sequence[Foresight], names: Sequence[str]) -> list[dict[str, float]]:
    """Twin of the timeline: one row a step with `step`, each metric and its baseline (NaN where absent)."""
    rows: list[dict[str, float]] = []
    for foresight in sorted(foresights, key=lambda item: item.step):
        row: dict[str, float] = {"step": float(foresight.step)}
        for name in names:
            for key in (name, name + BASELINE):
                row[key] = foresight.metrics.get(key, math.nan)
        rows.append(row)
    return rows

"""The figures that an inspection did not compute, each with the reason: nothing is left out in silence."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from trainer.metrics.catalog import METRICS

_BY_VIEW = ("depth.", "future_rgb.", "future_depth.")
_NO_STEP = "no predicted step has what it needs: a future frame, or something that moves"


def all_metrics(views: Sequence[str]) -> list[str]:
    """Every full name of the catalogue for a policy with these views."""
    by_view = [f"{view}.{name}" for view in views for name in METRICS if name.startswith(_BY_VIEW)]
    return by_view + [name for name in METRICS if not name.startswith(_BY_VIEW)]


def not_computed(computed: Collection[str], views: Sequence[str], reasons: Mapping[str, str]) -> list[dict[str, Any]]:
    """Name, null and reason of every figure without a value.

    Args:
        computed: Names of the figures that have one.
        views: Of the policy.
        reasons: By the start of a name (`trainer.data.absent.absent_metrics`); the longest that fits counts.
    """
    rows: list[dict[str, Any]] = []
    for name in all_metrics(views):
        if name not in computed:
            fitting = [start for start in reasons if name.startswith(start)]
            reason = reasons[max(fitting, key=len)] if fitting else _NO_STEP
            rows.append({"name": name, "value": None, "reason": reason})
    return rows

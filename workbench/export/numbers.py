"""The numbers of a whole episode as JSON and as a table that spreadsheets read."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from trainer.episodes.episode import Episode
from trainer.metrics.catalog import BASELINE, metric_of, skill

from ..charts.labels import label_of, model_names
from ..charts.tables import series_rows
from ..familiar import unfamiliar
from ..foresight import REMARKS, Foresight
from ..predict import CheckpointSummary
from ..pseudo import PSEUDO, is_pseudo

FORMAT = "foresight-workbench metrics 1"
_PACKAGES = ("torch", "numpy", "rerun-sdk", "matplotlib", "safetensors")


@dataclass(frozen=True, kw_only=True)
class SummaryRow:
    """A metric over the steps of one episode.

    Attributes:
        value: Mean over the steps that have a value; `baseline` likewise, `skill` from the two means.
        n: How many steps those are. Steps of one episode are not independent: no interval is given.
        truth: "recorded", or "pseudo" where it was estimated from the images: such a figure is no error.
    """

    name: str
    label: str
    unit: str
    value: float
    baseline: float | None
    skill: float | None
    n: int
    definition: str
    baseline_definition: str
    truth: Literal["recorded", "pseudo"] = "recorded"


def summary_rows(foresights: Sequence[Foresight]) -> list[SummaryRow]:
    """Every metric that at least one step has."""
    names = list(dict.fromkeys(name for foresight in foresights for name in model_names(foresight.metrics)))
    rows: list[SummaryRow] = []
    for name in names:
        pairs = np.array(
            [(f.metrics.get(name, math.nan), f.metrics.get(name + BASELINE, math.nan)) for f in foresights]
        )
        values = pairs[np.isfinite(pairs).all(axis=1)]
        if not len(values):
            continue
        value, baseline = (float(mean) for mean in values.mean(axis=0))
        metric, pseudo = metric_of(name), is_pseudo(name, foresights[0].remarks)
        rows.append(
            SummaryRow(
                name=name,
                label=label_of(name, pseudo=pseudo),
                unit=metric.unit,
                value=value,
                baseline=baseline,
                skill=_finite(skill(name, value, baseline)),
                n=len(values),
                definition=metric.definition,
                baseline_definition=metric.baseline,
                truth=PSEUDO if pseudo else "recorded",
            )
        )
    return rows


def provenance(episode: Episode, checkpoint: CheckpointSummary) -> dict[str, Any]:
    """Which episode, which weights, which programs: everything that the numbers depend on."""
    return {
        "format": FORMAT,
        "episode": {"name": episode.name.rpartition("/")[2], "sha256": episode.content_hash, **asdict(episode.info)},
        "unfamiliar": unfamiliar(episode.info, checkpoint.metadata),
        "checkpoint": {
            "name": checkpoint.name,
            "preset": checkpoint.preset,
            "weights": checkpoint.weights,
            "sha256": checkpoint.content_hash,
        },
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def metrics_json(
    facts: dict[str, Any],
    rows: Sequence[SummaryRow],
    foresights: Sequence[Foresight],
    missing: Sequence[dict[str, Any]],
    unreadable: Mapping[int, str],
) -> str:
    """Provenance, the summary and the numbers of every step; what has no value at a step is null.

    Args:
        facts: See `provenance`.
        rows: See `summary_rows`.
        foresights: The predicted steps.
        missing: The figures without a value at any step, with the reason (`not_computed`).
        unreadable: The steps that could not be predicted, each with the reason.
    """
    steps: list[dict[str, Any]] = [
        {
            "step": f.step,
            "metrics": {name: _finite(value) for name, value in f.metrics.items()},
            "attention": _attention(f),
        }
        for f in foresights
    ]
    steps += [{"step": step, "metrics": None, "attention": None, "reason": why} for step, why in unreadable.items()]
    steps.sort(key=lambda entry: entry["step"])
    summary = {
        "remarks": [REMARKS[name] for name in foresights[0].remarks] if foresights else [],
        "pseudo_truth": [row.name for row in rows if row.truth == PSEUDO],
        "summary": [asdict(row) for row in rows],
        "not_computed": list(missing),
    }
    return json.dumps({**facts, **summary, "steps": steps}, indent=1, allow_nan=False)


def numbers_csv(foresights: Sequence[Foresight]) -> str:
    """One line a step: every metric and its baseline; figures against an estimate have `(pseudo)` in their heading."""
    names = list(dict.fromkeys(name for foresight in foresights for name in model_names(foresight.metrics)))
    table = series_rows(foresights, names)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    remarks = foresights[0].remarks if foresights else ()
    marks = [f" ({PSEUDO})" if is_pseudo(name, remarks) else "" for name in names]
    keys = [key + mark for name, mark in zip(names, marks, strict=True) for key in (name, name + BASELINE)]
    writer.writerow(["step", *keys])
    for row in table:
        writer.writerow([int(row["step"]), *(_cell(value) for key, value in row.items() if key != "step")])
    return buffer.getvalue()


def _attention(foresight: Foresight) -> dict[str, Any]:
    """Where the action query looks, mean over layers and heads: share and lift of each token group, and entropy."""
    attention = foresight.attention
    mass = attention.to_group.mean(axis=(0, 1))
    shares = zip(attention.groups, mass, attention.group_uniform, strict=True)
    return {
        "entropy": float(attention.entropy.mean()),
        "groups": {
            name: {"share": float(share), "even": float(even), "lift": _finite(float(share / even)) if even else None}
            for name, share, even in shares
        },
    }


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

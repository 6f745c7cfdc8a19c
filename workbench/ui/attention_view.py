"""The answer behind the Attention tab: one method at one time as pictures, numbers and words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from trainer.episodes.episode import View

from ..attention import entropy
from ..attention.explain import Question
from ..attention.maps import NOW
from ..attention.measures import group_rows
from ..attention.methods import METHODS, SHARE, TARGETS
from ..attention.spatial import Picture, spread
from ..attention.weights import FLOW, Weights
from ..charts.colours import ATTENTION_SCALE
from ..charts.panels import attention_overlay, attribution_overlay
from ..foresight import Foresight
from .payload import Json, quantity, sheet

ImageAt = Callable[[View, int], UInt8[np.ndarray, "h w 3"]]
"""The recorded image of a view at a control step, in the size of the policy's image."""


def choices() -> Json:
    """The methods and targets there are, for the page's lists."""
    return {
        "methods": [
            {
                "id": name,
                "title": method.title,
                "queries": list(method.queries),
                "selects": method.selects,
                "targeted": method.targeted,
                "slow": method.slow,
            }
            for name, method in METHODS.items()
        ],
        "targets": [{"id": name, "title": target.title, "what": target.what} for name, target in TARGETS.items()],
        "points_bar": ATTENTION_SCALE.bar_html(gaps=False),
    }


def attention_payload(
    foresight: Foresight, question: Question, weights: Weights | None, age: int, image: ImageAt
) -> Json:
    """Everything the tab shows. Without weights (a slow method nobody has asked to run) only what is known anyway.

    Raises:
        ConfigError: The window has no frame of that age.
    """
    maps, method = foresight.attention.maps, METHODS[question.method]
    layers, heads = foresight.attention.entropy.shape
    payload: Json = {
        "t": foresight.step,
        "pending": weights is None,
        "layers": layers,
        "heads": heads,
        "queries": [name for name in method.queries if name in maps.rows],
        "frames": [{"age": back, "t": int(step)} for back, step in enumerate(maps.steps) if step >= 0],
        "what": _what(foresight, question),
        "heads_table": _head_rows(foresight, question.query),
    }
    if weights is None:
        return payload
    size = foresight.views["static"].rgb.shape[:2]
    uv = foresight.flow.uvz[:, 0, :2]
    found = spread(weights, maps, size=(size[0], size[1]), age=age, uv=uv)
    pictures = [picture for picture in found.pictures if picture.view in foresight.views]
    return payload | {
        "overlays": _overlays(
            pictures, weights, len(next(iter(maps.patches.values()))[0, 0]), image, int(maps.steps[age])
        ),
        "elsewhere": [[name, _amount(value, weights.unit)] for name, value in found.elsewhere.items()],
        "groups": _group_table(weights, foresight),
        "facts": _facts(weights, foresight),
    }


def _what(foresight: Foresight, question: Question) -> list[str]:
    """What is multiplied, and what cannot be drawn."""
    method = METHODS[question.method]
    lines = [method.what]
    if method.targeted:
        target = TARGETS[question.target]
        lines.append(f"y: {target.what}, {target.unit}.")
    if method.source:
        lines.append(f"Source: {method.source}.")
    if FLOW not in foresight.attention.maps.names:
        lines.append("This policy has no FLOW tokens: nothing goes through the flow decoder.")
    elif question.method == "tokens":
        lines.append("FLOW tokens are queries, so nothing is shared out over flow points.")
    return lines


def _overlays(pictures: list[Picture], weights: Weights, patches: int, image: ImageAt, step: int) -> list[Json]:
    """Pictures over their images. Signed ones share one scale, in the target's unit per patch."""
    signed = METHODS[weights.method].signed
    limit = _round_up(max((float(np.abs(p.pixels).max()) * p.pixels.size / patches for p in pictures), default=0.0))
    made: list[Json] = []
    for picture in pictures:
        rgb = image(picture.view, int(step))
        if signed:
            per_patch = picture.pixels * (picture.pixels.size / patches)
            panel = attribution_overlay(rgb, per_patch, limit=limit, unit=f"{weights.unit} per patch")
        else:
            peak = ATTENTION_SCALE.high if picture.path == "flow" else None
            panel = (
                attention_overlay(rgb, picture.pixels, peak=peak) if peak else attention_overlay(rgb, picture.pixels)
            )
        made.append(
            {
                "path": picture.path,
                "view": picture.view,
                "t": int(step),
                "mass": _amount(picture.mass, weights.unit),
                "bar": panel.scale.bar_html(gaps=False) if panel.scale else "",
                **sheet([panel]),
            }
        )
    return made


def _group_table(weights: Weights, foresight: Foresight) -> list[list[Any]]:
    """Token groups that may be seen: newest frame apart, the frames before it together."""
    maps = foresight.attention.maps
    shares = weights.unit == SHARE
    now: list[list[Any]] = []
    earlier: dict[str, list[float]] = {}
    for row in group_rows(weights.tokens, maps, weights.query):
        if row.age in (None, NOW):
            now.append(_group_cells(row.name, row.tokens, row.mass, row.uniform, weights.unit, shares=shares))
        else:
            sums = earlier.setdefault(row.name, [0, 0.0, 0.0])
            for index, value in enumerate((row.tokens, row.mass, row.uniform)):
                sums[index] += value
    past = [
        _group_cells(f"{name}, earlier", int(tokens), mass, even, weights.unit, shares=shares)
        for name, (tokens, mass, even) in earlier.items()
    ]
    return now + past


def _group_cells(name: str, tokens: int, mass: float, even: float, unit: str, *, shares: bool) -> list[Any]:
    lift = f"{mass / even:.2f} x" if shares else None
    return [name, tokens, _amount(mass, unit), f"{100 * even:.1f} %" if shares else None, lift]


def _head_rows(foresight: Foresight, query: str) -> list[list[Any]]:
    """By layer and head: what lies on FLOW (of the action query; FLOW's own rows see themselves), and entropy."""
    maps = foresight.attention.maps
    if query not in maps.rows:
        return []
    rows, allowed, on_flow = maps.rows[query], maps.allowed[query], maps.keys(FLOW)
    even = float(allowed[on_flow].sum() / max(int(allowed.sum()), 1))
    spreads: Float[np.ndarray, "m n"] = entropy(rows, allowed)
    table: list[list[Any]] = []
    for (layer, head), value in np.ndenumerate(spreads):
        mass = float(rows[layer, head, on_flow].sum())
        on = [f"{100 * mass:.1f} %", f"{100 * even:.1f} %", f"{mass / even:.2f} x"] if even else [None] * 3
        table.append([layer + 1, head + 1, *on, f"{value:.2f}"])
    return table


def _facts(weights: Weights, foresight: Foresight) -> list[list[str | None]]:
    """Numbers of the whole answer: entropy of a distribution, completeness of an attribution."""
    if weights.unit == SHARE:
        spread_out = float(entropy(weights.tokens, foresight.attention.maps.allowed[weights.query]))
        return [["entropy / log(keys)", f"{spread_out:.2f}"], ["sum of all weights", _amount(weights.total, SHARE)]]
    unit = weights.unit
    return [
        ["y now", quantity(weights.value, unit)],
        ["y at the baseline", quantity(weights.baseline, unit)],
        ["sum of all weights", quantity(weights.total, unit, sign=True)],
        ["completeness: missed by", quantity(weights.delta, unit, sign=True)],
    ]


def _amount(value: float, unit: str) -> str | None:
    return f"{100 * value:.1f} %" if unit == SHARE else quantity(value, unit, sign=True)


def _round_up(value: float) -> float:
    """The next of 1, 2, 5 times a power of ten: a scale that does not change with every step."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9)))

"""Structural checks: the mask that reaches attention, rows without a key, padding, and what capture returns.

Dimensions: n token, h heads, r rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from .adapter import Padding, Subject, computed_rows
from .intercept import ArrivedMask, intercept, placed_mask
from .perturbation import Trial, run_trials
from .report import Audit, Verdict
from .sequence import TokenTable
from .tape import record

PLACES = 8
_HUGE = 1e4
"""A row whose best entry lies this far below zero has no allowed key, only large negative constants."""
CAPTURE_TOLERANCE = 1e-5


@runtime_checkable
class Capturing(Protocol):
    """A subject that returns attention.

    Attributes:
        captured_rows: Positions whose attention is returned.
    """

    @property
    def captured_rows(self) -> Int64[Tensor, " r"]:
        """Their number and order are those of the captured rows."""
        ...

    def captured(self, tokens: Float[Tensor, "1 n d"]) -> dict[int, Float[Tensor, "1 h r n"]]:
        """Probabilities by layer, counted from 1."""
        ...


@dataclass(frozen=True, kw_only=True)
class Structure:
    """What was read at attention in one mode.

    Attributes:
        masks: By layer, what was allowed; empty if some layer showed no mask.
        soft: By layer, pairs with a finite constant in place of -inf.
        audits: The verdicts on it.
    """

    masks: tuple[Bool[Tensor, "n n"], ...]
    soft: tuple[Bool[Tensor, "n n"], ...]
    audits: tuple[Audit, ...]

    @property
    def holds(self) -> bool:
        """Everything that was read is as declared."""
        return all(audit.verdict is Verdict.OK for audit in self.audits)


def audit_structure(
    subject: Subject,
    mode: str,
    declared: Bool[Tensor, "n n"],
    tokens: Float[Tensor, "1 n d"],
    padding: Padding | None = None,
) -> Structure:
    """Compares the mask of every layer, token by token and for all frames, with the declared one."""
    table, count = subject.table, len(subject.layers)
    wanted = declared if padding is None else declared & ~padding.hidden
    layers = subject.layers
    with subject.running(mode) as forward, torch.no_grad(), intercept(layers) as arrived, record(layers) as calls:
        forward(tokens, padding)
    kept, computed = _positions(tokens, calls[0].tokens), computed_rows(subject, mode, padding).nonzero()[:, 0]
    placed = [placed_mask(item, wanted, kept, computed) for item in arrived]
    whole = [item for item in placed if item is not None]
    by_layer = [[item for item in whole if item.layer == layer] for layer in range(1, count + 1)]
    soft = [_soft(items, wanted) for items in by_layer]
    where = mode if padding is None else f"{mode}, {padding.name}"
    unseen = [layer for layer, items in enumerate(by_layer, 1) if not items]
    masks = [torch.stack([item.allowed for item in items]).any(0) for items in by_layer if items]
    audits = (
        _audit_masks(table, f"mask structure ({where})", wanted, whole, unseen),
        _audit_rows(table, f"degenerate rows ({where})", whole),
    )
    return Structure(masks=() if unseen else tuple(masks), soft=tuple(soft), audits=audits)


def _positions(tokens: Float[Tensor, "1 n d"], given: Float[Tensor, "b m d"]) -> Int64[Tensor, " m"]:
    """Which tokens a first layer was given: found by their values, where it was not given all of them."""
    if given.shape[1] == tokens.shape[1]:
        return torch.arange(tokens.shape[1])
    same = (given[0][:, None] == tokens[0]).all(-1)
    return same.int().argmax(1).cpu() if bool(same.any(1).all()) else torch.empty(0, dtype=torch.int64)


def _soft(items: Sequence[ArrivedMask], wanted: Tensor) -> Tensor:
    found = torch.zeros_like(wanted)
    for item in items:
        constant = ~item.constant.isnan()
        # Scores before a softmax are finite where attention is allowed; a mask that is added is not.
        found |= constant & ~wanted if item.kind == "softmax" else constant
    return found


def _audit_masks(
    table: TokenTable, name: str, wanted: Tensor, items: Sequence[ArrivedMask], unseen: Sequence[int]
) -> Audit:
    leaks: list[str] = []
    dead: list[str] = []
    counts = [0, 0]
    for item in items:
        extra, lacking = (item.allowed & ~wanted) | _soft([item], wanted), wanted & ~item.allowed
        counts = [counts[0] + int(extra.sum()), counts[1] + int(lacking.sum())]
        leaks += [_place(table, item, pair) for pair in _first_of_cells(table, extra)]
        dead += [_place(table, item, pair) for pair in _first_of_cells(table, lacking)]
    if counts[0] or counts[1]:
        return Audit(
            name=name,
            verdict=Verdict.LEAK if counts[0] else Verdict.DEAD,
            detail=f"the mask that reaches attention allows {counts[0]} token pairs too many and {counts[1]} too few, "
            f"summed over {len(items)} calls",
            places=tuple((leaks + dead)[:PLACES]),
        )
    if unseen:
        layers = ", ".join(map(str, unseen))
        detail = f"no attention over the whole sequence was seen in layers {layers}: their mask could not be read"
        return Audit(name=name, verdict=Verdict.UNDECIDED, detail=detail)
    return Audit(
        name=name,
        verdict=Verdict.OK,
        detail=f"boolean or 0 / -inf and as declared in all {len(items)} calls of attention",
    )


def _audit_rows(table: TokenTable, name: str, items: Sequence[ArrivedMask]) -> Audit:
    places: list[str] = []
    for item in items:
        value = torch.where(item.constant.isnan(), 0.0, item.constant)
        best = torch.where(item.allowed, value, -math.inf).amax(1)
        places += [f"layer {item.layer}: {table.label(row)}" for row in (best < -_HUGE).nonzero()[:, 0].tolist()]
    if not places:
        return Audit(name=name, verdict=Verdict.OK, detail="every row may attend to something")
    detail = f"{len(places)} rows may attend to nothing: uniform, zero or NaN, depending on the kernel"
    return Audit(name=name, verdict=Verdict.LEAK, detail=detail, places=tuple(places[:PLACES]))


def _first_of_cells(table: TokenTable, pairs: Tensor) -> list[tuple[int, int]]:
    """One pair for every (group, group, relation) among them."""
    found: dict[tuple[int, int, int], tuple[int, int]] = {}
    if not bool(pairs.any()):
        return []
    group, relation = table.group.tolist(), table.relation
    for row, column in pairs.nonzero().tolist():
        found.setdefault((group[row], group[column], int(relation[row, column])), (row, column))
    return list(found.values())


def _place(table: TokenTable, item: ArrivedMask, pair: tuple[int, int]) -> str:
    row, column = pair
    value = float(item.constant[row, column])
    state = "is hidden" if not bool(item.allowed[row, column]) else "is let through"
    if not math.isnan(value):
        state = f"holds {value:.4g}" if item.kind == "fused" else f"has the finite score {value:.4g}"
    return f"layer {item.layer}: {table.label(row)} <- {table.label(column)} {state}"


def audit_padding(
    subject: Subject, mode: str, tokens: Float[Tensor, "1 n d"], padding: Padding, *, name: str | None = None
) -> Audit:
    """Other tokens where the sequence is padded: no row that is real may change by a bit."""
    table, name = subject.table, name or f"padding ({padding.name})"
    real = ~padding.hidden & computed_rows(subject, mode, padding)
    hidden = padding.hidden.nonzero()[:, 0]
    blocks = [
        (group, frame) for group, frame in table.blocks() if bool(padding.hidden[table.positions(group, frame)[0]])
    ]
    trials = [Trial(keys=hidden, block=False)]
    with subject.running(mode) as forward:
        change = run_trials(subject, forward, tokens, trials, padding=padding)[0, -1]
        moved = ((change != 0) & real).nonzero()[:, 0].tolist()
        if not moved:
            detail = f"{len(hidden)} hidden tokens were replaced, {_rows(int(real.sum()))} bitwise the same"
            return Audit(name=name, verdict=Verdict.OK, detail=detail)
        trials = [Trial(keys=table.positions(*block), block=True) for block in blocks]
        by_block = run_trials(subject, forward, tokens, trials, padding=padding)[:, -1]
    places: dict[tuple[int, int], str] = {}
    for (group, _), trial, moves in zip(blocks, trials, by_block, strict=True):
        for row in ((moves != 0) & real).nonzero()[:, 0].tolist():
            key = (int(table.group[row]), group)
            places.setdefault(key, f"{table.label(row)} <- {table.label(int(trial.keys[0]))}")
    detail = f"{len(moved)} real rows change with tokens that nobody may attend to"
    return Audit(name=name, verdict=Verdict.LEAK, detail=detail, places=tuple(list(places.values())[:PLACES]))


def _rows(count: int) -> str:
    return "1 real row is" if count == 1 else f"{count} real rows are"


def audit_capture(subject: Subject, declared: Bool[Tensor, "n n"], tokens: Float[Tensor, "1 n d"]) -> Audit | None:
    """Captured probabilities against the fused result and the mask; None if the subject captures nothing."""
    if not isinstance(subject, Capturing):
        return None
    rows = subject.captured_rows
    with torch.no_grad(), intercept(subject.layers) as arrived:
        captured = subject.captured(tokens)
    fused = {item.layer: item.fused for item in arrived if item.fused is not None}
    worst, places = 0.0, list[str]()
    for layer, found in captured.items():
        parts = fused.get(layer)
        if parts is None:
            detail = f"layer {layer} was captured without a fused call to compare with"
            return Audit(name="capture parity", verdict=Verdict.UNDECIDED, detail=detail)
        _, _, v, result = parts
        worst = max(worst, float((found.to(v.dtype) @ v - result[:, :, rows]).abs().max() / v.abs().max()))
        outside = (found[0] > 0).any(0).cpu() & ~declared[rows]
        places += [
            f"layer {layer}: {subject.table.label(int(rows[r]))} <- {subject.table.label(k)} is shown, not allowed"
            for r, k in outside.nonzero().tolist()[:1]
        ]
    missing = sorted(set(range(1, len(subject.layers) + 1)) - captured.keys())
    detail = f"captured attention times V differs from the fused result by {worst:.2g} of the largest value"
    if missing:
        return Audit(name="capture parity", verdict=Verdict.UNDECIDED, detail=f"layers {missing} were not captured")
    holds = worst <= CAPTURE_TOLERANCE and not places
    return Audit(
        name="capture parity",
        verdict=Verdict.OK if holds else Verdict.LEAK,
        detail=detail,
        places=tuple(places[:PLACES]),
    )

"""Influence by gradient: the exact zero pattern of d out / d in, by vector-Jacobian products.

Dimensions: b batch, n token, d width, p probe.

A probe is a set of output rows that must depend on the same inputs. One product with a random direction u over its rows
gives the gradient at every input token: exactly zero where no row looks, and where one does, zero with probability zero
(a plain sum would not do: the outputs of a LayerNorm sum to a constant).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .adapter import Forward, Subject, in_precision
from .evidence import Evidence
from .sequence import PREFIX_FRAME, TokenTable
from .tape import record


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Output rows measured together, with equal expectation.

    Attributes:
        rows: Positions.
        alone: They belong to one group and frame: an influence is an influence on that group.
    """

    rows: Tensor
    alone: bool = True


def make_probes(
    table: TokenTable, expected: Sequence[Bool[Tensor, "n n"]], frames: Sequence[int], *, single: bool
) -> list[Probe]:
    """One probe for each (group, frame) whose rows agree in every expectation, several where they do not.

    Args:
        table: Of the tokens.
        expected: What rows may depend on.
        frames: Whose outputs are read; the prefix always is.
        single: A probe for every row.
    """
    probes: list[Probe] = []
    for group, frame in table.blocks():
        if frame != PREFIX_FRAME and frame not in frames:
            continue
        alike: dict[bytes, list[int]] = {}
        for row in table.positions(group, frame).tolist():
            key = bytes([row % 256, row // 256]) if single else b"".join(m[row].numpy().tobytes() for m in expected)
            alike.setdefault(key, []).append(row)
        probes += [Probe(rows=torch.tensor(rows)) for rows in alike.values()]
    return probes


@dataclass(frozen=True)
class GradientEvidence:
    """End to end, and every layer alone (empty if not asked for)."""

    whole: Evidence
    layers: tuple[Evidence, ...]


def measure_gradients(
    subject: Subject,
    mode: str,
    tokens: Float[Tensor, "1 n d"],
    probes: Sequence[Probe],
    *,
    expected: Bool[Tensor, "n n"] | None,
    expected_layer: Bool[Tensor, "n n"] | None,
    dtype: torch.dtype,
    step: Callable[[], None] = lambda: None,
) -> GradientEvidence:
    """Gradients of all probes with respect to all tokens.

    What looks dead (expected, yet exactly zero) is measured once more in float64: attention weights underflow.

    Args:
        subject: What is measured.
        mode: How it is run.
        tokens: Assembled tokens.
        probes: Output rows.
        expected: What end to end may have an influence; None measures nothing end to end.
        expected_layer: The same of one layer; None measures no single layers.
        dtype: Of the first pass.
        step: Called after every probe.
    """
    length, layers = tokens.shape[1], len(subject.layers) if expected_layer is not None else 0
    found = GradientEvidence(Evidence.of(length), tuple(Evidence.of(length) for _ in range(layers)))
    stages = set(range(1, layers + 1)) | (set() if expected is None else {0})
    _pass(subject, mode, tokens, [(probe, stages) for probe in probes], found, dtype, step)
    if dtype != torch.float64:
        again = _suspects(found, probes, expected, expected_layer)
        if again:
            _pass(subject, mode, tokens, again, found, torch.float64, lambda: None)
    return found


def _suspects(
    found: GradientEvidence, probes: Sequence[Probe], expected: Tensor | None, expected_layer: Tensor | None
) -> list[tuple[Probe, set[int]]]:
    """Probes that look dead somewhere, and where: layers from 1, 0 = end to end."""
    stages = [(0, found.whole, expected)] if expected is not None else []
    stages += [
        (layer, item, expected_layer) for layer, item in enumerate(found.layers, 1) if expected_layer is not None
    ]
    again: list[tuple[Probe, set[int]]] = []
    for probe in probes:
        rows = probe.rows
        where = {stage for stage, item, allowed in stages if bool((allowed[rows] & ~item.active[rows]).any())}
        if where:
            again.append((probe, where))
    return again


def _pass(
    subject: Subject,
    mode: str,
    tokens: Tensor,
    wanted: Sequence[tuple[Probe, set[int]]],
    found: GradientEvidence,
    dtype: torch.dtype,
    step: Callable[[], None],
) -> None:
    """One forward pass, one product for each probe and stage: layers from 1, 0 = end to end."""
    with in_precision(subject.module, dtype), subject.running(mode) as forward, torch.enable_grad():
        x = tokens.to(dtype).requires_grad_()
        out, stages = _graph(subject, forward, x, bool(found.layers))
        columns = torch.arange(tokens.shape[1])
        for probe, where in wanted:
            if 0 in where:
                found.whole.add(probe.rows, columns, _product(out, x, probe.rows), alone=probe.alone)
            for layer, (given, made) in enumerate(stages, 1):
                if layer in where:
                    size = _product(made, given, probe.rows)
                    found.layers[layer - 1].add(probe.rows, columns, size, alone=probe.alone)
            step()


def _graph(
    subject: Subject, forward: Forward, x: Tensor, with_layers: bool
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Outputs, and what every layer was given and made, all in one graph."""
    if not with_layers:
        return forward(x), []
    with record(subject.layers) as calls:
        out = forward(x)
    return out, [(call.tokens, call.out) for call in calls]


def _product(out: Tensor, given: Tensor, rows: Tensor) -> Float[Tensor, " n"]:
    """Largest |u . d out[rows] / d given| over the channels of every token; u is a random unit vector a row.

    A row whose output is not a number was not measured: NaN for every token.
    """
    chosen = out[0, rows.to(out.device)]
    if not bool(chosen.isfinite().all()):
        return torch.full((given.shape[1],), torch.nan)
    rng = torch.Generator().manual_seed(int(rows[0]))
    direction = torch.randn(chosen.shape, dtype=torch.float64, generator=rng)
    direction = (direction / direction.norm(dim=-1, keepdim=True)).to(chosen)
    # The same as `grad(chosen, given, direction)`, which would import sympy for its shape check: a second of a proof.
    (gradient,) = torch.autograd.grad(
        (chosen * direction).sum(), given, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    size = gradient[0].abs()
    # A gradient that overflowed is an influence all the same.
    return torch.nan_to_num(size, nan=torch.finfo(size.dtype).max).amax(-1).cpu()

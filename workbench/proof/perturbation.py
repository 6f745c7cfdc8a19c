"""Influence by replacement: other tokens in some places, everything else alike, outputs compared bit by bit.

Dimensions: b batch, n token, d width, k trial, s stage.

What must have no influence is replaced all at once for each kind of output row: if the row is bitwise the same, none of
it had any. What may have one is replaced group by group, or token by token where a group is only partly allowed. Two
runs of equal shape are compared at the same place of the batch, since a kernel may round differently elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from .adapter import Forward, Padding, Subject
from .evidence import Evidence
from .report import Extent
from .sequence import PREFIX_FRAME, TokenTable, extent
from .tape import LayerCall, record

TOKENS = 1024
"""Tokens in one batch: enough for the matrix products, few enough for the caches and for captured attention."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One replacement.

    Attributes:
        keys: Positions that are replaced.
        block: They belong to one group and frame, so that a change can be attributed.
    """

    keys: Tensor
    block: bool


def forbidden_trials(expected: Bool[Tensor, "n n"], rows: Tensor) -> list[Trial]:
    """Few trials that together replace, for every row, all that it must not depend on, each sparing its own inputs.

    A trial's keys say something about the rows that may depend on none of them. So each is a rectangle of forbidden
    (row, key) pairs, and together they must cover all of these: a greedy cover, over rows and keys that differ.
    """
    kinds = ~torch.unique(expected[rows], dim=0)
    atoms, atom_of = torch.unique(kinds, dim=1, return_inverse=True)
    left = atoms.clone()
    trials: list[Trial] = []
    while bool(left.any()):
        keys = _rectangle(atoms, left)
        left &= ~((atoms | ~keys).all(1)[:, None] & keys)
        trials.append(Trial(keys=keys[atom_of].nonzero()[:, 0], block=False))
    return trials


def _rectangle(forbidden: Bool[Tensor, "r a"], left: Bool[Tensor, "r a"]) -> Bool[Tensor, " a"]:
    """Keys that, replaced together, say something new about as many (row, key) pairs as a greedy choice finds."""
    rows = torch.ones(len(forbidden), dtype=torch.bool)
    keys = torch.zeros(forbidden.shape[1], dtype=torch.bool)
    best = 0.0
    while True:
        covered = (left & keys).sum(1).float()
        gain = (forbidden & rows[:, None]).float().T @ covered + (left & rows[:, None] & ~keys).sum(0)
        gain[keys] = 0
        chosen = int(gain.argmax())
        if float(gain[chosen]) <= best:
            return keys
        best = float(gain[chosen])
        keys[chosen] = True
        rows &= forbidden[:, chosen]


def block_trials(
    table: TokenTable, partial: Sequence[Bool[Tensor, "n n"]], frames: Sequence[int], *, single: bool
) -> list[Trial]:
    """Every group at the given frames, whole, or by tokens where any of `partial` allows a part of it to some row."""
    trials: list[Trial] = []
    for group, frame in table.blocks():
        if frame != PREFIX_FRAME and frame not in frames:
            continue
        keys = table.positions(group, frame)
        split = single or any(_is_partial(table, mask, keys) for mask in partial)
        trials += (
            [Trial(keys=keys[i : i + 1], block=True) for i in range(len(keys))]
            if split
            else [Trial(keys=keys, block=True)]
        )
    return trials


def _is_partial(table: TokenTable, mask: Tensor, keys: Tensor) -> bool:
    """Whether some (group, frame) of rows may see a part of these keys."""
    return any(extent(mask[table.positions(*block)][:, keys]) is Extent.SOME for block in table.blocks())


def covering_frames(n_frames: int, outputs: Sequence[int]) -> list[int]:
    """Few frames that stand earlier than, in and later than some output frame, as far as that is possible."""
    possible = {_sign(k - q) for k in range(n_frames) for q in outputs}
    chosen: list[int] = []
    while {_sign(k - q) for k in chosen for q in outputs} != possible:
        missing = possible - {_sign(k - q) for k in chosen for q in outputs}
        # Of equally good frames the one nearest the middle.
        chosen.append(
            max(
                range(n_frames),
                key=lambda k: (len({_sign(k - q) for q in outputs} & missing), -abs(k - n_frames // 2)),
            )
        )
    return sorted(chosen)


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def replace(tokens: Float[Tensor, "1 n d"], trials: Sequence[Trial], *, seed: int) -> Float[Tensor, "k n d"]:
    """A copy for each trial, with other tokens of the same mean and spread by channel at its keys."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randn(tokens.shape, generator=rng).to(tokens)
    mean, spread = tokens.mean(1, keepdim=True), tokens.std(1, keepdim=True)
    other = mean + spread * noise
    changed = tokens.repeat(len(trials), 1, 1)
    for index, trial in enumerate(trials):
        changed[index, trial.keys] = other[0, trial.keys]
    return changed


@torch.no_grad()
def run_trials(
    subject: Subject,
    forward: Forward,
    tokens: Float[Tensor, "1 n d"],
    trials: Sequence[Trial],
    *,
    by_layer: bool = False,
    padding: Padding | None = None,
    step: Callable[[], None] = lambda: None,
) -> Float[Tensor, "k s n"]:
    """How much every row changed in every trial: after each layer if `by_layer`, and at the end.

    NaN where the row is not a number without any replacement.
    """

    def run(batch: Tensor) -> list[Tensor]:
        if not by_layer:
            return [forward(batch, padding)]
        with record(subject.layers) as calls:
            out = forward(batch, padding)
        return [*(call.out for call in calls), out]

    return _compare(run, tokens, trials, step)


@torch.no_grad()
def run_layer_trials(call: LayerCall, trials: Sequence[Trial]) -> Float[Tensor, "k n"]:
    """The same for one layer alone, on the tokens that it was given."""
    return _compare(lambda batch: [call.again(batch)], call.tokens.detach(), trials, lambda: None)[:, -1]


def _compare(
    run: Callable[[Tensor], list[Tensor]], tokens: Tensor, trials: Sequence[Trial], step: Callable[[], None]
) -> Float[Tensor, "k s n"]:
    size = min(max(1, TOKENS // tokens.shape[1]), len(trials))
    clean = run(tokens.repeat(size, 1, 1)) if trials else []
    parts: list[Tensor] = []
    for start in range(0, len(trials), max(size, 1)):
        batch = list(trials[start : start + size])
        filled = batch + batch[-1:] * (size - len(batch))
        made = run(replace(tokens, filled, seed=start))
        stages = [_change(before, after) for before, after in zip(clean, made, strict=True)]
        parts.append(torch.stack(stages, 1)[: len(batch)].cpu())
        for _ in batch:
            step()
    return torch.cat(parts) if parts else torch.zeros(0, 1, tokens.shape[1])


def _change(before: Float[Tensor, "b n d"], after: Float[Tensor, "b n d"]) -> Float[Tensor, "b n"]:
    """Largest |difference| of every row; infinite where it stopped being a number, NaN where it was none before.

    Numbers that differ have a difference that is not zero: gradual underflow.
    """
    size = (after - before).abs().amax(-1).float()
    if not bool(size.isfinite().all()):
        differs = torch.where(before == after, 0.0, (after.double() - before.double()).abs())
        size = torch.nan_to_num(differs, nan=torch.inf, posinf=torch.inf).amax(-1)
        size = size.clamp_max(torch.finfo(torch.float32).max).float()
        return torch.where(before.isfinite().all(-1), size, torch.nan)
    return size


def note_trials(
    found: Evidence, trials: Sequence[Trial], change: Float[Tensor, "k n"], expected: Bool[Tensor, "n n"]
) -> bool:
    """Adds trials to the evidence; True if a change that must not be could not be attributed to one group."""
    unresolved = False
    for trial, moved in zip(trials, change.double(), strict=True):
        alone = len(trial.keys) == 1
        if trial.block:
            found.add(torch.arange(len(moved)), trial.keys, moved[:, None], alone=alone)
            continue
        still = (moved == 0).nonzero()[:, 0]
        found.add(still, trial.keys, 0.0, alone=alone)
        depends = expected[:, trial.keys].any(1)
        unresolved |= bool(((moved > 0) & ~depends).any())
    return unresolved


def first_change(trials: Sequence[Trial], change: Float[Tensor, "k s n"]) -> Int64[Tensor, "n n"]:
    """After how many layers column (with its group) first changed row; 0 where it did not, or was not measured."""
    length = change.shape[2]
    first = torch.zeros(length, length, dtype=torch.int64)
    moved = (change > 0).int()
    stage = torch.where(moved.any(1), moved.argmax(1) + 1, 0)
    for trial, when in zip(trials, stage, strict=True):
        if trial.block:
            first[:, trial.keys] = when[:, None]
    return first

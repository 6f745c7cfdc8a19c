"""What all measurements of one proof share, and the measurements themselves in one mode.

Dimensions: n token, d width, k trial.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from .adapter import Forward, Subject
from .evidence import Evidence
from .gradient import Probe, make_probes, measure_gradients
from .perturbation import (
    Trial,
    block_trials,
    covering_frames,
    first_change,
    forbidden_trials,
    note_trials,
    run_layer_trials,
    run_trials,
)
from .reach import reach, with_self
from .sequence import PREFIX_FRAME
from .tape import record

_SMALL = 2e9
"""Multiplications of one forward pass up to which float64 costs nothing to speak of."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One proof's subject and questions.

    Attributes:
        subject: What is measured.
        declared: The mask of one layer.
        tokens: Assembled tokens, random.
        frames: Whose outputs are read.
        single: Token by token everywhere.
        seed: Of the tokens.
        only: The rows that a mode computes; None if it computes all.
    """

    subject: Subject
    declared: Bool[Tensor, "n n"]
    tokens: Float[Tensor, "1 n d"]
    frames: tuple[int, ...]
    single: bool
    seed: int
    only: Bool[Tensor, " n"] | None = None

    def restricted(self, computed: Bool[Tensor, " n"]) -> Setting:
        """The same questions about the outputs that a mode computes."""
        frames = self.subject.table.frame[computed].unique().tolist()
        return self if bool(computed.all()) else dataclasses.replace(self, only=computed, frames=tuple(frames))

    @cached_property
    def expected_layer(self) -> Bool[Tensor, "n n"]:
        """What one layer connects."""
        return with_self(self.declared)

    @cached_property
    def expected(self) -> Bool[Tensor, "n n"]:
        """What all layers together connect."""
        return reach([self.declared] * len(self.subject.layers))

    @cached_property
    def rows(self) -> Bool[Tensor, " n"]:
        """Positions whose outputs are read: the prefix and the chosen frames."""
        rows = torch.isin(self.subject.table.frame, torch.tensor([PREFIX_FRAME, *self.frames]))
        return rows if self.only is None else rows & self.only

    @property
    def dtype(self) -> torch.dtype:
        """Of the gradients' first pass."""
        n, d = self.tokens.shape[1:]
        return torch.float64 if len(self.subject.layers) * n * d * d * 12 < _SMALL else torch.float32

    def probes(self, *, merged: bool = False) -> list[Probe]:
        """Output rows to differentiate; `merged` takes one for all rows of equal expectation."""
        both = (self.expected_layer, self.expected)
        if not merged:
            return make_probes(self.subject.table, both, self.frames, single=self.single)
        rows = self.rows.nonzero()[:, 0]
        kinds = torch.unique(torch.cat([item[rows] for item in both], 1), dim=0, return_inverse=True)[1]
        return [Probe(rows=rows[kinds == kind], alone=False) for kind in range(int(kinds.max()) + 1)]

    @cached_property
    def blocks(self) -> list[Trial]:
        """Replacements that name a cell each, in few frames that cover every relation.

        By tokens only where a group is partly allowed: gradients tell the others apart.
        """
        return self._blocks(covering_frames(self.subject.table.n_frames, self.frames), single=False)

    @cached_property
    def blocks_everywhere(self) -> list[Trial]:
        """The same in all frames, token by token if `single`."""
        return self._blocks(range(self.subject.table.n_frames), single=self.single)

    def _blocks(self, frames: Sequence[int], *, single: bool) -> list[Trial]:
        return block_trials(self.subject.table, (self.expected_layer, self.expected), frames, single=single)


@dataclass(frozen=True)
class TrialEvidence:
    """What replacements showed; `first` as in `first_change`, `clean` if nothing forbidden had an influence."""

    whole: Evidence
    first: Int64[Tensor, "n n"]
    clean: bool


def gradients(setting: Setting, mode: str, step: Callable[[], None], *, merged: bool = False) -> Evidence:
    """End to end; `merged` takes all rows of equal expectation together."""
    return measure_gradients(
        setting.subject,
        mode,
        setting.tokens,
        setting.probes(merged=merged),
        expected=setting.expected,
        expected_layer=None,
        dtype=setting.dtype,
        step=step,
    ).whole


def layer_gradients(setting: Setting, mode: str, step: Callable[[], None]) -> tuple[Evidence, ...]:
    """Every layer alone. Of a large subject rows of equal expectation are taken together, as long as all is well."""

    def measure(probes: Sequence[Probe]) -> tuple[Evidence, ...]:
        return measure_gradients(
            setting.subject,
            mode,
            setting.tokens,
            probes,
            expected=None,
            expected_layer=setting.expected_layer,
            dtype=setting.dtype,
            step=step,
        ).layers

    if setting.dtype != torch.float64 and not setting.single:
        found, expected = measure(setting.probes(merged=True)), setting.expected_layer & setting.rows[:, None]
        if all(torch.equal(item.active & item.measured, expected) for item in found):
            return found
    return measure(setting.probes())


def replacements(
    setting: Setting, forward: Forward, *, by_layer: bool, blocks: Sequence[Trial], step: Callable[[], None]
) -> TrialEvidence:
    """End to end: everything forbidden at once, then `blocks` and, where anything forbidden changes, all of them.

    Args:
        setting: Of the proof.
        forward: The subject in its mode.
        by_layer: Also notes after how many layers a change appears; not while compiled.
        blocks: Replacements made even where nothing forbidden has an influence.
        step: Called after every trial.
    """
    expected, length = setting.expected, setting.tokens.shape[1]
    whole, first = Evidence.of(length), torch.zeros(length, length, dtype=torch.int64)

    def run(trials: list[Trial]) -> bool:
        change = run_trials(setting.subject, forward, setting.tokens, trials, by_layer=by_layer, step=step)
        torch.maximum(first, first_change(trials, change), out=first)
        return note_trials(whole, trials, change[:, -1], expected)

    forbidden = forbidden_trials(expected, setting.rows.nonzero()[:, 0])
    unresolved = run([*forbidden, *blocks])
    if unresolved and blocks is not setting.blocks_everywhere:
        run(setting.blocks_everywhere)
    return TrialEvidence(whole, first, not unresolved)


def layer_replacements(setting: Setting, forward: Forward, step: Callable[[], None]) -> tuple[Evidence, ...]:
    """The same for every layer alone, on the tokens that it is given."""
    expected, length = setting.expected_layer, setting.tokens.shape[1]
    with torch.no_grad(), record(setting.subject.layers) as calls:
        forward(setting.tokens)
    found: list[Evidence] = []
    forbidden = forbidden_trials(expected, setting.rows.nonzero()[:, 0])
    for call in calls:
        evidence = Evidence.of(length)
        trials = [*forbidden, *setting.blocks]
        unresolved = note_trials(evidence, trials, run_layer_trials(call, trials), expected)
        if unresolved:
            everywhere = setting.blocks_everywhere
            note_trials(evidence, everywhere, run_layer_trials(call, everywhere), expected)
        found.append(evidence)
        step()
    return tuple(found)

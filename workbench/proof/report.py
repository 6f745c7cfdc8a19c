"""What a proof found: plain frozen dataclasses, made by `prove`, read by the command line, the page and JSON.

Vocabulary: an *attender* (row, output) may look at an *attended* token (column, input). A *cell* is an ordered pair of
token groups and a time relation; it stands for all its token pairs. The *mask* says what one layer lets through, the
*reach* what all layers together let through: its boolean closure. No torch, no numpy: `dataclasses.asdict` gives JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Relation(StrEnum):
    """When the attended token stands, seen from the attender; tokens before frame 0 are earlier than all frames."""

    EARLIER = "earlier"
    SAME = "same"
    LATER = "later"


class Extent(StrEnum):
    """How many token pairs of a cell."""

    NONE = "none"
    SOME = "some"
    ALL = "all"


class Verdict(StrEnum):
    """OK: as declared. LEAK: more than declared. DEAD: allowed, yet without influence. UNDECIDED: not shown."""

    OK = "OK"
    LEAK = "LEAK"
    DEAD = "DEAD"
    UNDECIDED = "UNDECIDED"


_WORST = (Verdict.LEAK, Verdict.DEAD, Verdict.UNDECIDED, Verdict.OK)


def worst(verdicts: Sequence[Verdict]) -> Verdict:
    """LEAK before DEAD before UNDECIDED before OK."""
    return min(verdicts, key=_WORST.index, default=Verdict.OK)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Neighbouring tokens of one kind.

    Attributes:
        name: As in the layout of the model.
        count: Tokens in every frame, or in all if `prefix`.
        prefix: They stand once, before frame 0.
    """

    name: str
    count: int
    prefix: bool = False


@dataclass(frozen=True, kw_only=True)
class Influence:
    """What one method measured on one cell.

    Attributes:
        extent: None, some or all of the measured token pairs.
        measured: Token pairs (probes) that were measured ...
        active: ... and that had an influence.
        leaking: Measured pairs with an influence that must have none.
        dead: Measured pairs without an influence that should have one.
        magnitude: The largest influence: |d out . u / d in| for a random unit direction u, or |change of out|.
    """

    extent: Extent
    measured: int
    active: int
    leaking: int
    dead: int
    magnitude: float


@dataclass(frozen=True, kw_only=True)
class LayerResult:
    """One cell in one layer alone, compared with the declared mask.

    Attributes:
        layer: Counted from 1.
        gradient, perturbation: None where the method was not used.
        verdict: Of both methods together.
    """

    layer: int
    gradient: Influence | None
    perturbation: Influence | None
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One ordered pair of groups and a time relation.

    Attributes:
        attender: Group whose outputs are read; for a decoder its name, e.g. `flow decoder`.
        attended: Group whose inputs are changed.
        relation: Of the attended frame to the attender's.
        declared: Pairs that one layer may connect.
        reach: Pairs that all layers together may connect: what the end-to-end measurement is compared with.
        gradient, perturbation: End to end, assembled tokens in, trunk outputs out.
        layers: Each layer alone, compared with `declared`. Empty for decoders.
        verdict: Of everything in this cell.
        magnitude: The largest end-to-end influence, gradient if measured.
        first_layer: After how many layers the measured influence first appears; None without an influence.
        path: How it flows, from the attended to the attender: `FLOW@2 -> ACT@2 (layer 1)`, ...; empty if it does not.
        example: Two token positions, `GROUP[i]@frame <- GROUP[j]@frame`, that show the verdict.
        detail: One sentence.
        reproducer: One line of Python that shows it again; empty for OK.
    """

    attender: str
    attended: str
    relation: Relation
    declared: Extent
    reach: Extent
    gradient: Influence | None
    perturbation: Influence | None
    layers: tuple[LayerResult, ...]
    verdict: Verdict
    magnitude: float
    first_layer: int | None
    path: tuple[str, ...]
    example: str
    detail: str
    reproducer: str

    @property
    def name(self) -> str:
        """`ACT <- FLOW, same frame`."""
        when = "same frame" if self.relation is Relation.SAME else f"{self.relation.value} frame"
        return f"{self.attender} <- {self.attended}, {when}"


@dataclass(frozen=True, kw_only=True)
class Audit:
    """One structural check.

    Attributes:
        name: `mask structure`, `degenerate rows`, `padding`, `NaN hygiene`, `capture parity`, ...
        verdict: OK, LEAK, DEAD or UNDECIDED.
        detail: One sentence.
        places: Where, e.g. `layer 3: ACT[0]@1 <- FLOW[0]@0 holds -100`; the first few.
    """

    name: str
    verdict: Verdict
    detail: str
    places: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ModeResult:
    """One way of running the model.

    Attributes:
        mode: `eager`, `sdpa`, `capture`, `compiled`, `checkpointed`, `autocast`, `train`, `eval`.
        verdict: Of pattern and agreement together.
        difference: Largest |output - output of the reference mode|; None where outputs are random (train).
        tolerance: What `difference` may be.
        findings: Cells that are not OK in this mode (the reference mode's are in `ProofReport.cells`).
        detail: One sentence: what was measured in this mode.
        seconds: Time spent.
    """

    mode: str
    verdict: Verdict
    difference: float | None
    tolerance: float | None
    findings: tuple[Cell, ...]
    detail: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ProofReport:
    """All of it.

    Attributes:
        subject: What was proved: preset, checkpoint or class name.
        spec: Name of the declared mask.
        level: `group` or `token`.
        groups: In the order of a frame, prefix first.
        n_frames: Frames of the sequence.
        n_layers: Layers of the trunk.
        output_frames: Frames whose outputs were read; -1 is the prefix.
        reference: Mode in which `cells` were measured.
        dtype: Of the gradients' first pass; what looks dead in float32 is measured again in float64.
        cells: Every ordered pair of groups and every time relation that exists.
        decoders: What each decoder reads, alone, zero-initialised heads drawn.
        audits: Structural checks.
        modes: Every execution mode that was asked for.
        versions: Of Python, torch, this package, ...
        hashes: sha256 of weights, declared mask, configuration.
        seed: Of tokens, directions and noise.
        seconds: Time spent.
    """

    subject: str
    spec: str
    level: str
    groups: tuple[Group, ...]
    n_frames: int
    n_layers: int
    output_frames: tuple[int, ...]
    reference: str
    dtype: str
    cells: tuple[Cell, ...]
    decoders: tuple[Cell, ...]
    audits: tuple[Audit, ...]
    modes: tuple[ModeResult, ...]
    versions: dict[str, str]
    hashes: dict[str, str]
    seed: int
    seconds: float

    @property
    def holds(self) -> bool:
        """Everything measured is as declared, in every mode; UNDECIDED does not hold."""
        return all(part.verdict is Verdict.OK for part in (*self.cells, *self.decoders, *self.audits, *self.modes))

    @property
    def counts(self) -> dict[Verdict, int]:
        """Cells (trunk and decoders) by verdict."""
        found = Counter(cell.verdict for cell in (*self.cells, *self.decoders))
        return {verdict: found[verdict] for verdict in Verdict}

    def cell(self, attender: str, attended: str, relation: Relation) -> Cell:
        """One cell by name; KeyError if there is none."""
        for cell in (*self.cells, *self.decoders):
            if (cell.attender, cell.attended, cell.relation) == (attender, attended, relation):
                return cell
        raise KeyError(f"no cell {attender} <- {attended}, {relation.value}")

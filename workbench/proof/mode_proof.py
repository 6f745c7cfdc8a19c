"""The other ways of running the model: the same pattern, the same outputs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .adapter import Subject, computed_rows
from .audit import Structure, audit_structure
from .findings import Findings, Reproduction
from .modes import INEXACT, NOT_BY_LAYER, TOLERANCE
from .report import Audit, Cell, ModeResult, Verdict, worst
from .setting import Setting, gradients, replacements
from .verdict import judge


@dataclass(frozen=True)
class ModeProof:
    """One mode's result and what was read at its attention."""

    result: ModeResult
    audits: tuple[Audit, ...]


@torch.no_grad()
def outputs(subject: Subject, mode: str, tokens: Float[Tensor, "1 n d"]) -> Float[Tensor, "n d"]:
    """Trunk outputs in a mode."""
    with subject.running(mode) as forward:
        return forward(tokens)[0].double().cpu()


def prove_mode(
    setting: Setting,
    mode: str,
    reference: Float[Tensor, "n d"],
    again: Reproduction,
    step: Callable[[], None] = lambda: None,
) -> ModeProof:
    """Everything forbidden is replaced at once and must change nothing; outputs must agree; masks are read if possible.

    Where any of these fails, and where rounding or a compiler stands between, every group is replaced by itself too: so
    the cell has a name.

    Args:
        setting: Of the proof.
        mode: The way of running.
        reference: Outputs in the reference mode.
        again: For reproducers.
        step: Called after every measurement.
    """
    start = time.perf_counter()
    try:
        return _prove(setting, mode, reference, again, start, step)
    except (RuntimeError, OSError) as error:  # a compiler that is not there, an operation that a mode does not have
        reason = str(error).strip().splitlines() or [type(error).__name__]
        result = ModeResult(
            mode=mode,
            verdict=Verdict.UNDECIDED,
            difference=None,
            tolerance=None,
            findings=(),
            detail=f"it does not run here: {reason[0][:200]}",
            seconds=time.perf_counter() - start,
        )
        return ModeProof(result, ())


def _prove(
    setting: Setting, mode: str, reference: Tensor, again: Reproduction, start: float, step: Callable[[], None]
) -> ModeProof:
    subject, computed = setting.subject, computed_rows(setting.subject, mode)
    setting = setting.restricted(computed)
    structure = audit_structure(subject, mode, setting.declared, setting.tokens) if mode != "compiled" else None
    tolerance = TOLERANCE.get(mode)
    difference = None
    if tolerance is not None:
        difference = float((outputs(subject, mode, setting.tokens) - reference)[computed].abs().max())
    agrees = difference is None or tolerance is None or difference <= tolerance
    blocks = structure is None or not structure.holds or not agrees or mode == "autocast"
    with subject.running(mode) as forward:
        wanted = setting.blocks if blocks else ()
        trials = replacements(setting, forward, by_layer=mode not in NOT_BY_LAYER, blocks=wanted, step=step)
    recomputed = None
    if mode == "checkpointed":
        # A mask that only the recomputed pass lacks shows in gradients alone.
        recomputed = gradients(setting, mode, step, merged=trials.clean)
    findings = Findings(
        declared=setting.declared,
        expected=setting.expected,
        rows=setting.rows,
        gradient=recomputed,
        perturbation=trials.whole,
        first=trials.first,
        arrived=structure.masks if structure else (),
        soft=structure.soft if structure else (),
        exact=mode not in INEXACT,
        sampled=True,
    )
    complete = blocks or recomputed is not None
    # Where all is well there are no cells to name, and naming hundreds takes a second.
    cells = judge(subject.table, findings, again) if complete or not trials.clean else ()
    wrong = _wrong(cells, complete)
    result = ModeResult(
        mode=mode,
        verdict=_verdict(wrong, structure, agrees),
        difference=difference,
        tolerance=tolerance,
        findings=wrong,
        detail=_detail(wrong, structure, difference, tolerance),
        seconds=time.perf_counter() - start,
    )
    return ModeProof(result, structure.audits if structure else ())


def _wrong(cells: tuple[Cell, ...], complete: bool) -> tuple[Cell, ...]:
    """Cells that are not OK; allowed cells that this mode did not have to measure are not findings."""
    skipped = (Verdict.OK,) if complete else (Verdict.OK, Verdict.UNDECIDED)
    return tuple(cell for cell in cells if cell.verdict not in skipped)


def _verdict(wrong: tuple[Cell, ...], structure: Structure | None, agrees: bool) -> Verdict:
    verdicts = [cell.verdict for cell in wrong]
    verdicts += [audit.verdict for audit in structure.audits] if structure else []
    return worst([*verdicts, Verdict.OK if agrees else Verdict.UNDECIDED])


def _detail(
    wrong: tuple[Cell, ...], structure: Structure | None, difference: float | None, tolerance: float | None
) -> str:
    pattern = "nothing forbidden has an influence" if not wrong else f"{len(wrong)} cells are not as declared"
    masks = "masks not readable" if structure is None else "masks as declared" if structure.holds else "masks differ"
    if difference is None or tolerance is None:
        return f"{pattern}; {masks}; outputs are random"
    relation = "within" if difference <= tolerance else "NOT within"
    return f"{pattern}; {masks}; outputs differ by {difference:.2g} from the reference, {relation} {tolerance:g}"

"""The proof: declared mask, what it lets through, what was measured, in every mode asked for.

report = prove(preset_subject("foresight"), declared_by(preset("foresight")))
report.holds, report.counts, report.cell("ACT", "FLOW", Relation.SAME)
"""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import torch
from torch import Tensor, nn

from model.config import to_json
from model.errors import ConfigError

from .adapter import Subject, computed_rows
from .audit import Structure, audit_capture, audit_padding, audit_structure
from .declared import Spec
from .decoders import prove_decoders
from .findings import Findings, Reproduction
from .hygiene import audit_nan
from .mode_proof import ModeProof, outputs, prove_mode
from .modes import DEFAULT_MODES
from .policy import PolicySubject
from .report import Audit, Cell, ModeResult, ProofReport, worst
from .setting import Setting, gradients, layer_gradients, layer_replacements, replacements
from .verdict import judge

Progress = Callable[[int, int, str], None]


def prove(
    subject: Subject,
    spec: Spec,
    *,
    level: Literal["group", "token"] = "group",
    modes: Sequence[str] = DEFAULT_MODES,
    frames: Sequence[int] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ProofReport:
    """Measures who has an influence on whom and compares it with what is declared.

    Args:
        subject: A policy (`PolicySubject`) or any other module (`ForeignSubject`).
        spec: The declared mask.
        level: `group`, token by token only where a group is partly allowed, or `token`, every pair.
        modes: Ways of running; the first is the reference, in which all cells are measured.
        frames: Frames whose outputs are read; first, middle and last if None.
        seed: Of tokens, directions and replacements.
        progress: Told (done, total, what) before every step; an exception that it raises ends the proof.

    Raises:
        ConfigError: The specification does not fit the subject, or a mode or frame does not exist.
    """
    start = time.perf_counter()
    setting = _setting(subject, spec, level, modes, frames, seed)
    again = Reproduction(expression=getattr(subject, "expression", "subject"), mode=modes[0], seed=seed)
    steps = _Steps(progress, 4 + len(modes) - 1 + len(subject.paddings) + 2 * isinstance(subject, PolicySubject))
    structure, cells = _reference(setting, modes[0], again, steps)
    expected = outputs(subject, modes[0], setting.tokens)
    proofs: list[ModeProof] = []
    for mode in modes[1:]:
        steps.next(f"mode {mode}")
        reproduction = Reproduction(expression=again.expression, mode=mode, seed=seed)
        proofs.append(prove_mode(setting, mode, expected, reproduction, steps.stay))
    audits = [*structure.audits, *(audit for proof in proofs for audit in proof.audits)]
    audits += _padding_audits(setting, modes, steps)
    decoders: tuple[Cell, ...] = ()
    if isinstance(subject, PolicySubject):
        steps.next("NaN in padded frames")
        audits.append(audit_nan(subject.policy))
        steps.next("decoders")
        middle = subject.table.n_frames // 2
        decoders = prove_decoders(subject.policy, middle, expression=again.expression, seed=seed)
    seconds = time.perf_counter() - start
    reference = _reference_result(modes[0], cells, structure, seconds)
    return ProofReport(
        subject=subject.name,
        spec=spec.name,
        level=level,
        groups=subject.table.groups,
        n_frames=subject.table.n_frames,
        n_layers=len(subject.layers),
        output_frames=setting.frames,
        reference=modes[0],
        dtype=str(setting.dtype).removeprefix("torch."),
        cells=cells,
        decoders=decoders,
        audits=tuple(audits),
        modes=(reference, *(proof.result for proof in proofs)),
        versions=_versions(),
        hashes=_hashes(subject, setting.declared),
        seed=seed,
        seconds=time.perf_counter() - start,
    )


class _Steps:
    """Counts the steps of a proof for whoever wants to know."""

    def __init__(self, progress: Progress | None, total: int):
        self._progress, self._total, self._done, self._what = progress, total, 0, ""

    def next(self, what: str) -> None:
        """The next step begins."""
        self._what = what
        if self._progress is not None:
            self._progress(min(self._done, self._total), self._total, what)
        self._done += 1

    def stay(self) -> None:
        """Something inside the step is done: a chance to cancel."""
        if self._progress is not None:
            self._progress(min(self._done - 1, self._total), self._total, self._what)


def _setting(
    subject: Subject,
    spec: Spec,
    level: Literal["group", "token"],
    modes: Sequence[str],
    frames: Sequence[int] | None,
    seed: int,
) -> Setting:
    table = subject.table
    unknown = [mode for mode in modes if mode not in subject.modes]
    if unknown or not modes:
        raise ConfigError(
            f"{subject.name} has no mode '{unknown[0] if unknown else ''}'; choose from {', '.join(subject.modes)}"
        )
    if not bool(computed_rows(subject, modes[0]).all()):
        raise ConfigError(f"mode '{modes[0]}' computes few outputs and cannot be the reference; name another one first")
    last = table.n_frames - 1
    chosen = tuple(sorted({0, table.n_frames // 2, last} if frames is None else set(frames)))
    if not chosen or not all(0 <= frame <= last for frame in chosen):
        raise ConfigError(f"output frames must lie in 0..{last}, got {list(chosen)}")
    rng = torch.Generator().manual_seed(seed)
    device = next(subject.module.parameters()).device
    tokens = torch.randn(1, table.length, subject.width, generator=rng).to(device)
    declared = spec.mask(table)
    return Setting(subject=subject, declared=declared, tokens=tokens, frames=chosen, single=level == "token", seed=seed)


def _reference(setting: Setting, mode: str, again: Reproduction, steps: _Steps) -> tuple[Structure, tuple[Cell, ...]]:
    """All cells in the reference mode."""
    subject = setting.subject
    steps.next("masks that reach attention")
    structure = audit_structure(subject, mode, setting.declared, setting.tokens)
    steps.next("gradients, end to end and in every layer")
    gradient = gradients(setting, mode, steps.stay)
    by_layer = layer_gradients(setting, mode, steps.stay)
    with subject.running(mode) as forward:
        steps.next("replacements, end to end")
        blocks = setting.blocks_everywhere if setting.single else setting.blocks
        trials = replacements(setting, forward, by_layer=True, blocks=blocks, step=steps.stay)
        steps.next("replacements, in every layer")
        layers = layer_replacements(setting, forward, steps.stay)
    findings = Findings(
        declared=setting.declared,
        expected=setting.expected,
        rows=setting.rows,
        gradient=gradient,
        perturbation=trials.whole,
        layer_gradients=by_layer,
        layer_perturbations=layers,
        first=trials.first,
        arrived=structure.masks,
        soft=structure.soft,
    )
    return structure, judge(subject.table, findings, again)


def _padding_audits(setting: Setting, modes: Sequence[str], steps: _Steps) -> list[Audit]:
    """Padding in the reference mode and while acting, and what capture returns if that is one of the modes."""
    subject, audits = setting.subject, list[Audit]()
    for padding in subject.paddings:
        steps.next(padding.name)
        audits += audit_structure(subject, modes[0], setting.declared, setting.tokens, padding).audits
        audits.append(audit_padding(subject, modes[0], setting.tokens, padding))
        if "acting" in modes:  # finds its rows by itself, whatever is padded
            audits += audit_structure(subject, "acting", setting.declared, setting.tokens, padding).audits
            name = f"padding (acting, {padding.name})"
            audits.append(audit_padding(subject, "acting", setting.tokens, padding, name=name))
    if "capture" in modes:
        audits += [audit] if (audit := audit_capture(subject, setting.declared, setting.tokens)) else []
    return audits


def _reference_result(mode: str, cells: tuple[Cell, ...], structure: Structure, seconds: float) -> ModeResult:
    verdict = worst([*(cell.verdict for cell in cells), *(audit.verdict for audit in structure.audits)])
    return ModeResult(
        mode=mode,
        verdict=verdict,
        difference=0.0,
        tolerance=0.0,
        findings=(),
        detail="the reference: every cell was measured in this mode",
        seconds=seconds,
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "torch": torch.__version__, "platform": platform.platform()}
    try:
        found["foresight-workbench"] = version("foresight-workbench")
    except PackageNotFoundError:  # run from a source folder that is not installed
        found["foresight-workbench"] = "source"
    return found


def _hashes(subject: Subject, declared: Tensor) -> dict[str, str]:
    """sha256 of the weights that were proved, the declared mask, and a policy's configuration."""
    found = {"weights": _hash_weights(subject.module), "mask": hashlib.sha256(declared.numpy().tobytes()).hexdigest()}
    if isinstance(subject, PolicySubject):
        found["config"] = hashlib.sha256(to_json(subject.policy.config).encode()).hexdigest()
    return found


def _hash_weights(module: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

"""One finding of a proof once more, from one line of Python."""

from __future__ import annotations

from pathlib import Path

import torch

from trainer.loop.checkpoint import load_checkpoint

from .adapter import Subject, in_precision
from .decoders import decoder_influence
from .perturbation import Trial, run_layer_trials, run_trials
from .policy import PolicySubject, preset_subject
from .tape import record

__all__ = ["checkpoint_subject", "decoder_influence", "pair_influence", "preset_subject"]


def checkpoint_subject(folder: str | Path) -> PolicySubject:
    """A checkpoint, its weights as they are.

    Raises:
        CheckpointError: It cannot be used.
    """
    loaded = load_checkpoint(folder)
    name = f"checkpoint {loaded.path.name} {loaded.content_hash[:12]}"
    return PolicySubject(loaded.policy, name, expression=f"checkpoint_subject({str(loaded.path)!r})")


def pair_influence(
    subject: Subject, mode: str, row: int, column: int, *, layer: int | None = None, seed: int = 0
) -> tuple[float, float]:
    """The influence of one token on one output: (gradient in float64, change when it is replaced in float32).

    Args:
        subject: What was proved.
        mode: How it runs.
        row: Position of the output.
        column: Position of the token.
        layer: One layer alone, counted from 1; None is end to end.
        seed: Of the proof.
    """
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randn(1, subject.table.length, subject.width, generator=rng)
    tokens = tokens.to(next(subject.module.parameters()))
    trials = [Trial(keys=torch.tensor([column]), block=True)]
    with subject.running(mode) as forward:
        with torch.no_grad(), record(subject.layers) as calls:
            forward(tokens)
        if layer is None:
            change = run_trials(subject, forward, tokens, trials)[0, -1, row]
        else:
            change = run_layer_trials(calls[layer - 1], trials)[0, row]
    with in_precision(subject.module, torch.float64), subject.running(mode) as forward:
        x = tokens.double().requires_grad_()
        with torch.enable_grad(), record(subject.layers) as calls:
            out = forward(x)
        given, made = (x, out) if layer is None else (calls[layer - 1].tokens, calls[layer - 1].out)
        direction = torch.randn(made.shape[-1], dtype=made.dtype, generator=rng)
        (gradient,) = torch.autograd.grad(made[0, row], given, direction / direction.norm())
    return float(gradient[0, column].abs().max()), float(change)

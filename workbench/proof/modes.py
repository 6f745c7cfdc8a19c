"""The ways of running a model that are proved, and how far their outputs may differ."""

from __future__ import annotations

from typing import Literal

Mode = Literal["sdpa", "eager", "capture", "compiled", "checkpointed", "autocast", "train", "eval"]

ALL_MODES: tuple[Mode, ...] = ("sdpa", "eager", "capture", "eval", "checkpointed", "train", "autocast", "compiled")
"""`sdpa` the fused kernel; `eager` attention written out; `capture` with attention returned; `eval` after training mode
was on and off; `checkpointed` layers recomputed in the backward pass; `train` with dropout; `autocast` to bfloat16;
`compiled` by torch.compile. The first that is asked for is the reference: all cells are measured in it."""

DEFAULT_MODES: tuple[Mode, ...] = ("sdpa", "eager", "capture")

TOLERANCE: dict[str, float] = {
    "sdpa": 1e-4,
    "eager": 1e-4,
    "capture": 1e-5,
    "eval": 0.0,
    "checkpointed": 1e-5,
    "compiled": 1e-3,
    "autocast": 0.3,
}
"""Largest difference of trunk outputs (unit variance after the last LayerNorm) from the reference mode. Rounding of
float32 in another order, of bfloat16 over a dozen layers, or none at all; `train` has random outputs and no entry."""

INEXACT = ("autocast", "train")
"""Modes in which rounding or dropout can hide an allowed influence."""

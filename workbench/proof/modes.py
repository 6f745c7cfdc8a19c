"""The ways of running a model that are proved, and how far their outputs may differ."""

from __future__ import annotations

from typing import Literal

Mode = Literal["sdpa", "eager", "capture", "acting", "compiled", "checkpointed", "autocast", "train", "eval"]

ALL_MODES: tuple[Mode, ...] = (
    "sdpa",
    "eager",
    "capture",
    "acting",
    "eval",
    "checkpointed",
    "train",
    "autocast",
    "compiled",
)
"""`sdpa` the fused kernel; `eager` attention written out; `capture` with attention returned; `acting`
the few tokens and rows that the newest action needs; `eval` after training mode
was on and off; `checkpointed` layers recomputed in the backward pass; `train` with dropout; `autocast` to bfloat16;
`compiled` by torch.compile. The first that is asked for is the reference: all cells are measured in it."""

DEFAULT_MODES: tuple[Mode, ...] = ("sdpa", "eager", "capture", "acting")

TOLERANCE: dict[str, float] = {
    "sdpa": 5e-5,
    "eager": 5e-5,
    "capture": 1e-5,
    "acting": 5e-5,
    "eval": 0.0,
    "checkpointed": 1e-5,
    "compiled": 5e-5,
    "autocast": 0.15,
}
"""Largest difference of trunk outputs (unit variance after the last LayerNorm) from the reference mode.

Eager and compiled sum the same float32 products in another order: 3e-6 with the bundled weights, 7e-6 with twelve
layers of random weights three times as large as trained ones, which is where rounding grows most. Autocast rounds to
eight bits of mantissa: 0.042 and 0.068 with the same weights, twice that is allowed. Capture and recomputation were
bit-equal on a CPU; they may run on other kernels of a GPU. `train` has random outputs and no entry.
"""

INEXACT = ("autocast", "train")
"""Modes in which rounding or dropout can hide an allowed influence."""

NOT_BY_LAYER = ("compiled", "acting")
"""Modes in which layers cannot be followed row by row: compiled away, or given a part of the sequence."""

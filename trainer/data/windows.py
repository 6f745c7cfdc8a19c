"""From episodes to batches: what the policy sees at a time, what came, and the loader over many of them."""

from .loader import Batch, Sampling, WindowBatches, WindowDataset, window_loader
from .observation import Tokenize, check_alignment, observation_at, window_steps
from .targets import targets_at

__all__ = [
    "Batch",
    "Sampling",
    "Tokenize",
    "WindowBatches",
    "WindowDataset",
    "check_alignment",
    "observation_at",
    "targets_at",
    "window_loader",
    "window_steps",
]

"""How fast a run is, and what it waits for."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
from torch.utils.flop_counter import FlopCounterMode


class Pace:
    """Rates since the last `read`: windows a second and the share of the time spent waiting for data."""

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self._waited = 0.0
        self._windows = 0

    @contextmanager
    def waiting(self) -> Generator[None]:
        """A context whose duration counts as waiting for data."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._waited += time.perf_counter() - start

    def add(self, windows: int) -> None:
        """Counts windows that were trained on."""
        self._windows += windows

    def read(self) -> tuple[float, float]:
        """(windows a second, share of the time spent waiting 0..1), and starts afresh."""
        now = time.perf_counter()
        span = max(now - self._since, 1e-9)
        rates = self._windows / span, self._waited / span
        self._since, self._waited, self._windows = now, 0.0, 0
        return rates


def peak_memory_gb(device: torch.device) -> float:
    """Most memory ever held, GB of 10^9 bytes: of the GPU where there is one, else resident memory of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def count_gflop(work: Callable[[], object]) -> float:
    """Runs `work` once, gradients on: its matrix and convolution work in GFLOP (a multiply-add is two)."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9

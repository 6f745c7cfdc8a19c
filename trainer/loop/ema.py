"""An exponential moving average of the weights: what is shown, evaluated and shipped."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema:
    """Averages the floating-point state of `policy`; call `update` once an optimizer step.

    The decay warms up as (1 + n) / (10 + n) until it reaches `decay`, so that a short run does not ship its
    initialisation.
    """

    def __init__(self, policy: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._live = dict(policy.state_dict(keep_vars=True))
        self.average = {name: value.detach().clone() for name, value in self._live.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Moves the average towards the present weights."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        floating = [name for name, value in self.average.items() if value.is_floating_point()]
        averages, live = ([state[name].detach() for name in floating] for state in (self.average, self._live))
        get_ema_multi_avg_fn(decay)(averages, live, self.updates)
        for name, value in self.average.items():
            if not value.is_floating_point():
                value.copy_(self._live[name])

    @torch.no_grad()
    def restore(self, average: Mapping[str, Tensor], updates: int) -> None:
        """Takes up a stored average; `average` is copied."""
        for name, value in self.average.items():
            value.copy_(average[name])
        self.updates = updates

    @contextmanager
    def applied(self) -> Generator[None]:
        """Inside, the policy holds the averaged weights; afterwards, bit for bit its own again."""
        own = {name: value.detach().clone() for name, value in self._live.items()}
        self._write(self.average)
        try:
            yield
        finally:
            self._write(own)

    @torch.no_grad()
    def _write(self, state: Mapping[str, Tensor]) -> None:
        for name, value in self._live.items():
            value.copy_(state[name])

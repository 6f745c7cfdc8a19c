"""The averaged weights: value, swapping in and out, restoring."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trainer.loop.ema import Ema


def test_the_average_warms_up_then_decays() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    ema = Ema(net, decay=0.5)
    nn.init.ones_(net.weight)
    expected = 0.0
    for n in range(1, 20):
        ema.update()
        decay = min(0.5, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay)
        assert ema.average["weight"].item() == pytest.approx(expected, rel=1e-6)


def test_counters_are_copied_not_averaged() -> None:
    net = nn.BatchNorm1d(2)
    ema = Ema(net, decay=0.9)
    net(torch.randn(4, 2))
    ema.update()
    assert ema.average["num_batches_tracked"].item() == 1


def test_applied_swaps_and_gives_back_bit_for_bit_even_after_an_error() -> None:
    net = nn.Linear(3, 3)
    ema = Ema(net, decay=0.9)
    nn.init.normal_(net.weight)
    own, average = net.weight.detach().clone(), ema.average["weight"].clone()

    def look_and_fail() -> None:
        with ema.applied():
            assert torch.equal(net.weight, average)
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        look_and_fail()
    assert torch.equal(net.weight, own)
    assert torch.equal(ema.average["weight"], average)


def test_restore_copies() -> None:
    net = nn.Linear(2, 2)
    ema = Ema(net, decay=0.9)
    stored = {name: torch.full_like(value, 3.0) for name, value in net.state_dict().items()}
    ema.restore(stored, updates=7)
    ema.update()
    assert ema.updates == 8
    assert stored["weight"].eq(3.0).all()

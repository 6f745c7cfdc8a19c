"""The trunk: GPT-2's start, and the same numbers whichever way it is run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.config import TrunkConfig
from model.transformer import Block, Trunk

CONFIG = TrunkConfig(width=64, layers=3, heads=4, dropout=0.0)


def _inputs() -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.randn(2, 9, 64, generator=rng), torch.ones(9, 9).tril().bool()[None, None]


def test_paper_trunk_has_its_size() -> None:
    """GR-MG: 21.29 M parameters."""
    count = sum(parameter.numel() for parameter in Trunk(TrunkConfig()).parameters())
    assert count == pytest.approx(21.29e6, rel=1e-3)


def test_initial_deviations() -> None:
    torch.manual_seed(0)
    block = Trunk(TrunkConfig(width=128, layers=8, heads=4)).blocks[0]
    assert isinstance(block, Block)
    assert block.mlp.up.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.mlp.down.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    assert block.attention.out.weight.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    assert not block.attention.key_value.bias.any()


def test_capture_changes_nothing() -> None:
    torch.manual_seed(0)
    trunk = Trunk(CONFIG).eval()
    x, mask = _inputs()
    plain, nothing = trunk(x, mask)
    captured, attention = trunk(x, mask, rows=torch.tensor([4]), wanted=lambda layer: layer != 1)
    assert torch.equal(plain, captured)
    assert nothing == {}
    assert sorted(attention) == [0, 2]
    assert attention[2].shape == (2, 4, 1, 9)


def test_checkpointing_gives_the_same_gradient() -> None:
    torch.manual_seed(0)
    trunk = Trunk(CONFIG)
    again = Trunk(replace(CONFIG, checkpointing=True))
    again.load_state_dict(trunk.state_dict())
    x, mask = _inputs()
    gradients: list[torch.Tensor] = []
    for module in (trunk, again):
        module(x, mask)[0].square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]))
    assert torch.equal(*gradients)
    assert len(gradients[0]) == sum(parameter.numel() for parameter in trunk.parameters())


def test_dropout_only_in_training() -> None:
    torch.manual_seed(0)
    trunk = Trunk(replace(CONFIG, dropout=0.5))
    x, mask = _inputs()
    assert not torch.equal(trunk(x, mask)[0], trunk(x, mask)[0])
    trunk.eval()
    assert torch.equal(trunk(x, mask)[0], trunk(x, mask)[0])

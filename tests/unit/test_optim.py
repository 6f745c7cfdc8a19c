"""Which parameters decay, and the optimizer's state through names and back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from model.errors import CheckpointError
from trainer.loop.optim import build_optimizer, optimizer_state, restore_optimizer


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.table = nn.Embedding(3, 4)
        self.query = nn.Parameter(torch.zeros(2, 4))
        self.unused = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x) + self.table.weight[0] + self.query[0])


def train(net: Net, optimizer: torch.optim.AdamW, steps: int, seed: int) -> Tensor:
    torch.manual_seed(seed)
    for _ in range(steps):
        optimizer.zero_grad()
        net(torch.randn(8, 4)).square().sum().backward()
        optimizer.step()
    return torch.cat([parameter.detach().flatten() for parameter in net.parameters()])


def test_only_matrices_decay() -> None:
    net = Net()
    decayed, free = build_optimizer(net, lr=0.1, weight_decay=0.5).param_groups
    assert decayed["weight_decay"] == 0.5
    assert free["weight_decay"] == 0.0
    assert {id(p) for p in decayed["params"]} == {id(net.linear.weight), id(net.unused.weight)}
    assert len(free["params"]) == len(list(net.parameters())) - 2


def test_frozen_parameters_stay_out() -> None:
    net = Net()
    net.linear.weight.requires_grad_(False)
    groups = build_optimizer(net, lr=0.1, weight_decay=0.1).param_groups
    assert id(net.linear.weight) not in {id(p) for group in groups for p in group["params"]}


def test_a_restored_optimizer_continues_bit_for_bit_and_does_not_alias() -> None:
    torch.manual_seed(0)
    net = Net()
    optimizer = build_optimizer(net, lr=0.01, weight_decay=0.1)
    train(net, optimizer, 3, seed=1)
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    state = {name: value.clone() for name, value in optimizer_state(optimizer, net).items()}
    assert not any(name.startswith("unused") for name in state)
    expected = train(net, optimizer, 3, seed=2)
    for _ in range(2):  # twice from the same dictionary: it must not have been written to
        other = Net()
        other.load_state_dict(weights)
        again = build_optimizer(other, lr=0.01, weight_decay=0.1)
        restore_optimizer(again, other, state)
        assert torch.equal(train(other, again, 3, seed=2), expected)


def test_foreign_state_is_refused() -> None:
    net = Net()
    optimizer = build_optimizer(net, lr=0.01, weight_decay=0.1)
    train(net, optimizer, 1, seed=1)
    state = optimizer_state(optimizer, net)
    with pytest.raises(CheckpointError, match="another model"):
        restore_optimizer(optimizer, net, {**state, "nobody/exp_avg": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="shape"):
        restore_optimizer(optimizer, net, {**state, "linear.weight/exp_avg": torch.zeros(2, 2)})
    del state["linear.weight/step"]
    with pytest.raises(CheckpointError, match=r"linear\.weight/step"):
        restore_optimizer(optimizer, net, state)

"""AdamW with weight decay where it means something, and its state as plain named tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from model.errors import CheckpointError

BETAS = (0.9, 0.999)
_STATE = ("exp_avg", "exp_avg_sq", "step")


def build_optimizer(policy: nn.Module, lr: float, weight_decay: float) -> AdamW:
    """Fused AdamW over the trainable parameters.

    Only matrices and convolution kernels decay: not norms, biases, embedding tables, or learned queries, which are
    parameters of their own rather than weights of a layer.
    """
    decayed = _decaying_names(policy)
    named = [(name, parameter) for name, parameter in policy.named_parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for name, parameter in named if name in decayed], "weight_decay": weight_decay},
        {"params": [parameter for name, parameter in named if name not in decayed], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=lr, betas=BETAS, fused=True)


def optimizer_state(optimizer: AdamW, policy: nn.Module) -> dict[str, Tensor]:
    """The state as `<parameter name>/<entry>` tensors. Parameters that never had a gradient have none."""
    return {
        f"{name}/{entry}": optimizer.state[parameter][entry].detach()
        for name, parameter in policy.named_parameters()
        if parameter in optimizer.state
        for entry in _STATE
    }


def restore_optimizer(optimizer: AdamW, policy: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Puts back what `optimizer_state` gave, copied, so that `state` is never written to.

    Raises:
        CheckpointError: An entry belongs to no parameter, is missing, or has another shape.
    """
    parameters = dict(policy.named_parameters())
    names = {key.rpartition("/")[0] for key in state}
    if unknown := names - parameters.keys():
        raise CheckpointError(f"optimizer.safetensors: no parameter is called '{min(unknown)}'; another model's state")
    for name in names:
        parameter, restored = parameters[name], dict[str, Tensor]()
        for entry in _STATE:
            value = state.get(f"{name}/{entry}")
            if value is None or (entry != "step" and value.shape != parameter.shape):
                raise CheckpointError(f"optimizer.safetensors: '{name}/{entry}' is missing or has another shape")
            device = torch.device("cpu") if entry == "step" and parameter.device.type == "cpu" else parameter.device
            restored[entry] = value.detach().to(device, copy=True)
        optimizer.state[parameter] = restored


def _decaying_names(policy: nn.Module) -> set[str]:
    layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)
    return {f"{name}.weight" for name, module in policy.named_modules() if isinstance(module, layers)}

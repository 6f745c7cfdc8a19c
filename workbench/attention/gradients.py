"""Attention of all tokens by layer and head, and its gradient: what rollout and gradient x attention are made of.

The gradient by an attention probability is (gradient by the mixed value of its row) . (value of its column): exact for
the fused kernel, so that nothing is computed twice in two ways. Imports torch.

Dimensions: m trunk layer, h head, n token, c channels of a head.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from model.attention import Attention
from model.policy import Policy

from .forward import Entry


def full_attention(policy: Policy, entry: Entry) -> Float[np.ndarray, "m h n n"]:
    """Trunk attention of every token."""
    everything = torch.arange(entry.tokens.shape[1])
    with torch.no_grad():
        _, captured = policy.trunk(entry.tokens, entry.allowed, rows=everything)
    return np.stack([captured[layer][0].numpy() for layer in range(len(captured))])


def attention_gradients(
    policy: Policy, entry: Entry, score: Callable[[Tensor], Tensor]
) -> tuple[Float[np.ndarray, "m h n n"], Float[np.ndarray, "m h n n"]]:
    """Attention by layer and head, and the gradient of `score` of the predicted chunk by each of its entries."""
    trunk = copy.deepcopy(policy.trunk)  # hooks on the shared one would be seen by other threads
    mixed: list[Tensor] = []
    values: list[Tensor] = []
    for part in trunk.modules():  # in the order of the layers
        if isinstance(part, Attention):
            part.key_value.register_forward_hook(lambda _m, _i, out: values.append(out.detach().chunk(2, -1)[1]))
            part.out.register_forward_pre_hook(lambda _m, inputs: mixed.append(inputs[0]))
    everything = torch.arange(entry.tokens.shape[1])
    with torch.enable_grad():
        hidden, captured = trunk(entry.tokens.detach().requires_grad_(), entry.allowed, rows=everything)
        slopes = torch.autograd.grad(score(policy.action(hidden[:, entry.rows]))[0], mixed)
    heads = policy.config.trunk.heads
    by_head = [
        [x[0].unflatten(-1, (heads, -1)).transpose(0, 1) for x in pair] for pair in zip(slopes, values, strict=True)
    ]
    gradient = torch.stack([slope @ value.transpose(-1, -2) for slope, value in by_head])
    attention = torch.stack([captured[layer][0].detach() for layer in range(len(captured))])
    return attention.numpy(), gradient.numpy()

"""The policy run the plain way: what `bench_policy` compares with.

Written by ourselves after what the public code of the paper's backbone (bytedance/GR-MG) does with its own model: every
control step encodes all T frames of all views again, and the instruction too; attention is written out, with two
additive masks of the lowest finite number; all tokens go through all layers; the decoders of future images run at
inference as well; in training every window encodes its own images. Weights and numbers are those of our policy.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

from model.attention import Attention, use_attention, visible_keys
from model.batch import Observation, Prediction, Targets
from model.encoders.frozen import FrozenModel
from model.policy import Policy
from model.transformer import Block

BACKBONE_DECODERS = frozenset({"future", "action", "progress"})
"""What the backbone's code decodes at every control step, though only the action is used."""


@contextmanager
def eager_attention(policy: Policy) -> Generator[None]:
    """Within it encoders, resampler and decoders write their attention out, too."""
    frozen = [module.model for module in policy.modules() if isinstance(module, FrozenModel)]
    use_attention(policy, "eager")
    for model in frozen:
        model.set_attn_implementation("eager")
    try:
        yield
    finally:
        use_attention(policy, "sdpa")
        for model in frozen:
            model.set_attn_implementation("sdpa")


def plain_act(policy: Policy, observation: Observation) -> Tensor:
    """The newest chunk of full windows (b k 7), gripper as probability, and everything that is decoded beside it."""
    with torch.no_grad():
        prediction = plain_forward(policy, observation, decoders=BACKBONE_DECODERS)
    assert prediction.action is not None
    newest = prediction.action[:, -1]
    return torch.cat([newest[..., :6], newest[..., 6:].sigmoid()], -1)


def plain_forward(
    policy: Policy, observation: Observation, targets: Targets | None = None, *, decoders: frozenset[str]
) -> Prediction:
    """Everything of all frames; with targets, their frames, flow points and actions."""
    seen = policy.embedding(observation)
    keys = visible_keys(policy.layout, policy.config.views, observation.frame_mask, observation.view_mask)
    lowest = torch.finfo(seen.tokens.dtype).min
    additive = ((~keys) * lowest)[:, None, None]
    hidden = seen.tokens
    for block in policy.trunk.blocks:
        assert isinstance(block, Block)
        hidden = _block(block, hidden, policy.mask, additive)
    hidden = policy.trunk.norm(hidden)[:, policy.layout.prefix_length :].unflatten(1, (policy.layout.n_frames, -1))
    return policy.decode(
        hidden,
        seen,
        frames=torch.arange(policy.layout.n_frames) if targets is None else targets.frames,
        flow_start=None if targets is None else targets.flow_start,
        action=None if targets is None else targets.action,
        decoders=decoders,
    )


def _block(block: Block, x: Tensor, allowed: Tensor, additive: Tensor) -> Tensor:
    x = x + block.dropout(_attention(block.attention, block.attention_norm(x), allowed, additive))
    return x + block.dropout(block.mlp(block.mlp_norm(x)))


def _attention(attention: Attention, x: Tensor, allowed: Tensor, additive: Tensor) -> Tensor:
    q, k, v = (
        part.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for part in (attention.query(x), *attention.key_value(x).chunk(2, -1))
    )
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    scores = torch.where(allowed, scores, torch.finfo(scores.dtype).min) + additive.to(scores.dtype)
    weights = functional.dropout(scores.softmax(-1).to(v.dtype), attention.dropout, attention.training)
    return attention.out((weights @ v).transpose(1, 2).flatten(2))

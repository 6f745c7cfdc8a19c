"""The trunk as a function of its assembled tokens, and the action as one number: what gradients are taken of.

Imports torch: `explain` imports this module when a method that needs it is asked for.

Dimensions: b batch, n token, d width, k action step, q ACT query.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from model.attention import visible_keys
from model.batch import Observation
from model.config import Statistics
from model.policy import Policy

from .methods import TargetName

_DEGREES = 180 / torch.pi
_GREY = 128

Score = Callable[[Float[Tensor, "b k 7"]], Float[Tensor, " b"]]
"""A component of a predicted chunk (gripper as logit) as one number."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What enters the trunk at one time.

    Attributes:
        tokens: Assembled, b = 1.
        allowed: Mask and padding together.
        rows: Positions of the newest frame's ACT queries.
    """

    tokens: Float[Tensor, "1 n d"]
    allowed: Bool[Tensor, "1 1 n n"]
    rows: Int64[Tensor, " q"]


def enter(policy: Policy, observation: Observation) -> Entry:
    """Encodes one window (b = 1)."""
    newest = int(observation.frame_mask.sum()) - 1
    keys = visible_keys(policy.layout, policy.config.views, observation.frame_mask, observation.view_mask)
    with torch.no_grad():
        tokens = policy.embedding(observation).tokens
    return Entry(
        tokens=tokens, allowed=(policy.mask & keys[:, None])[:, None], rows=policy.layout.indices("ACT", [newest])
    )


def chunk_from(policy: Policy, tokens: Float[Tensor, "b n d"], entry: Entry) -> Float[Tensor, "b k 7"]:
    """Trunk and action decoder, with the latent at the prior's mean."""
    hidden, _ = policy.trunk(tokens, entry.allowed)
    return policy.action(hidden[:, entry.rows])


def score_of(target: TargetName, chunk: Float[Tensor, "k 7"], stats: Statistics) -> Score:
    """The component of a chunk that is explained; for `chunk` itself it is the length of the summed command.

    A length has no gradient at 0 and turns corners on the way from a baseline; its projection on the direction of the
    prediction has the same value and gradient there and is linear in the chunk.
    """
    if target == "gripper":
        return lambda chunks: chunks[..., 6].mean(-1)
    part = slice(0, 3) if target == "translation" else slice(3, 6)
    unit = 1000 * stats.action_metres_per_unit if target == "translation" else _DEGREES * stats.action_radians_per_unit
    summed = chunk[:, part].detach().sum(0)
    direction = unit * summed / summed.norm().clamp_min(1e-12)
    return lambda chunks: chunks[..., part].sum(-2) @ direction


def blank_like(policy: Policy, observation: Observation) -> Observation:
    """The baseline of integrated gradients: the same window with nothing in it.

    Images of an even mid grey, an empty instruction, an arm that has not moved since the window's first frame; the
    gripper as it is.
    """
    return dataclasses.replace(
        observation,
        rgb=torch.full_like(observation.rgb, _GREY),
        text=policy.tokenize([""] * len(observation.text)),
        state_arm=torch.zeros_like(observation.state_arm),
    )

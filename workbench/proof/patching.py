"""The newest action as a function of the trunk's tokens, with any of them replaced.

Dimensions: m trunk layer, b time, n token, r kept token, d width, k action step, h head.

An input token is replaced once, where the assembled tokens enter the trunk: the layers see what they would see had the
policy been shown something else. A query token (FLOW and the like) is a learned constant there, so it is replaced
before every layer instead: whoever reads its keys and values reads those of the replacement.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from model.attention import visible_keys
from model.batch import Observation
from model.policy import Policy
from model.tokens import Role

_ROUNDING = 1e-5


class ActionProbe:
    """The trunk over the tokens that can reach the newest frame's ACT queries, at several times at once.

    Args:
        policy: In evaluation mode.
        observation: Times along the batch; all windows equally full, with the same cameras.
    """

    def __init__(self, policy: Policy, observation: Observation) -> None:
        self._policy = policy
        layout = policy.layout
        keys = visible_keys(layout, policy.config.views, observation.frame_mask, observation.view_mask)
        allowed = (policy.mask & keys[:, None])[0]
        newest = int(observation.frame_mask[0].sum()) - 1
        act = layout.indices("ACT", [newest])
        self.reached = reaching(allowed, act, layers=len(policy.trunk.blocks))
        """True for the sequence positions whose assembled token can change the action."""
        self.kept: Int64[Tensor, " r"] = self.reached.nonzero()[:, 0]
        self._allowed = allowed[self.kept][:, self.kept][None, None]
        self._act = torch.searchsorted(self.kept, act)
        roles = [layout.tokens[int(i)].role for i in self.kept]
        self._is_query = torch.tensor([role not in (Role.INPUT, Role.GOAL) for role in roles])
        with torch.inference_mode():
            self._tokens = policy.embedding(observation).tokens[:, self.kept]

    @property
    def others(self) -> Int64[Tensor, " _o"]:
        """Indices into `kept` of everything but the ACT queries themselves."""
        free = torch.ones(len(self.kept), dtype=torch.bool)
        free[self._act] = False
        return free.nonzero()[:, 0]

    def where(self, positions: Int64[Tensor, " _p"]) -> Int64[Tensor, " _q"]:
        """Indices into `kept` of those sequence positions that can reach the action."""
        reaching_ones = positions[self.reached[positions]]
        return torch.searchsorted(self.kept, reaching_ones)

    @torch.inference_mode()
    def action(self) -> Float[Tensor, "b k 7"]:
        """The chunk, gripper as probability of open: `Policy.act`."""
        return self._decode(self._policy.trunk(self._tokens, self._allowed)[0])

    @cached_property
    @torch.inference_mode()
    def states(self) -> list[Float[Tensor, "b r d"]]:
        """The kept tokens as they enter every layer."""
        seen: list[Tensor] = []

        def note(layer: int, x: Tensor) -> Tensor:
            seen.append(x)
            return x

        with _before_layers(self._policy, note):
            self._policy.trunk(self._tokens, self._allowed)
        return seen

    @torch.inference_mode()
    def attention(self) -> Float[Tensor, "b n"]:
        """Where the ACT queries look: mean over queries, layers and heads, in the order of the layout."""
        captured = self._policy.trunk(self._tokens, self._allowed, rows=self._act)[1]
        rows = torch.stack([item.mean(dim=(1, 2)) for item in captured.values()]).mean(0)
        return rows.new_zeros(len(rows), len(self.reached)).index_copy(1, self.kept, rows)

    @torch.inference_mode()
    def replaced(self, where: Int64[Tensor, " _q"], states: list[Float[Tensor, "_b r d"]]) -> Float[Tensor, "b k 7"]:
        """The chunk with some tokens taken from elsewhere.

        Args:
            where: Indices into `kept`.
            states: What to take: as `states` gives it, at another time, of another episode, averaged or zero.
        """
        queries = where[self._is_query[where]]

        def patch(layer: int, x: Tensor) -> Tensor:
            chosen = where if layer == 0 else queries
            return x.index_copy(1, chosen, states[layer][:, chosen].expand(len(x), -1, -1))

        with _before_layers(self._policy, patch):
            return self._decode(self._policy.trunk(self._tokens, self._allowed)[0])

    def differs(self, where: Int64[Tensor, " _q"], states: list[Float[Tensor, "_b r d"]]) -> bool:
        """Whether `replaced` would put in anything new, rounding aside (an average of equal numbers is off by some)."""
        queries = where[self._is_query[where]]
        chosen = [where] + [queries] * (len(states) - 1)
        pairs = zip(chosen, states, self.states, strict=True)
        return any(bool(((new[:, at] - old[:, at]).abs() > _ROUNDING).any()) for at, new, old in pairs)

    def _decode(self, hidden: Float[Tensor, "b r d"]) -> Float[Tensor, "b k 7"]:
        chunk = self._policy.action(hidden[:, self._act])
        return torch.cat([chunk[..., :6], chunk[..., 6:].sigmoid()], -1)


def reaching(allowed: Bool[Tensor, "n n"], rows: Int64[Tensor, " _r"], *, layers: int) -> Bool[Tensor, " n"]:
    """Positions from which a path of at most `layers` hops leads to one of `rows`, the rows themselves included."""
    reached = torch.zeros(len(allowed), dtype=torch.bool)
    reached[rows] = True
    for _ in range(layers):
        reached = reached | allowed[reached].any(0)
    return reached


@contextmanager
def _before_layers(policy: Policy, change: Any) -> Generator[None]:
    """Lets `change(layer, tokens)` see, and replace, what enters every block."""

    def hook(layer: int) -> Any:
        return lambda _module, arguments: (change(layer, arguments[0]), *arguments[1:])

    handles = [block.register_forward_pre_hook(hook(i)) for i, block in enumerate(policy.trunk.blocks)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()

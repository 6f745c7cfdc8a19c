"""The token layout: which index of the sequence is which token. The single source of truth for mask, policy and proof.

A sequence is an optional prefix, then the same groups for every frame, in order:

    prefix | frame 0: LANG STATE S_PATCH S_CLS W_PATCH W_CLS, queries (FLOW FUT_S FUT_W ACT) | frame 1: ... | ...

S_ is the static view, W_ the wrist. Inputs come first; the order of the query groups is configuration. FLOW belongs to
the view whose points move; where those of both do, FLOW_W follows it. Where the future's depth has queries of its own,
FUTD_S and FUTD_W follow FUT_S and FUT_W. The prefix is the goal image, where the policy is given one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import torch
from jaxtyping import Int64
from torch import Tensor

from .config import PolicyConfig, View

VIEW_LETTER: dict[View, str] = {"static": "S", "wrist": "W"}
PREFIX_FRAME = -1
FLOW_GROUPS = ("FLOW", "FLOW_W")
"""Queries of the flow: those of the one view it is predicted in, or of the static view; then those of the wrist."""


class Role(Enum):
    """What a token is for; the mask is a function of roles, groups, frames and positions."""

    GOAL = "goal"
    INPUT = "input"
    DEPTH = "depth"
    FLOW = "flow"
    FUTURE = "future"
    ACTION = "action"
    PROGRESS = "progress"


@dataclass(frozen=True, kw_only=True)
class TokenGroup:
    """Neighbouring tokens of one kind. `view` is set for tokens that belong to one camera."""

    name: str
    role: Role
    count: int
    view: View | None = None


@dataclass(frozen=True, kw_only=True)
class TokenLayout:
    """The order of all tokens.

    Attributes:
        groups: The groups of one frame, inputs before queries.
        n_frames: Frames in the window.
        prefix: Groups that stand once before frame 0.
    """

    groups: tuple[TokenGroup, ...]
    n_frames: int
    prefix: tuple[TokenGroup, ...] = ()

    @cached_property
    def prefix_length(self) -> int:
        """Tokens before frame 0."""
        return sum(group.count for group in self.prefix)

    @cached_property
    def frame_length(self) -> int:
        """Tokens of one frame."""
        return sum(group.count for group in self.groups)

    @cached_property
    def length(self) -> int:
        """Tokens of the whole sequence."""
        return self.prefix_length + self.n_frames * self.frame_length

    def __contains__(self, name: str) -> bool:
        return any(group.name == name for group in self.groups)

    def within_frame(self, name: str) -> slice:
        """Where group `name` lies inside a frame's tokens. An unknown name raises KeyError."""
        start = 0
        for group in self.groups:
            if group.name == name:
                return slice(start, start + group.count)
            start += group.count
        raise KeyError(f"no token group '{name}'; there are {', '.join(group.name for group in self.groups)}")

    def indices(self, name: str, frames: Iterable[int] | None = None) -> Int64[Tensor, " r"]:
        """Sequence positions of a group, frame after frame (all frames by default)."""
        inside = self.within_frame(name)
        starts = (
            self.prefix_length + f * self.frame_length for f in (range(self.n_frames) if frames is None else frames)
        )
        return torch.tensor([s + i for s in starts for i in range(inside.start, inside.stop)], dtype=torch.int64)

    def inputs(self) -> Int64[Tensor, " r"]:
        """Sequence positions of everything that is not a query: prefix and inputs of all frames."""
        return torch.tensor(
            [i for i, group in enumerate(self.tokens) if group.role in (Role.GOAL, Role.INPUT)], dtype=torch.int64
        )

    @cached_property
    def tokens(self) -> tuple[TokenGroup, ...]:
        """The group of every position."""
        prefix = [group for group in self.prefix for _ in range(group.count)]
        frame = [group for group in self.groups for _ in range(group.count)]
        return tuple(prefix + frame * self.n_frames)

    @cached_property
    def frames(self) -> Int64[Tensor, " n"]:
        """The frame of every position, `PREFIX_FRAME` in the prefix."""
        frames = torch.arange(self.n_frames).repeat_interleave(self.frame_length)
        return torch.cat([torch.full((self.prefix_length,), PREFIX_FRAME), frames])


def token_layout(config: PolicyConfig) -> TokenLayout:
    """The layout of a policy: groups whose predictions are switched off are absent."""
    groups = [
        TokenGroup(name="LANG", role=Role.INPUT, count=1),
        TokenGroup(name="STATE", role=Role.INPUT, count=1),
    ]
    for view in config.views:
        letter = VIEW_LETTER[view]
        groups += [
            TokenGroup(name=f"{letter}_PATCH", role=Role.INPUT, count=config.resampler.latents, view=view),
            TokenGroup(name=f"{letter}_CLS", role=Role.INPUT, count=1, view=view),
        ]
    order = config.tokens.query_order
    for name in order if "PROG" in order else (*order, "PROG"):
        groups += _query_groups(name, config)
    prefix: tuple[TokenGroup, ...] = ()
    if config.goal_image:
        prefix = (
            TokenGroup(name="GOAL_PATCH", role=Role.GOAL, count=config.resampler.latents),
            TokenGroup(name="GOAL_CLS", role=Role.GOAL, count=1),
        )
    return TokenLayout(groups=tuple(groups), n_frames=config.window.n_obs_steps, prefix=prefix)


def _query_groups(name: str, config: PolicyConfig) -> Sequence[TokenGroup]:
    tokens, foresight = config.tokens, config.foresight
    if name == "ACT":
        return [TokenGroup(name="ACT", role=Role.ACTION, count=tokens.action)]
    if name == "PROG" and config.progress:
        return [TokenGroup(name="PROG", role=Role.PROGRESS, count=1)]
    if name == "FLOW" and "flow" in foresight:
        return [
            TokenGroup(name=group, role=Role.FLOW, count=tokens.flow, view=view)
            for group, view in zip(FLOW_GROUPS, config.flow_views, strict=False)
        ]
    if name == "FUT" and "future" in foresight:
        return [
            TokenGroup(name=f"{kind}_{VIEW_LETTER[view]}", role=Role.FUTURE, count=tokens.future, view=view)
            for kind in (("FUT", "FUTD") if config.future_depth_queries else ("FUT",))
            for view in config.views
        ]
    if name == "DEPTH" and "depth" in foresight and config.depth_source == "depth_query":
        return [
            TokenGroup(name=f"DEPTH_{VIEW_LETTER[view]}", role=Role.DEPTH, count=tokens.depth, view=view)
            for view in config.views
        ]
    return []

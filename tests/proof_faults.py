"""Policies with planted faults, each like one that was published, and configurations without any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from model.config import PolicyConfig, TokenConfig, preset
from model.policy import Policy
from model.tokens import Role
from model.transformer import Block, Trunk
from workbench.proof.policy import random_policy


def small_config(**changes: Any) -> PolicyConfig:
    """The tiny preset, tinier still: three frames of 15 tokens, two layers of width 32."""
    tiny = preset("tiny")
    config = replace(
        tiny,
        resampler=replace(tiny.resampler, latents=2),
        tokens=TokenConfig(flow=2, future=2, depth=2),
        trunk=replace(tiny.trunk, width=32, heads=2),
    )
    return replace(config, **changes)


@dataclass(frozen=True)
class Fault:
    """A broken policy and where the proof must see it.

    Attributes:
        policy: Broken, as far as it is broken by itself.
        active: Open while it is proved, where the fault lies in the library around it.
        modes: To prove.
        where: `cells`, `audits`, or a mode.
        named: Attender, attended, relation of a cell that must be named, or a text in the places of an audit.
        verdict: Of that cell or audit.
    """

    policy: Policy
    where: str
    named: tuple[str, ...]
    verdict: str
    modes: tuple[str, ...] = ("sdpa",)
    active: Callable[[], AbstractContextManager[None]] = nullcontext


def off_by_one_group() -> Fault:
    """A wrong group index lets the wrist image see the action query (octo issue 75)."""
    policy = random_policy(small_config())
    for frame in range(3):
        rows, columns = policy.layout.indices("W_CLS", [frame]), policy.layout.indices("ACT", [frame])
        policy.mask[rows[:, None], columns] = True
    return Fault(policy, "cells", ("W_CLS", "ACT", "same"), "LEAK")


class _ForgetsWhenRecomputing(Block):
    """Drops the mask in the backward pass's recomputation alone: the outputs are right, the gradients leak."""

    def forward(self, x: Tensor, mask: Tensor | None = None, *rest: Any) -> tuple[Tensor, Tensor | None]:
        recomputing = torch._C._current_graph_task_id() != -1  # pyright: ignore
        return super().forward(x, torch.ones_like(mask) if recomputing and mask is not None else mask, *rest)


class _ForgetsUnderCheckpointing(Trunk):
    """Gradient checkpointing drops the mask (lightly issue 2049)."""

    def forward(self, x: Tensor, mask: Tensor, **rest: Any) -> tuple[Tensor, dict[int, Tensor]]:
        dropped = self.checkpointing and torch.is_grad_enabled()
        return super().forward(x, torch.ones_like(mask) if dropped else mask, **rest)


class _ForgetsWhenCaptured(Trunk):
    """Asking for attention drops the mask: looking changes the model (keras issue 23038)."""

    def forward(self, x: Tensor, mask: Tensor, **rest: Any) -> tuple[Tensor, dict[int, Tensor]]:
        return super().forward(x, torch.ones_like(mask) if rest.get("rows") is not None else mask, **rest)


def dropped_under_checkpointing() -> Fault:
    policy = random_policy(small_config())
    policy.trunk.__class__ = _ForgetsUnderCheckpointing
    return Fault(policy, "checkpointed", ("ACT", "FUT_S", "same"), "LEAK", ("sdpa", "checkpointed"))


def dropped_in_recomputation() -> Fault:
    policy = random_policy(small_config())
    for block in policy.trunk.blocks:
        block.__class__ = _ForgetsWhenRecomputing
    return Fault(policy, "checkpointed", ("ACT", "FUT_S", "same"), "LEAK", ("sdpa", "checkpointed"))


def dropped_when_captured() -> Fault:
    policy = random_policy(small_config())
    policy.trunk.__class__ = _ForgetsWhenCaptured
    return Fault(policy, "capture", ("S_PATCH", "ACT", "later"), "LEAK", ("sdpa", "capture"))


def queries_hidden_from_all() -> Fault:
    """The backbone's key mask, reused as it is: the action cannot see the flow."""
    policy = random_policy(small_config())
    queries = torch.tensor([group.role not in (Role.INPUT, Role.GOAL) for group in policy.layout.tokens])
    policy.mask[:, queries] = False
    return Fault(policy, "cells", ("ACT", "FLOW", "same"), "DEAD")


def future_leak() -> Fault:
    """Inputs see the inputs of the next frame."""
    policy = random_policy(small_config())
    is_input = torch.tensor([group.role is Role.INPUT for group in policy.layout.tokens])
    frame = policy.layout.frames
    policy.mask |= is_input[:, None] & is_input & (frame[None, :] == frame[:, None] + 1)
    return Fault(policy, "cells", ("S_PATCH", "W_PATCH", "later"), "LEAK")


@contextmanager
def _kernel(change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """The fused kernel is given another mask."""
    fused = functional.scaled_dot_product_attention

    def changed(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None, dropout_p: float = 0.0) -> Tensor:
        mask = None if attn_mask is None else change(attn_mask).to(q.dtype)
        return fused(q, k, v, attn_mask=mask, dropout_p=dropout_p)

    try:
        functional.scaled_dot_product_attention = changed
        yield
    finally:
        functional.scaled_dot_product_attention = fused


def soft_constants(constant: float = -100.0) -> Fault:
    """A finite constant in place of -inf."""
    return Fault(
        random_policy(small_config()),
        "cells",
        ("ACT", "FUT_W", "same"),
        "LEAK",
        active=lambda: _kernel(lambda mask: torch.where(mask, 0.0, constant)),
    )


def doubly_masked_row() -> Fault:
    """The most negative number added twice (the backbone's eager attention): a row of -inf is NaN, or uniform."""
    policy = random_policy(small_config())
    lowest = torch.finfo(torch.float32).min
    row = int(policy.layout.indices("ACT", [1])[0])

    def change(mask: Tensor) -> Tensor:
        added = torch.where(mask, 0.0, lowest)
        again = added.clone()
        if mask.shape[-2] == policy.layout.length:  # of the trunk, not of an encoder
            again[..., row, :] = lowest
        return again + added

    return Fault(policy, "audits", ("degenerate rows", "ACT[0]@1"), "LEAK", active=lambda: _kernel(change))


class _SeesPadding(Policy):
    """Ignores which frames and cameras are there."""

    def contextualise(self, tokens: Tensor, frame_mask: Tensor, view_mask: Tensor, **rest: Any) -> Any:
        return super().contextualise(tokens, torch.ones_like(frame_mask), torch.ones_like(view_mask), **rest)


def padding_visible() -> Fault:
    policy = random_policy(small_config())
    policy.__class__ = _SeesPadding
    return Fault(policy, "audits", ("padding (last camera absent)", "<- W_PATCH"), "LEAK")


class _ActsOnNeighbours(Policy):
    """Off by one group in the reduced layout: where FLOW stands, acting gathers the first future queries."""

    def newest(self, tokens: Tensor, *rest: Any) -> dict[str, Tensor]:
        wrong, right = self.layout.indices("FUT_S"), self.layout.indices("FLOW")
        return super().newest(tokens.index_copy(1, right, tokens[:, wrong]), *rest)


def off_by_one_group_when_acting() -> Fault:
    policy = random_policy(small_config())
    policy.__class__ = _ActsOnNeighbours
    return Fault(policy, "acting", ("ACT", "FUT_S", "same"), "LEAK", ("sdpa", "acting"))


class _ActsOnAbsentCameras(Policy):
    """Ignores, in the reduced layout alone, which cameras are there."""

    def newest(self, tokens: Tensor, frame_mask: Tensor, view_mask: Tensor, names: Any) -> dict[str, Tensor]:
        return super().newest(tokens, frame_mask, torch.ones_like(view_mask), names)


def padding_visible_when_acting() -> Fault:
    policy = random_policy(small_config())
    policy.__class__ = _ActsOnAbsentCameras
    named = ("padding (acting, last camera absent)", "ACT[0]@2 <- W_PATCH")
    return Fault(policy, "audits", named, "LEAK", ("sdpa", "acting"))


FAULTS: dict[str, Callable[[], Fault]] = {
    "off-by-one group": off_by_one_group,
    "dropped under checkpointing": dropped_under_checkpointing,
    "dropped in recomputation": dropped_in_recomputation,
    "dropped when captured": dropped_when_captured,
    "key mask hides all queries": queries_hidden_from_all,
    "-100 constants": soft_constants,
    "future leak by one frame": future_leak,
    "doubly masked row": doubly_masked_row,
    "padding visible": padding_visible,
    "off-by-one group when acting": off_by_one_group_when_acting,
    "padding visible when acting": padding_visible_when_acting,
}


def say(config: pytest.Config, line: str) -> None:
    """A line of pytest's report, where there is one (a worker process has none)."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is not None and capture is not None:
        with capture.global_and_fixture_disabled():
            reporter.write_line(f"\n{line}")


def correct_configs() -> dict[str, PolicyConfig]:
    """Ten configurations that differ in layout, causality, goal and views; all of them are proved with padding."""
    base, tokens = small_config(), small_config().tokens
    one = replace(base.stats, depth_mean=(1.0,), depth_std=(1.0,))
    order = ("ACT", "FUT", "FLOW", "DEPTH")
    return {
        "default": base,
        "token causal": replace(base, tokens=replace(tokens, input_causality="token")),
        "backbone": replace(
            base,
            tokens=replace(tokens, input_causality="token", query_group_attn="none", query_order=order),
            foresight=("future",),
            goal_image=True,
            progress=True,
        ),
        "goal, frame causal": replace(base, goal_image=True),
        "one view": replace(base, views=("static",), stats=one),
        "no queries but action": replace(base, foresight=()),
        "queries in another order": replace(base, tokens=replace(tokens, query_order=order)),
        "everything visible to the action": replace(
            base, tokens=replace(tokens, act_sees_future=True, future_cross_view=True, action=2)
        ),
        "depth queries, flow of the wrist": replace(base, depth_source="depth_query", flow_view="wrist"),
        "one frame, future blind to flow": replace(
            base, window=replace(base.window, n_obs_steps=1), tokens=replace(tokens, future_sees_flow=False)
        ),
    }

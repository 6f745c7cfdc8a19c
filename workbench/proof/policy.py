"""This project's policy as the subject of a proof: its trunk, between assembled tokens and trunk outputs.

Dimensions: b batch, n token, d width, h heads, r rows.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from model.attention import Attention, Capture, use_attention
from model.config import PolicyConfig, TextEncoderConfig, preset
from model.policy import Policy

from .adapter import Forward, Padding, basic_mode, reseeded
from .modes import ALL_MODES
from .report import Group
from .sequence import TokenTable


class PolicySubject:
    """A policy whose mask is proved. It is put into modes and restored: nobody may use it meanwhile.

    Args:
        policy: With the weights in question.
        name: For reports.
        expression: Python that makes this subject again, for reproducers.
    """

    def __init__(self, policy: Policy, name: str, *, expression: str = "subject"):
        self.policy, self.name, self.expression = policy, name, expression
        self.table = _table(policy)
        self.width = policy.config.trunk.width
        self.modes: tuple[str, ...] = ALL_MODES
        self.paddings = _paddings(policy, self.table)

    @property
    def module(self) -> nn.Module:
        """The trunk."""
        return self.policy.trunk

    @property
    def layers(self) -> Sequence[nn.Module]:
        """Its blocks."""
        return list(self.policy.trunk.blocks)

    @contextmanager
    def running(self, mode: str) -> Generator[Forward, None, None]:
        """See `Subject`."""
        policy = self.policy
        capture = Capture(rows=self._captured_groups) if mode == "capture" else None
        contextualise = policy.contextualise
        if mode == "compiled":
            contextualise = torch.compile(policy.contextualise, dynamic=False)

        def forward(tokens: Tensor, padding: Padding | None = None) -> Tensor:
            frames, views = self._presence(len(tokens), padding)
            if mode == "acting":
                acting = policy.newest(tokens, frames, views, ("ACT",))["ACT"]
                where = self.computed(mode, padding).nonzero()[:, 0].to(tokens.device)
                return torch.full_like(tokens, torch.nan).index_copy(1, where, acting)
            if mode == "checkpointed":  # layers are recomputed only where a gradient could be asked for
                with torch.enable_grad():
                    return contextualise(tokens, frames, views)[0]
            return contextualise(tokens, frames, views, capture=capture)[0]

        with ExitStack() as stack:
            stack.enter_context(basic_mode(policy.trunk, mode))
            stack.enter_context(_switched(policy, mode))
            yield reseeded(forward) if mode == "train" else forward

    def computed(self, mode: str, padding: Padding | None = None) -> Bool[Tensor, " n"]:
        """All rows; acting, the newest real frame's ACT."""
        table, newest = self.table, self.table.n_frames - 1
        if mode != "acting":
            return torch.ones(table.length, dtype=torch.bool)
        newest -= padding is not None and padding.name == LAST_FRAME
        return (table.group == table.index("ACT")) & (table.frame == newest)

    @property
    def captured_rows(self) -> Int64[Tensor, " r"]:
        """Positions whose attention mode `capture` returns."""
        return Capture(rows=self._captured_groups).positions(self.policy.layout).flatten()

    @torch.no_grad()
    def captured(self, tokens: Float[Tensor, "1 n d"]) -> dict[int, Float[Tensor, "1 h r n"]]:
        """The attention that capture returns, by layer from 1, rows as in `captured_rows`."""
        frames, views = self._presence(1, None)
        with basic_mode(self.policy.trunk, "capture"):
            capture = Capture(rows=self._captured_groups)
            _, found = self.policy.contextualise(tokens, frames, views, capture=capture)
        return {layer + 1: item for layer, item in found.items()}

    @property
    def _captured_groups(self) -> tuple[str, ...]:
        return tuple(group.name for group in self.policy.layout.groups)

    def _presence(self, batch: int, padding: Padding | None) -> tuple[Tensor, Tensor]:
        """Frame and view masks of the policy's interface; a padding is told to it by these alone."""
        frames = torch.ones(batch, self.table.n_frames, dtype=torch.bool)
        views = torch.ones(batch, len(self.policy.config.views), dtype=torch.bool)
        if padding is not None and padding.name == LAST_FRAME:
            frames[:, -1] = False
        elif padding is not None:
            views[:, -1] = False
        device = self.policy.mask.device
        return frames.to(device), views.to(device)


LAST_FRAME, LAST_VIEW = "last frame padded", "last camera absent"


def proof_config(config: PolicyConfig) -> PolicyConfig:
    """The same trunk, mask and decoders behind encoders that cost nothing: what a preset's proof needs."""
    frozen = config.image.kind == "vit"
    image = replace(config.image, kind="stub", weights=None) if frozen else config.image
    text = TextEncoderConfig() if config.text.kind == "clip" else config.text
    return replace(config, image=image, text=text)


def preset_subject(name: str, seed: int = 0) -> PolicySubject:
    """A preset with random weights; zero-initialised parameters are drawn too, or allowed paths would look dead."""
    policy = random_policy(proof_config(preset(name)), seed)
    return PolicySubject(policy, f"preset {name}", expression=f'preset_subject("{name}", {seed})')


def random_policy(config: PolicyConfig, seed: int = 0) -> Policy:
    """Random weights, none of them all zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = Policy(config).eval()
        redraw_zeros(policy)
    return policy


@torch.no_grad()
def redraw_zeros(module: nn.Module) -> None:
    """Draws what is zero-initialised: a zero head makes every allowed path look dead."""
    for parameter in module.parameters():
        if not bool(parameter.any()):
            parameter.normal_(std=0.02)


def _table(policy: Policy) -> TokenTable:
    layout = policy.layout
    groups = [Group(name=group.name, count=group.count, prefix=True) for group in layout.prefix]
    groups += [Group(name=group.name, count=group.count) for group in layout.groups]
    return TokenTable(groups=tuple(groups), n_frames=layout.n_frames)


def _paddings(policy: Policy, table: TokenTable) -> tuple[Padding, ...]:
    """The last frame, and the last camera with everything that belongs to it; by name, not by the layout's roles."""
    found: list[Padding] = []
    if table.n_frames > 1:
        found.append(Padding(name=LAST_FRAME, hidden=table.frame == table.n_frames - 1))
    config = policy.config
    if len(config.views) > 1:
        named = [name.startswith("W_") or name.endswith("_W") for name in (group.name for group in table.groups)]
        if config.flow_view == config.views[-1]:
            named = [is_w or group.name == "FLOW" for is_w, group in zip(named, table.groups, strict=True)]
        found.append(Padding(name=LAST_VIEW, hidden=torch.tensor(named)[table.group]))
    return tuple(found)


@contextmanager
def _switched(policy: Policy, mode: str) -> Generator[None, None, None]:
    """The switches of this project's trunk: attention written out, layers recomputed."""
    trunk = policy.trunk
    implementations: dict[Attention, Literal["sdpa", "eager"]] = {
        part: part.implementation for part in trunk.modules() if isinstance(part, Attention)
    }
    checkpointing = trunk.checkpointing
    try:
        use_attention(trunk, "eager" if mode == "eager" else "sdpa")
        trunk.checkpointing = mode == "checkpointed"
        yield
    finally:
        for part, implementation in implementations.items():
            part.implementation = implementation
        trunk.checkpointing = checkpointing

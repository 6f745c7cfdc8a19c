"""What can be proved: anything that turns assembled tokens into outputs through a list of layers.

Dimensions: b batch, n token, d width.

A foreign `nn.Module` needs five lines:

    table = TokenTable(groups=(Group(name="IMG", count=4), Group(name="ACT", count=1)), n_frames=6)
    subject = ForeignSubject(
        "my model", model, lambda tokens: model(inputs_embeds=tokens).last_hidden_state,
        table=table, layers=model.layers, width=64,
    )
    report = prove(subject, read_spec(Path("mask.json")))
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .sequence import TokenTable


@dataclass(frozen=True, kw_only=True)
class Padding:
    """A way in which a part of the sequence is absent.

    Attributes:
        name: `last frame padded`.
        hidden: Tokens that nobody may attend to.
    """

    name: str
    hidden: Bool[Tensor, " n"]


@runtime_checkable
class Forward(Protocol):
    """Assembled tokens to trunk outputs."""

    def __call__(self, tokens: Float[Tensor, "b n d"], padding: Padding | None = None) -> Float[Tensor, "b n d"]:
        """The same padding for the whole batch; row i of the result depends on row i of the batch alone."""
        ...


@runtime_checkable
class Subject(Protocol):
    """What a proof runs. It may be put into modes and precisions, and comes back as it was.

    Attributes:
        name: For reports.
        table: Which position is which token.
        width: Channels of a token.
        module: Whose parameters are used; its weights are hashed.
        layers: The layers in order. Each takes the tokens first and returns them, alone or first in a tuple.
        modes: Ways it can be run, of `workbench.proof.modes.ALL_MODES`.
        paddings: Ways in which tokens can be absent.
    """

    name: str
    table: TokenTable
    width: int
    modes: tuple[str, ...]
    paddings: tuple[Padding, ...]

    @property
    def module(self) -> nn.Module:
        """See above."""
        ...

    @property
    def layers(self) -> Sequence[nn.Module]:
        """See above."""
        ...

    def running(self, mode: str) -> AbstractContextManager[Forward]:
        """The forward pass in a mode; gradients as the caller has them, dropout off except in mode `train`."""
        ...


@runtime_checkable
class Reduced(Protocol):
    """A subject with modes that take in a part of the sequence and compute a part of the outputs."""

    def computed(self, mode: str, padding: Padding | None = None) -> Bool[Tensor, " n"]:
        """Rows that a mode computes; the others of its result are NaN."""
        ...


def computed_rows(subject: Subject, mode: str, padding: Padding | None = None) -> Bool[Tensor, " n"]:
    """Rows that a subject computes in a mode: all, unless it says otherwise."""
    if isinstance(subject, Reduced):
        return subject.computed(mode, padding)
    return torch.ones(subject.table.length, dtype=torch.bool)


class ForeignSubject:
    """A module that this project did not write.

    Args:
        name: For reports.
        module: It is put into evaluation mode, converted and restored.
        call: Tokens to outputs, (b, n, d) each.
        table: Groups and frames of the tokens.
        layers: Its layers, see `Subject`.
        width: Channels of a token.
        modes: More ways to run it: name -> context manager that is open while it runs, e.g. one that switches the
            attention's implementation to `eager`.
    """

    def __init__(
        self,
        name: str,
        module: nn.Module,
        call: Callable[[Tensor], Tensor],
        *,
        table: TokenTable,
        layers: Sequence[nn.Module],
        width: int,
        modes: Mapping[str, Callable[[], AbstractContextManager[object]]] | None = None,
    ):
        self.name, self.module, self.call = name, module, call
        self.table, self.layers, self.width = table, layers, width
        self._contexts = dict(modes or {})
        self.modes = ("sdpa", "eval", "train", "autocast", "compiled", *self._contexts)
        self.paddings: tuple[Padding, ...] = ()

    @contextmanager
    def running(self, mode: str) -> Generator[Forward, None, None]:
        """See `Subject`."""
        compiled = torch.compile(self.call) if mode == "compiled" else self.call

        def forward(tokens: Tensor, padding: Padding | None = None) -> Tensor:
            return compiled(tokens)

        with ExitStack() as stack:
            stack.enter_context(basic_mode(self.module, mode))
            if mode in self._contexts:
                stack.enter_context(self._contexts[mode]())
            yield reseeded(forward) if mode == "train" else forward


@contextmanager
def basic_mode(module: nn.Module, mode: str) -> Generator[None, None, None]:
    """Parameters frozen, training or evaluation, autocast; everything as it was afterwards."""
    training = {part: part.training for part in module.modules()}
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    device = next(module.parameters()).device.type
    try:
        for parameter in trained:
            parameter.requires_grad_(False)
        module.train(mode in ("train", "eval"))
        if mode != "train":
            module.eval()
        with torch.autocast(device, torch.bfloat16, enabled=mode == "autocast"):
            yield
    finally:
        for part, was in training.items():
            part.training = was
        for parameter in trained:
            parameter.requires_grad_(True)


def reseeded(forward: Forward, seed: int = 0) -> Forward:
    """The same dropout at every call of the same shape, so that runs can be compared; the global state is kept."""

    def again(tokens: Tensor, padding: Padding | None = None) -> Tensor:
        with torch.random.fork_rng(devices=[tokens.device] if tokens.device.type == "cuda" else []):
            torch.manual_seed(seed)
            return forward(tokens, padding)

    return again


@contextmanager
def in_precision(module: nn.Module, dtype: torch.dtype) -> Generator[None, None, None]:
    """Parameters and buffers in another floating dtype; a wider one and back changes nothing."""
    before = next(module.parameters()).dtype
    try:
        module.to(dtype)
        yield
    finally:
        module.to(before)

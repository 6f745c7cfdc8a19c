"""The tokens that every layer was given and made, and a layer run again alone."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class LayerCall:
    """One layer as it was called.

    Attributes:
        tokens: What it was given.
        out: What it made of them, of all or of some.
        again: The same layer with the same other arguments on other tokens.
    """

    tokens: Float[Tensor, "b n d"]
    out: Float[Tensor, "b _r d"]
    again: Callable[[Tensor], Tensor]


@contextmanager
def record(layers: Sequence[nn.Module]) -> Generator[list[LayerCall], None, None]:
    """The calls of a forward pass; a layer that is called again (recomputed in a backward pass) counts once."""
    calls: list[LayerCall] = []
    seen: set[nn.Module] = set()

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        if module in seen:
            return
        seen.add(module)
        named = None if args else next(iter(kwargs))

        def again(tokens: Tensor) -> Tensor:
            if named is not None:
                return _tokens(module(**{**kwargs, named: tokens}))
            return _tokens(module(tokens, *args[1:], **kwargs))

        calls.append(LayerCall(tokens=kwargs[named] if named else args[0], out=_tokens(result), again=again))

    handles = [layer.register_forward_hook(note, with_kwargs=True) for layer in layers]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _tokens(result: Any) -> Tensor:
    return result[0] if isinstance(result, tuple) else result

"""The masks that really reach attention, read where they arrive: at the fused kernel and at the softmax.

Dimensions: b batch, h heads, q rows, k columns, n token.

A `TorchFunctionMode` sees every call of `scaled_dot_product_attention` and of a softmax while a layer runs. A mask
there must be boolean, or hold 0 and -inf: any other finite constant only makes attention small, and a row without a
single allowed key has no meaning (uniform, zero or NaN, depending on the kernel).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_FUSED = functional.scaled_dot_product_attention
_SOFTMAX = (torch.softmax, functional.softmax, Tensor.softmax, torch.special.softmax)


@dataclass(frozen=True, kw_only=True)
class ArrivedMask:
    """What one call of attention allowed.

    Attributes:
        layer: Counted from 1.
        kind: `fused` or `softmax`.
        allowed: Where any head and batch entry may attend.
        constant: The finite value that was found in place of -inf or 0, NaN where there is none.
        fused: Queries, keys, values and result, for a fused call.
    """

    layer: int
    kind: str
    allowed: Bool[Tensor, "q k"]
    constant: Float[Tensor, "q k"]
    fused: tuple[Tensor, Tensor, Tensor, Tensor] | None = None


@contextmanager
def intercept(layers: Sequence[nn.Module]) -> Generator[list[ArrivedMask], None, None]:
    """Every call of attention over whole sequences inside these layers, in order."""
    recorder = _Recorder()
    handles: list[Any] = []
    for number, layer in enumerate(layers, 1):
        handles.append(layer.register_forward_pre_hook(recorder.entering(number)))
        handles.append(layer.register_forward_hook(recorder.leaving()))
    try:
        with recorder:
            yield recorder.arrived
    finally:
        for handle in handles:
            handle.remove()


class _Recorder(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.arrived: list[ArrivedMask] = []
        self._layer = 0

    def entering(self, layer: int) -> Callable[..., None]:
        def hook(*_: object) -> None:
            self._layer = layer

        return hook

    def leaving(self) -> Callable[..., None]:
        def hook(*_: object) -> None:
            self._layer = 0

        return hook

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        result = func(*args, **named)
        if self._layer and func is _FUSED:
            self.arrived.append(_fused(self._layer, args, named, result))
        elif self._layer and func in _SOFTMAX and args[0].ndim >= 3:
            self.arrived.append(_softmax(self._layer, args[0]))
        return result


def _fused(layer: int, args: tuple[Any, ...], named: Mapping[str, Any], result: Tensor) -> ArrivedMask:
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
    given = {**dict(zip(names, args, strict=False)), **named}
    q, k, v, mask = given["query"], given["key"], given["value"], given.get("attn_mask")
    shape = (q.shape[-2], k.shape[-2])
    constant = torch.full(shape, math.nan)
    if mask is None:
        allowed = torch.ones(shape, dtype=torch.bool)
        allowed = allowed.tril() if given.get("is_causal") else allowed
    elif mask.dtype == torch.bool:
        allowed = _any(mask.expand(*mask.shape[:-2], *shape))
    else:
        mask = mask.detach().expand(*mask.shape[:-2], *shape)
        allowed = _any(mask != -math.inf)
        soft = (mask != 0) & (mask != -math.inf)
        constant = _first(torch.where(soft, mask, math.nan))
    return ArrivedMask(
        layer=layer,
        kind="fused",
        allowed=allowed,
        constant=constant,
        fused=(q.detach(), k.detach(), v.detach(), result),
    )


def _softmax(layer: int, scores: Tensor) -> ArrivedMask:
    """Scores carry no mask of their own: what is not -inf may attend, whatever its value."""
    scores = scores.detach()
    return ArrivedMask(layer=layer, kind="softmax", allowed=_any(scores != -math.inf), constant=_first(scores))


def placed_mask(
    item: ArrivedMask, whole: Bool[Tensor, "n n"], kept: Int64[Tensor, " m"], computed: Int64[Tensor, " r"]
) -> ArrivedMask | None:
    """A call of attention over a part of a sequence as one over all of it; None if it was over something else.

    Args:
        item: Over m columns, and m or r rows.
        whole: What counts for the rows that it leaves out. Columns that it leaves out are hidden from its rows.
        kept: Positions of its tokens.
        computed: Positions of the rows that a last layer computes.
    """
    rows, columns = item.allowed.shape
    if item.allowed.shape == whole.shape:
        return item
    if columns != len(kept) or rows not in (len(kept), len(computed)):
        return None
    at = (kept if rows == len(kept) else computed)[:, None]
    allowed = whole.clone()
    allowed[at[:, 0]] = False
    allowed[at, kept] = item.allowed
    constant = torch.full(whole.shape, math.nan)
    constant[at, kept] = item.constant
    return replace(item, allowed=allowed, constant=constant, fused=None)


def _any(allowed: Tensor) -> Bool[Tensor, "q k"]:
    return allowed.flatten(0, -3).any(0).cpu() if allowed.ndim > 2 else allowed.cpu()


def _first(values: Tensor) -> Float[Tensor, "q k"]:
    """The largest number over batch and heads, NaN where there is none."""
    flat = values.float().flatten(0, -3) if values.ndim > 2 else values.float()[None]
    largest = torch.where(flat.isnan(), -math.inf, flat).amax(0).cpu()
    return torch.where(largest == -math.inf, math.nan, largest)

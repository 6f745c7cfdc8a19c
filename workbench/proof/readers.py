"""What every decoder says and which trunk outputs it may read: the declaration that decoders are proved against.

Dimensions: b batch, t frame, v view, p point, l flow step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from model.batch import Prediction
from model.config import PolicyConfig

POINTS = 16
"""Flow points of every view that are decoded."""
_LETTERS = {"static": "S", "wrist": "W"}
Read = Callable[[Prediction], Tensor]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One output of a decoder.

    Attributes:
        name: For reports.
        groups: What it may read, in its own frame.
        value: Picks it from the prediction of one frame: (b, ...).
        detached: Of these, the groups that it reads without a gradient.
    """

    name: str
    groups: tuple[str, ...]
    value: Read
    detached: tuple[str, ...] = ()


def readers(config: PolicyConfig) -> list[Reader]:
    """Every decoder output that a configuration stands for, and the trunk outputs it may read."""
    found: list[Reader] = []
    sources = {
        "image_tokens": ("{}_PATCH", "{}_CLS"),
        "future_query": ("FUT_{}",),
        "depth_query": ("DEPTH_{}",),
    }[config.depth_source]
    for index, view in enumerate(config.views):
        letter = _LETTERS[view]
        depth = tuple(name.format(letter) for name in sources)
        if "depth" in config.foresight:
            found.append(Reader(name=f"depth, {view}", groups=depth, value=_view("depth", index)))
        if "future" in config.foresight:
            future = (f"FUT_{letter}",)
            found.append(Reader(name=f"future RGB, {view}", groups=future, value=_view("future_rgb", index)))
            if config.future_depth:
                if config.future_depth_trunk == "own_queries":
                    future = (f"FUTD_{letter}",)
                # The composed future depth starts from the predicted current one, through which no gradient flows.
                blended = depth if config.future_readout == "composite" else ()
                detached = tuple(name for name in blended if name not in future)
                reads = tuple(dict.fromkeys((*future, *blended)))
                name = f"future depth, {view}"
                found.append(Reader(name=name, groups=reads, value=_view("future_depth", index), detached=detached))
    if "flow" in config.foresight:
        found.append(Reader(name="flow", groups=("FLOW",), value=_flow(0)))
        if config.flow_view == "both":
            found.append(Reader(name="flow, wrist", groups=("FLOW_W",), value=_flow(1)))
    found.append(Reader(name="action", groups=("ACT",), value=lambda prediction: _whole(prediction.action)))
    if config.progress:
        found.append(Reader(name="progress", groups=("PROG",), value=lambda prediction: _whole(prediction.progress)))
    return found


def _view(field: str, index: int) -> Read:
    return lambda prediction: _whole(getattr(prediction, field))[:, :, index]


def _flow(index: int) -> Read:
    """The points of one flow view: `POINTS` of them, view by view."""
    points = slice(index * POINTS, (index + 1) * POINTS)

    def read(prediction: Prediction) -> Tensor:
        visible = _whole(prediction.flow_visible_logit)
        return torch.cat([_whole(prediction.flow_delta), visible[..., None]], -1)[:, :, points]

    return read


def _whole(value: Tensor | None) -> Tensor:
    if value is None:
        raise LookupError("a decoder that the configuration has made no prediction")
    return value

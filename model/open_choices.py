"""The questions that the paper (arXiv 2502.10028) leaves open, and the field of the configuration that answers each.

What it leaves open about the data (which trajectories, play or labelled segments only) is answered by the episodes that
a policy is trained on, which its model card lists.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from .config import PolicyConfig

OPEN: dict[str, tuple[str, ...]] = {
    "What the decoder of the current depth reads": ("depth_source",),
    "How many flow queries a frame": ("tokens.flow",),
    "Horizon and stride of the flow, control steps": ("window.flow_steps", "window.flow_stride"),
    "Views whose points are followed": ("flow_view",),
    "Flow as displacement or as place": ("flow.readout",),
    "Coordinates of the flow": ("flow.coordinates",),
    "Whether the flow decoder is given the start depth": ("flow.start_depth",),
    "Whether its points see one another": ("flow.attention",),
    "Queries and decoder of the future's depth": ("future_depth_trunk",),
    "How far ahead the future image lies, control steps": ("window.future_offset",),
    "Whether FUTURE queries see FLOW": ("tokens.future_sees_flow",),
    "Whether ACT queries see FUTURE": ("tokens.act_sees_future",),
    "Whether FUTURE queries of one view see the other's": ("tokens.future_cross_view",),
    "Order inside a frame, and whether queries see themselves": (
        "tokens.input_causality",
        "tokens.query_group_attn",
        "tokens.query_order",
        "tokens.time_on_queries",
    ),
    "Goal image and task progress of the backbone": ("goal_image", "progress"),
    "Error of the depth": ("loss.depth_form",),
    "Error of the flow": ("loss.flow_form", "loss.flow_beta", "loss.flow_occluded", "loss.flow_velocity"),
    "Weight of visibility inside the flow's loss": ("loss.flow_visibility",),
    "Weight of depth beside RGB in the future's loss": ("loss.future_depth",),
    "Weights inside the action's loss": ("loss.gripper", "loss.kl"),
    "Resolution of the depth": ("depth.output_stride",),
    "Scale of the depth, metres": ("stats.depth_mean", "stats.depth_std"),
    "Whether RGB is compared by patches of zero mean and unit deviation": ("norm_pix",),
}
"""Question -> dotted names of fields."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one policy answers.

    Attributes:
        field: Dotted name in the configuration.
        value: Its value.
        choices: What it may be, where that is a list; else empty.
    """

    question: str
    field: str
    value: Any
    choices: tuple[Any, ...]


def answers(config: PolicyConfig) -> Iterator[Answer]:
    """One answer a field, in the order of `OPEN`."""
    for question, fields in OPEN.items():
        for name in fields:
            *parents, last = name.split(".")
            owner: Any = config
            for parent in parents:
                owner = getattr(owner, parent)
            yield Answer(question=question, field=name, value=getattr(owner, last), choices=_choices(type(owner), last))


def _choices(owner: type, name: str) -> tuple[Any, ...]:
    hint = typing.get_type_hints(owner)[name]
    if hint is bool:
        return (True, False)
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()

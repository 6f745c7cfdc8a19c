"""The token layout, index by index."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from model.config import PolicyConfig, TokenConfig, preset
from model.tokens import PREFIX_FRAME, Role, TokenGroup, TokenLayout, token_layout

PAPER_FRAME = {
    "LANG": (0, 1),
    "STATE": (1, 2),
    "S_PATCH": (2, 11),
    "S_CLS": (11, 12),
    "W_PATCH": (12, 21),
    "W_CLS": (21, 22),
    "FLOW": (22, 32),
    "FUT_S": (32, 42),
    "FUT_W": (42, 52),
    "ACT": (52, 53),
}


def test_paper_layout() -> None:
    layout = token_layout(PolicyConfig(name="foresight"))
    assert {g.name: (layout.within_frame(g.name).start, layout.within_frame(g.name).stop) for g in layout.groups} == (
        PAPER_FRAME
    )
    assert (layout.frame_length, layout.length) == (53, 530)


def test_indices_run_frame_after_frame() -> None:
    layout = token_layout(PolicyConfig(name="foresight"))
    assert layout.indices("ACT").tolist() == [52 + 53 * t for t in range(10)]
    assert layout.indices("STATE", [3, 1]).tolist() == [160, 54]
    assert [layout.tokens[i].name for i in layout.indices("FUT_W", [9])] == ["FUT_W"] * 10
    assert layout.frames[layout.indices("FLOW", [7])].tolist() == [7] * 10


def test_inputs_are_everything_but_queries() -> None:
    layout = token_layout(PolicyConfig(name="foresight"))
    inputs = layout.inputs()
    assert len(inputs) == 220
    assert {layout.tokens[i].name for i in inputs} == {"LANG", "STATE", "S_PATCH", "S_CLS", "W_PATCH", "W_CLS"}


def test_prefix_shifts_everything() -> None:
    goal = TokenGroup(name="GOAL", role=Role.GOAL, count=10)
    plain = token_layout(preset("tiny"))
    layout = TokenLayout(groups=plain.groups, n_frames=3, prefix=(goal,))
    assert layout.length == plain.length + 10
    assert torch.equal(layout.indices("ACT"), plain.indices("ACT") + 10)
    assert layout.frames[:10].tolist() == [PREFIX_FRAME] * 10
    assert layout.inputs()[:10].tolist() == list(range(10))


def test_groups_follow_the_configuration() -> None:
    tiny = preset("tiny")
    assert "FLOW" not in token_layout(replace(tiny, foresight=("depth", "future")))
    assert "FUT_S" not in token_layout(replace(tiny, foresight=("depth", "flow")))
    assert "DEPTH_W" in token_layout(replace(tiny, depth_source="depth_query"))
    assert "W_CLS" not in token_layout(
        replace(tiny, views=("static",), stats=replace(tiny.stats, depth_mean=(1.0,), depth_std=(1.0,)))
    )
    order = token_layout(replace(tiny, tokens=TokenConfig(query_order=("ACT", "FUT", "FLOW", "DEPTH")))).groups
    assert [group.name for group in order][-4:] == ["ACT", "FUT_S", "FUT_W", "FLOW"]


def test_unknown_group_names_the_known() -> None:
    with pytest.raises(KeyError, match=r"no token group 'FUTURE'; there are LANG, STATE"):
        token_layout(preset("tiny")).within_frame("FUTURE")

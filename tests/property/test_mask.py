"""The attention mask against its rules, written down a second time: as a table, and token by token."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.attention import attention_mask
from model.config import PolicyConfig, TokenConfig, preset
from model.tokens import Role, TokenGroup, TokenLayout, token_layout

ROLES = ["LANG", "STATE", "IMG", "FLOW", "FUT_S", "FUT_W", "ACT"]
TABLE = """
LANG   | 1 1 | 1 1 | 1 1 | 0 0 | 0 0 | 0 0 | 0 0
STATE  | 1 1 | 1 1 | 1 1 | 0 0 | 0 0 | 0 0 | 0 0
IMG    | 1 1 | 1 1 | 1 1 | 0 0 | 0 0 | 0 0 | 0 0
FLOW   | 1 1 | 1 1 | 1 1 | 0 1 | 0 0 | 0 0 | 0 0
FUT_S  | 1 1 | 1 1 | 1 1 | 0 1 | 0 1 | 0 0 | 0 0
FUT_W  | 1 1 | 1 1 | 1 1 | 0 1 | 0 0 | 0 1 | 0 0
ACT    | 1 1 | 1 1 | 1 1 | 0 1 | 0 0 | 0 0 | 0 1
"""
"""Row attends to column in an earlier frame, in its own frame. Later frames: always 0."""


def _kind(name: str) -> str:
    return "IMG" if name.endswith(("_PATCH", "_CLS")) else name


def test_default_mask_is_the_table_of_the_specification() -> None:
    layout = token_layout(PolicyConfig(name="foresight"))
    mask = attention_mask(layout, TokenConfig())
    kinds = [_kind(group.name) for group in layout.tokens]
    cells: dict[tuple[str, str, int], set[bool]] = {}
    for q in range(layout.length):
        for k in range(layout.length):
            relation = int(torch.sign(layout.frames[k] - layout.frames[q]))
            cells.setdefault((kinds[q], kinds[k], relation), set()).add(bool(mask[q, k]))
    for line in TABLE.strip().splitlines():
        row, *columns = [part.split() for part in line.split("|")]
        for column, (earlier, same) in zip(ROLES, columns, strict=True):
            assert cells[row[0], column, -1] == {earlier == "1"}, (row[0], column, "earlier")
            assert cells[row[0], column, 0] == {same == "1"}, (row[0], column, "same")
            assert cells[row[0], column, 1] == {False}, (row[0], column, "later")


def _expected(layout: TokenLayout, rules: TokenConfig, q: int, k: int) -> bool:
    """The rules for one pair of tokens."""
    row, column = layout.tokens[q], layout.tokens[k]
    frame_q, frame_k = int(layout.frames[q]), int(layout.frames[k])
    in_order = rules.input_causality == "frame" or k <= q
    if row.role is Role.GOAL:
        return column.role is Role.GOAL and in_order
    if column.role is Role.GOAL:
        return True
    if frame_k > frame_q:
        return False
    if column.role is Role.INPUT:
        return frame_k < frame_q or row.role is not Role.INPUT or in_order
    if frame_k < frame_q or row.role is Role.INPUT:
        return False
    if column.role is Role.FLOW and (row.role is Role.ACTION or (row.role is Role.FUTURE and rules.future_sees_flow)):
        return True
    if column.role is Role.FUTURE and row.role is Role.ACTION:
        return rules.act_sees_future
    if rules.query_group_attn == "none":
        return False
    return row.name == column.name or (row.role is column.role is Role.FUTURE and rules.future_cross_view)


CASES = st.fixed_dictionaries(
    {
        "flow": st.integers(1, 3),
        "future": st.integers(1, 3),
        "action": st.integers(1, 2),
        "query_order": st.permutations(("DEPTH", "FLOW", "FUT", "ACT")),
        "input_causality": st.sampled_from(["frame", "token"]),
        "query_group_attn": st.sampled_from(["group", "none"]),
        "future_sees_flow": st.booleans(),
        "act_sees_future": st.booleans(),
        "future_cross_view": st.booleans(),
        "views": st.integers(1, 2),
        "frames": st.integers(1, 3),
        "latents": st.integers(1, 3),
        "foresight": st.sampled_from([("depth", "future", "flow"), ("future",), ("flow",), ("depth", "flow")]),
        "depth_source": st.sampled_from(["image_tokens", "depth_query"]),
        "progress": st.booleans(),
        "goal": st.integers(0, 3),
    }
)
Case = dict[str, Any]


def _build(case: Case) -> tuple[TokenLayout, TokenConfig]:
    """The layout and the rules of a drawn case: a policy's own, with goal prefix and progress query if drawn."""
    names = ("flow", "future", "action", "input_causality", "query_group_attn")
    names += ("future_sees_flow", "act_sees_future", "future_cross_view")
    rules = TokenConfig(query_order=tuple(case["query_order"]), depth=2, **{name: case[name] for name in names})
    tiny = preset("tiny")
    views = ("static", "wrist")[: case["views"]]
    config = replace(
        tiny,
        tokens=rules,
        views=views,
        stats=replace(tiny.stats, depth_mean=(1.0,) * len(views), depth_std=(1.0,) * len(views)),
        window=replace(tiny.window, n_obs_steps=case["frames"]),
        resampler=replace(tiny.resampler, latents=case["latents"]),
        foresight=case["foresight"],
        depth_source=case["depth_source"],
    )
    layout = token_layout(config)
    progress = (TokenGroup(name="PROG", role=Role.PROGRESS, count=1),) if case["progress"] else ()
    goal = (TokenGroup(name="GOAL", role=Role.GOAL, count=case["goal"]),) if case["goal"] else ()
    return TokenLayout(groups=layout.groups + progress, n_frames=layout.n_frames, prefix=goal), rules


@settings(max_examples=40, deadline=None)
@given(CASES)
def test_every_token_pair_of_any_layout(case: Case) -> None:
    layout, rules = _build(case)
    mask = attention_mask(layout, rules)
    assert mask.dtype == torch.bool
    assert mask.any(1).all()
    for q, row in enumerate(mask.tolist()):
        for k, allowed in enumerate(row):
            assert allowed == _expected(layout, rules, q, k), (q, k, layout.tokens[q], layout.tokens[k])


@settings(max_examples=20, deadline=None)
@given(CASES)
def test_closure_over_layers_keeps_inputs_clean_and_time_causal(case: Case) -> None:
    """However many layers: inputs are never reached from queries, and nothing from a later frame."""
    layout, rules = _build(case)
    reach = attention_mask(layout, rules) | torch.eye(layout.length, dtype=torch.bool)
    for _ in range(4):
        reach = (reach.float() @ reach.float()) > 0
    is_input = torch.tensor([group.role in (Role.INPUT, Role.GOAL) for group in layout.tokens])
    later = layout.frames[None, :] > layout.frames[:, None]
    assert not reach[is_input][:, ~is_input].any()
    assert not (reach & later).any()


def test_backbone_layout_is_a_lower_triangle_with_hidden_queries() -> None:
    """The paper's backbone: 450 tokens, one triangle over all of them, no query column visible to anybody."""
    names = [("LANG", 1), ("STATE", 1), ("S_PATCH", 9), ("S_CLS", 1), ("W_PATCH", 9), ("W_CLS", 1)]
    groups = [TokenGroup(name=name, role=Role.INPUT, count=count) for name, count in names]
    groups += [
        TokenGroup(name="ACT", role=Role.ACTION, count=1),
        TokenGroup(name="FUT_S", role=Role.FUTURE, count=10),
        TokenGroup(name="FUT_W", role=Role.FUTURE, count=10),
        TokenGroup(name="PROG", role=Role.PROGRESS, count=1),
    ]
    goal = TokenGroup(name="GOAL", role=Role.GOAL, count=10)
    layout = TokenLayout(groups=tuple(groups), n_frames=10, prefix=(goal,))
    mask = attention_mask(layout, TokenConfig(input_causality="token", query_group_attn="none"))
    expected = torch.ones(450, 450).tril().bool()
    is_query = torch.tensor([group.role not in (Role.INPUT, Role.GOAL) for group in layout.tokens])
    expected[:, is_query] = False
    assert layout.length == 450
    assert torch.equal(mask, expected)

"""No small mistake in tokens.py or attention.py changes the mask unseen: mutants of either are killed.

A mutant is the module with one operator, comparison, constant or condition changed. It is killed if it cannot run, or
gives another layout, mask or set of visible keys than the declared ones for one of eleven configurations. Survivors
are listed below; each is the same function written differently.
"""

from __future__ import annotations

import ast
import copy
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from model.config import PolicyConfig
from tests.proof_faults import correct_configs
from workbench.proof.declared import declared_by
from workbench.proof.sequence import TokenTable

ROOT = Path(__file__).parents[2] / "model"
FUNCTIONS = {
    "tokens": {"TokenLayout", "token_layout", "_query_groups"},
    "attention": {"attention_mask", "visible_keys", "presence_columns", "real_tokens"},
}
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
}
EQUIVALENT = {
    # The goal stands in a frame of its own before all others: no input is earlier, or in the same.
    "to_input & ~is_goal[:, None] -> to_input | to_input",
    # Whoever is not goal (not input) stands after all goal (after the inputs of its frame) anyway.
    "~is_goal[:, None] | free_order -> free_order | free_order",
    "~is_input[:, None] | free_order -> free_order | free_order",
    # Padding by one column more than is ever looked up.
    "0 -> 1 (pad)",
    "1 -> 2 (pad)",
}


def _mutants(tree: ast.Module, names: set[str]) -> Iterator[tuple[str, ast.Module]]:
    """Every change of one node inside the functions and classes so named."""
    lines = ast.unparse(tree).splitlines()
    tree = ast.parse("\n".join(lines))
    nodes = [node for part in tree.body if getattr(part, "name", "") in names for node in _walk(part)]
    for index, original in enumerate(nodes):
        for change in range(3):
            changed = copy.deepcopy(original)
            if not _change(changed, change):
                continue
            mutant = copy.deepcopy(tree)
            same = [node for part in mutant.body if getattr(part, "name", "") in names for node in _walk(part)]
            _change(same[index], change)
            where = " (pad)" if "functional.pad" in lines[original.lineno - 1] else ""  # type: ignore[attr-defined]
            yield f"{ast.unparse(original)} -> {ast.unparse(changed)}{where}", mutant


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it that are computed with: no decorators, no annotations."""
    yield node
    for field, value in ast.iter_fields(node):
        if field not in ("decorator_list", "annotation", "returns"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _walk(child)


def _change(node: ast.AST, change: int) -> bool:
    """Mutates a node in place; False if there is no such change of it."""
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and change == 0 and type(node.op) in SWAPS:
        node.op = SWAPS[type(node.op)]()  # type: ignore[assignment]
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr | ast.Add) and change:
        kept = node.left if change == 1 else node.right  # the other term is dropped
        node.left, node.op, node.right = kept, ast.BitOr(), copy.deepcopy(kept)
    elif isinstance(node, ast.Compare) and change == 0 and type(node.ops[0]) in SWAPS:
        node.ops[0] = SWAPS[type(node.ops[0])]()  # type: ignore[call-overload]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Invert) and change == 0:
        node.operand = ast.UnaryOp(ast.Invert(), node.operand)
    elif isinstance(node, ast.Constant) and type(node.value) is bool and change == 0:
        node.value = not node.value
    elif isinstance(node, ast.Constant) and type(node.value) is int and change < 2:
        node.value += 1 - 2 * change
    elif isinstance(node, ast.If | ast.IfExp) and change == 0:
        node.test = ast.UnaryOp(ast.Not(), node.test)
    else:
        return False
    return True


def _load(name: str, source: ast.Module | str) -> ModuleType:
    """A module of the model package from changed source; the caller puts sys.modules back."""
    module = ModuleType(f"model.{name}")
    module.__package__ = "model"
    sys.modules[f"model.{name}"] = module
    tree = ast.parse(source) if isinstance(source, str) else ast.fix_missing_locations(source)
    exec(compile(tree, f"{name} (mutant)", "exec"), module.__dict__)  # noqa: S102
    return module


def _agrees(tokens: Any, attention: Any, config: PolicyConfig) -> bool:
    """Layout, mask and visible keys of a (mutated) pair of modules are the declared ones."""
    spec, layout = declared_by(config), tokens.token_layout(config)
    assert spec.groups is not None
    assert spec.n_frames is not None
    table = TokenTable(groups=spec.groups, n_frames=spec.n_frames)
    names = [table.groups[group].name for group in table.group]
    inputs = [i for i, name in enumerate(names) if name in ("LANG", "STATE") or name.endswith(("_PATCH", "_CLS"))]
    same = (
        [group.name for group in layout.tokens] == names
        and torch.equal(layout.frames, table.frame)
        and layout.length == table.length
        and layout.inputs().tolist() == inputs
        and torch.equal(attention.attention_mask(layout, config.tokens), spec.mask(table))
        and "nothing" not in layout
    )
    for index, group in enumerate(table.groups):
        if not group.prefix:
            same = same and group.name in layout
            same = same and torch.equal(layout.indices(group.name), table.positions(index))
            some = torch.cat([table.positions(index, frame) for frame in (spec.n_frames - 1, 0)])
            same = same and torch.equal(layout.indices(group.name, [spec.n_frames - 1, 0]), some)
    return same and _hides(attention, layout, config, table, names)


def _hides(attention: Any, layout: Any, config: PolicyConfig, table: TokenTable, names: list[str]) -> bool:
    """Padded frames and absent cameras are hidden, nothing else."""
    frames, views = table.n_frames, len(config.views)
    frame_mask = torch.ones(2, frames, dtype=torch.bool)
    view_mask = torch.ones(2, views, dtype=torch.bool)
    frame_mask[0, 1:], view_mask[1, -1] = False, False
    keys = attention.visible_keys(layout, config.views, frame_mask, view_mask)
    letter, flow = ("S", "W")[views - 1], config.flow_view == config.views[-1]
    absent = [n.startswith(f"{letter}_") or n.endswith(f"_{letter}") or (n == "FLOW" and flow) for n in names]
    return torch.equal(keys[0], table.frame < 1) and torch.equal(keys[1], ~torch.tensor(absent))


def _configs() -> list[PolicyConfig]:
    """Those of the proof, and one whose groups all differ in size."""
    configs = list(correct_configs().values())
    odd = configs[0]
    tokens = replace(odd.tokens, flow=3, future=2, action=2, depth=1)
    full = replace(odd, tokens=tokens, depth_source="depth_query", goal_image=True, progress=True)
    seeing = replace(tokens, input_causality="token", act_sees_future=True)
    return [*configs, full, replace(full, tokens=seeing)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_mutant_of_the_mask_is_killed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    sources = {part: (ROOT / f"{part}.py").read_text("utf-8") for part in FUNCTIONS}
    configs = _configs()
    before = {f"model.{part}": sys.modules[f"model.{part}"] for part in FUNCTIONS}
    survivors: list[str] = []
    count = 0
    try:
        for what, mutant in _mutants(ast.parse(sources[name]), FUNCTIONS[name]):
            count += 1
            try:
                tokens = _load("tokens", mutant if name == "tokens" else sources["tokens"])
                attention = _load("attention", mutant if name == "attention" else sources["attention"])
                survived = all(_agrees(tokens, attention, config) for config in configs)
            except Exception:  # noqa: S112
                continue
            if survived:
                survivors.append(what)
    finally:
        sys.modules.update(before)
    with capsys.disabled():
        print(f"\n{name}.py: {count} mutants, {len(survivors)} survive: {survivors}")
    assert count > 40
    assert set(survivors) <= EQUIVALENT


def test_the_modules_as_they_are_agree() -> None:
    from model import attention, tokens

    assert all(_agrees(tokens, attention, config) for config in _configs())

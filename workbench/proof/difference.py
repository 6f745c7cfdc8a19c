"""Two masks compared cell by cell: of presets, of specification files, of a loaded model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from jaxtyping import Bool
from torch import Tensor

from model.attention import attention_mask
from model.config import PolicyConfig
from model.policy import Policy
from model.tokens import TokenLayout, token_layout

from .declared import Spec
from .report import Extent, Group, Relation
from .sequence import RELATION_SIGN, TokenTable, extent

FORMAT = "foresight-workbench mask difference 1"


@dataclass(frozen=True, kw_only=True)
class Masked:
    """A mask with its layout."""

    name: str
    table: TokenTable
    mask: Bool[Tensor, "n n"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A cell that differs.

    Attributes:
        left, right: Pairs that may look; None where that side has no such groups.
        detail: One sentence; two `some` may allow different tokens.
    """

    attender: str
    attended: str
    relation: Relation
    left: Extent | None
    right: Extent | None
    detail: str


def masked_by_model(name: str, policy: Policy) -> Masked:
    """The mask that a loaded policy really uses."""
    return Masked(name=name, table=_table(policy.layout), mask=policy.mask)


def masked_by_config(name: str, config: PolicyConfig) -> Masked:
    """The mask that the model builds for a configuration; no weights are made."""
    layout = token_layout(config)
    return Masked(name=name, table=_table(layout), mask=attention_mask(layout, config.tokens))


def masked_by_spec(spec: Spec, like: TokenTable) -> Masked:
    """The mask that a specification declares; what it leaves open is taken from `like`.

    Raises:
        ConfigError: Its rules name groups that are not there.
    """
    groups = like.groups if spec.groups is None else spec.groups
    table = TokenTable(groups=groups, n_frames=spec.n_frames or like.n_frames)
    return Masked(name=spec.name, table=table, mask=spec.mask(table))


def differences(left: Masked, right: Masked) -> list[Difference]:
    """Every cell that differs, in the order of the left layout, then of what only the right one has."""
    sides = (_cells(left), _cells(right))
    found: list[Difference] = []
    for key in dict.fromkeys([*sides[0], *sides[1]]):
        one, two = (side.get(key) for side in sides)
        extents = [None if item is None else item[0] for item in (one, two)]
        if one is None or two is None:
            detail = f"only {(left if two is None else right).name} has these groups"
        elif one[0] is not two[0]:
            detail = f"{one[0].value} of the pairs against {two[0].value}"
        elif one[1].shape != two[1].shape or bool((one[1] == two[1]).all()):
            continue
        else:
            detail = f"{int((one[1] != two[1]).sum())} of {one[1].numel()} pairs differ"
        if any(item not in (None, Extent.NONE) for item in extents):
            found.append(
                Difference(
                    attender=key[0], attended=key[1], relation=key[2], left=extents[0], right=extents[1], detail=detail
                )
            )
    return found


def difference_text(left: Masked, right: Masked) -> str:
    """The differing cells as lines of text."""
    found = differences(left, right)
    lines = [f"{left.name} against {right.name}: {len(found)} cells differ"]
    layouts = [f"{masked.table.length} tokens in {masked.table.n_frames} frames" for masked in (left, right)]
    lines += [f"  layout: {layouts[0]} against {layouts[1]}"] if left.table != right.table else []
    lines += [f"  {item.attender} <- {item.attended}, {item.relation.value}: {item.detail}" for item in found]
    return "\n".join(lines) + "\n"


def difference_json(left: Masked, right: Masked) -> str:
    """The differing cells as JSON."""
    found = [asdict(item) for item in differences(left, right)]
    layouts = [{"tokens": masked.table.length, "frames": masked.table.n_frames} for masked in (left, right)]
    record = {"format": FORMAT, "left": left.name, "right": right.name, "layouts": layouts, "differences": found}
    return json.dumps(record, indent=1) + "\n"


def _table(layout: TokenLayout) -> TokenTable:
    groups = [Group(name=group.name, count=group.count, prefix=True) for group in layout.prefix]
    groups += [Group(name=group.name, count=group.count) for group in layout.groups]
    return TokenTable(groups=tuple(groups), n_frames=layout.n_frames)


def _cells(masked: Masked) -> dict[tuple[str, str, Relation], tuple[Extent, Bool[Tensor, " _p"]]]:
    """Extent and token pairs of every cell whose time relation exists."""
    table, found = masked.table, {}
    for q, row in enumerate(table.groups):
        for k, column in enumerate(table.groups):
            rows, columns = table.positions(q), table.positions(k)
            relation = table.relation[rows][:, columns]
            pairs = masked.mask[rows][:, columns]
            for name, sign in RELATION_SIGN.items():
                if bool((relation == sign).any()):
                    chosen = pairs[relation == sign]
                    found[row.name, column.name, name] = (extent(chosen), chosen)
    return found

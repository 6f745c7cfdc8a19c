"""The declared mask: rules between named groups, and the rules that a policy's configuration stands for.

Written from the description of the mask and not from `model.attention`, so that a mistake there cannot hide here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from model.config import PolicyConfig
from model.errors import ConfigError

from .report import Group
from .sequence import RELATION_SIGN, TokenTable

Pattern = Literal["none", "all", "causal", "self"]
PATTERNS: tuple[Pattern, ...] = ("none", "all", "causal", "self")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What the attenders may see of the attended, by time. Rules add up; what no rule allows is forbidden.

    Patterns: `all` tokens, `none`, `causal` (those that do not stand later in the sequence), `self` (only itself).

    Attributes:
        attender: Names of groups.
        attended: Names of groups.
        earlier, same, later: What is allowed in earlier frames (the prefix among them), the same and later frames.
    """

    attender: tuple[str, ...]
    attended: tuple[str, ...]
    earlier: Pattern = "none"
    same: Pattern = "none"
    later: Pattern = "none"


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A declared mask.

    Attributes:
        name: For reports.
        rules: Who may look at whom.
        groups: The layout that the rules are about, prefix first; None leaves it to the model.
        n_frames: Its frames; None leaves it to the model.
    """

    name: str
    rules: tuple[Rule, ...]
    groups: tuple[Group, ...] | None = None
    n_frames: int | None = None

    def check(self, table: TokenTable) -> None:
        """Raises ConfigError where the layout of a model is not the declared one, or a rule names no group of it."""
        if self.groups is not None and self.groups != table.groups:
            raise ConfigError(f"specification '{self.name}' {_difference(self.groups, table.groups)}")
        if self.n_frames is not None and self.n_frames != table.n_frames:
            raise ConfigError(f"specification '{self.name}' has {self.n_frames} frames, the model {table.n_frames}")
        names = {group.name for group in table.groups}
        for index, rule in enumerate(self.rules):
            for field, value in (("attender", rule.attender), ("attended", rule.attended)):
                unknown = sorted(set(value) - names)
                if unknown:
                    raise ConfigError(
                        f"specification '{self.name}': rules[{index}].{field} names {', '.join(unknown)}; "
                        f"the groups are {', '.join(group.name for group in table.groups)}"
                    )

    def mask(self, table: TokenTable) -> Bool[Tensor, "n n"]:
        """True where row may attend to column, for a layout that `check` accepts."""
        self.check(table)
        order = torch.arange(table.length)
        patterns = {
            "all": torch.ones(table.length, table.length, dtype=torch.bool),
            "causal": order[None, :] <= order[:, None],
            "self": order[None, :] == order[:, None],
        }
        allowed = torch.zeros(table.length, table.length, dtype=torch.bool)
        for rule in self.rules:
            rows = torch.isin(table.group, torch.tensor([table.index(name) for name in rule.attender]))
            columns = torch.isin(table.group, torch.tensor([table.index(name) for name in rule.attended]))
            for relation, sign in RELATION_SIGN.items():
                pattern: Pattern = getattr(rule, relation.value)
                if pattern != "none":
                    allowed |= rows[:, None] & columns & (table.relation == sign) & patterns[pattern]
        return allowed


def _difference(declared: tuple[Group, ...], found: tuple[Group, ...]) -> str:
    """The first group that differs."""
    for ours, theirs in zip(declared, found, strict=False):
        if ours != theirs:
            return f"has {_words(ours)} where the model has {_words(theirs)}"
    extra = (declared if len(declared) > len(found) else found)[min(len(declared), len(found))]
    return f"{'has' if len(declared) > len(found) else 'lacks'} {_words(extra)}, the model does the opposite"


def _words(group: Group) -> str:
    return f"{'prefix ' if group.prefix else ''}{group.name} x {group.count}"


def declared_by(config: PolicyConfig) -> Spec:
    """The mask that a policy's configuration stands for (arXiv 2502.10028, and its fields where that is silent)."""
    tokens, order = config.tokens, _groups(config)
    goal = tuple(group.name for group in order if group.prefix)
    inputs = tuple(group.name for group in order if group.name.endswith(("LANG", "STATE", "_PATCH", "_CLS")))
    inputs = tuple(name for name in inputs if name not in goal)
    queries = tuple(group.name for group in order if group.name not in (*goal, *inputs))
    future = tuple(name for name in queries if name.startswith("FUT"))
    flow = tuple(name for name in queries if name.startswith("FLOW"))
    in_frame: Pattern = "all" if tokens.input_causality == "frame" else "causal"
    rules = [
        Rule(attender=inputs, attended=inputs, earlier="all", same=in_frame),
        Rule(attender=queries, attended=inputs, earlier="all", same="all"),
        Rule(attender=goal, attended=goal, same=in_frame),
        Rule(attender=(*inputs, *queries), attended=goal, earlier="all"),
    ]
    seers = ("ACT", *future) if tokens.future_sees_flow else ("ACT",)
    rules.append(Rule(attender=seers, attended=flow, same="all"))
    if tokens.act_sees_future:
        rules.append(Rule(attender=("ACT",), attended=future, same="all"))
    if tokens.query_group_attn == "group":
        rules += [Rule(attender=(name,), attended=(name,), same="all") for name in queries]
        if tokens.future_cross_view:
            rules.append(Rule(attender=future, attended=future, same="all"))
    kept = tuple(rule for rule in rules if rule.attender and rule.attended)
    return Spec(name=f"configuration {config.name}", rules=kept, groups=order, n_frames=config.window.n_obs_steps)


def _groups(config: PolicyConfig) -> tuple[Group, ...]:
    """The layout that the configuration stands for, counted here a second time."""
    tokens, latents = config.tokens, config.resampler.latents
    letters = ["S", "W"][: len(config.views)]
    groups: list[Group] = []
    if config.goal_image:
        groups += [Group(name="GOAL_PATCH", count=latents, prefix=True), Group(name="GOAL_CLS", count=1, prefix=True)]
    groups += [Group(name="LANG", count=1), Group(name="STATE", count=1)]
    for letter in letters:
        groups += [Group(name=f"{letter}_PATCH", count=latents), Group(name=f"{letter}_CLS", count=1)]
    flow = ["FLOW", "FLOW_W"] if config.flow_view == "both" else ["FLOW"]
    own_depth = config.future_depth and config.future_depth_trunk == "own_queries"
    future = [f"{kind}_{x}" for kind in (["FUT", "FUTD"] if own_depth else ["FUT"]) for x in letters]
    members = {
        "FLOW": [Group(name=x, count=tokens.flow) for x in flow] if "flow" in config.foresight else [],
        "FUT": [Group(name=x, count=tokens.future) for x in future] if "future" in config.foresight else [],
        "DEPTH": [Group(name=f"DEPTH_{x}", count=tokens.depth) for x in letters]
        if "depth" in config.foresight and config.depth_source == "depth_query"
        else [],
        "ACT": [Group(name="ACT", count=tokens.action)],
        "PROG": [Group(name="PROG", count=1)] if config.progress else [],
    }
    for name in (*tokens.query_order, *(["PROG"] if "PROG" not in tokens.query_order else [])):
        groups += members[name]
    return tuple(groups)

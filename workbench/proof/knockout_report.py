"""The result of the knock-outs, without torch: what was replaced by what, what that did to the action, and its JSON."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from typing import Literal

from model.config_json import parse_config
from trainer.metrics.interval import Interval

FORMAT = "foresight-workbench knockout 1"

Measure = Literal["translation_mm", "rotation_deg", "gripper_flips"]
MEASURES: tuple[Measure, ...] = ("translation_mm", "rotation_deg", "gripper_flips")
UNITS: dict[Measure, str] = {"translation_mm": "mm", "rotation_deg": "degrees", "gripper_flips": "% of actions"}

Replacement = Literal["zero", "mean", "time", "episode"]
REPLACEMENTS: tuple[Replacement, ...] = ("zero", "mean", "time", "episode")
REPLACEMENT_WORDS: dict[Replacement, str] = {
    "zero": "zeros",
    "mean": "the mean over the sampled times",
    "time": "another time of this episode, half the sampled times away",
    "episode": "another episode, at the same share of its length",
}

Status = Literal["measured", "blocked", "constant", "absent"]
STATUS_WORDS: dict[Status, str] = {
    "measured": "measured",
    "blocked": "the mask lets no path lead from here to the action",
    "constant": "the replacement is the same value: nothing was changed",
    "absent": "not in this policy or episode",
}

Verdict = Literal["stronger", "alike", "weaker", "no effect"]
VERDICT_WORDS: dict[Verdict, str] = {
    "stronger": "changes the action, more than random tokens",
    "alike": "not told apart from random tokens",
    "weaker": "changes the action, less than random tokens",
    "no effect": "allowed, yet the action stays the same",
}
NEEDS_ANOTHER = (
    "not answerable from one checkpoint, because nothing at inference reads it; compare with another checkpoint, one "
    "that was trained without it"
)
NO_EFFECT: dict[Measure, float] = {"translation_mm": 1e-3, "rotation_deg": 1e-3, "gripper_flips": 0.0}
"""At most this much is rounding, not use: a thousandth of a millimetre or degree."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a checkpoint or an episode is called, what it is about (its preset, its instruction), and its hash."""

    name: str
    about: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One measure with its interval over the times of the episode."""

    measure: Measure
    value: Interval


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One measure of one knock-out; each interval is over the times of the episode.

    Attributes:
        change: Of the action, mean over the steps of the chunk.
        random: The same for random tokens of the same number, mean over the draws.
        excess: change - random, paired by time.
        verdict: From `excess`: its interval lies above zero, across it or below; or `change` is rounding.
    """

    measure: Measure
    change: Interval
    random: Interval
    excess: Interval
    verdict: Verdict


@dataclass(frozen=True, kw_only=True)
class Knockout:
    """One target replaced in one way.

    Attributes:
        target: What was replaced: a token group, a camera, language, state.
        tokens: Tokens of it that can reach the action; as many random ones were replaced for comparison.
        status: `blocked` is the mask's doing and is never called unused.
        attention: Share of the action's attention on the target's tokens, mean over layers and heads.
        uniform: The share they would have if the action looked evenly at everything it may see.
        effects: One for each measure; empty unless measured.
    """

    target: str
    replacement: Replacement
    tokens: int
    status: Status
    attention: Interval | None
    uniform: float
    effects: tuple[Effect, ...]

    def effect(self, measure: Measure) -> Effect | None:
        """The effect in one measure, None unless measured."""
        return next((effect for effect in self.effects if effect.measure == measure), None)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two checkpoints at the same times: the only way to see what acts in training alone.

    Attributes:
        against: The other checkpoint.
        change: Between the two policies' actions.
        error, error_against: Of each against the recorded actions; empty where none were recorded.
        differences: Fields of the two configurations that differ; a change is due to all of them and to chance.
    """

    against: Identity
    change: tuple[Measured, ...]
    error: tuple[Measured, ...]
    error_against: tuple[Measured, ...]
    differences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class KnockoutReport:
    """All knock-outs of one checkpoint on one episode.

    Attributes:
        other_episode: Where replacements "episode" come from.
        steps: The n control steps whose actions were changed.
        action_size: Of the unchanged action: how far it moves and turns, to judge a change by.
        draws: Random sets a knock-out is compared with.
        training_only: Supervision that nothing at inference reads.
        comparison: With another checkpoint, if one was given.
        versions: Of the programs, "torch 2.13.0".
        notes: What the reader must know.
    """

    format: str
    checkpoint: Identity
    episode: Identity
    other_episode: Identity | None
    steps: tuple[int, ...]
    action_size: tuple[Measured, ...]
    rows: tuple[Knockout, ...]
    draws: int
    seed: int
    training_only: tuple[str, ...]
    comparison: Comparison | None
    versions: tuple[str, ...]
    notes: tuple[str, ...]


def ranked(report: KnockoutReport, measure: Measure, replacement: Replacement) -> list[Knockout]:
    """The knock-outs of one kind: measured ones by falling change, then the others."""
    rows = [row for row in report.rows if row.replacement == replacement]

    def place(row: Knockout) -> float:
        effect = row.effect(measure)
        return math.inf if effect is None else -effect.change.mean

    return sorted(rows, key=place)


def report_json(report: KnockoutReport) -> str:
    """The report as JSON, its fields in the order of `KnockoutReport`."""
    return json.dumps(asdict(report), indent=1, allow_nan=False) + "\n"


def report_from_json(text: str) -> KnockoutReport:
    """Reads what `report_json` wrote.

    Raises:
        ConfigError: A field is missing, unknown or ill-typed; says which.
    """
    return parse_config(KnockoutReport, text)

"""`python -m workbench knockout EPISODE`: is it used? Tokens knocked out against random ones, and what the action does.

A measurement, not a proof: the exit code is 0 whatever comes out, 2 for bad input.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from model.errors import ConfigError
from trainer.episodes.open import open_episode
from trainer.metrics.interval import Interval

from .inspect import BUNDLED
from .proof.knockout_report import (
    MEASURES,
    NEEDS_ANOTHER,
    REPLACEMENT_WORDS,
    REPLACEMENTS,
    STATUS_WORDS,
    UNITS,
    VERDICT_WORDS,
    Knockout,
    KnockoutReport,
    Measure,
    ranked,
    report_json,
)
from .proof.output import ProgressLine, check_writable, write_text

_HEADLINE: Measure = "translation_mm"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Knock out the flow, each camera, language and state, and rank them by what that does to the action.

    Attributes:
        episode: Episode folder, or PATH#INDEX.
        checkpoint: Checkpoint folder.
        other: Another episode, for the replacement "swap with another episode". A different instruction makes language
            answerable.
        against: Another checkpoint, for what acts in training only (for example one trained without depth).
        times: Control steps to measure at, evenly spread.
        draws: Random sets of tokens that each knock-out is compared with.
        seed: Of the random sets.
        json: Write the result there as well.
    """

    episode: Annotated[str, tyro.conf.Positional]
    checkpoint: Path = BUNDLED
    other: str | None = None
    against: Path | None = None
    times: int = 16
    draws: int = 8
    seed: int = 0
    json: Path | None = None


def main(argv: list[str]) -> int:
    """Runs the command; see `--help`."""
    options = tyro.cli(Options, args=argv, prog="python -m workbench knockout")
    check_writable("--json", options.json)
    report = run(options)
    if options.json is not None:
        write_text("--json", options.json, report_json(report))
    sys.stdout.write(table(report))
    return 0


def run(options: Options) -> KnockoutReport:
    """Measures.

    Raises:
        CheckpointError, EpisodeError, ConfigError: An input cannot be used.
    """
    import dataclasses

    if options.times < 2 or options.draws < 1:
        raise ConfigError("--times must be at least 2 and --draws at least 1")
    from trainer.loop.checkpoint import load_checkpoint

    from .proof.comparison import compare_checkpoints
    from .proof.knockout import knock_out

    episode = open_episode(options.episode)
    other = None if options.other is None else open_episode(options.other)
    loaded = load_checkpoint(options.checkpoint)
    against = None if options.against is None else load_checkpoint(options.against)
    report = knock_out(
        loaded,
        episode,
        other=other,
        times=options.times,
        draws=options.draws,
        seed=options.seed,
        progress=ProgressLine(),
    )
    if against is None:
        return report
    return dataclasses.replace(report, comparison=compare_checkpoints(loaded, against, episode, report.steps))


def table(report: KnockoutReport) -> str:
    """The report as text, by replacement, the strongest effect on the translation first."""
    moves, turns = (item.value.mean for item in report.action_size)
    lines = [
        f"{report.checkpoint.name} on {report.episode.name}: “{report.episode.about}”",
        f"n = {len(report.steps)} times, {report.draws} random sets of as many tokens; the action itself moves "
        f"{moves:.1f} mm and turns {turns:.2f} degrees a step",
    ]
    for replacement in REPLACEMENTS:
        rows = ranked(report, _HEADLINE, replacement)
        if rows:
            lines += ["", f"Replaced by {REPLACEMENT_WORDS[replacement]}", _head(), *map(_line, rows)]
    return "\n".join([*lines, "", *training_lines(report), "", *report.notes]) + "\n"


def training_lines(report: KnockoutReport) -> list[str]:
    """What one checkpoint cannot answer, or the comparison that does."""
    names = ", ".join(report.training_only) or "none"
    compared = report.comparison
    if compared is None:
        return [f"Acts in training only ({names}): {NEEDS_ANOTHER}"]
    lines = [f"Acts in training only ({names}): against {compared.against.name} {compared.against.sha256[:12]}"]
    errors = {item.measure: item.value for item in compared.error}
    others = {item.measure: item.value for item in compared.error_against}
    for item in compared.change:
        line = f"  action differs by {interval_text(item.value)} {UNITS[item.measure]}"
        if item.measure in errors:
            line += f"; from the recorded action {interval_text(errors[item.measure])}, "
            line += f"the other {interval_text(others[item.measure])}"
        lines.append(line)
    found = "; ".join(compared.differences) or "none (another seed, other data or other steps)"
    return [*lines, f"  configuration differences, all of which the change is due to: {found}"]


def interval_text(value: Interval) -> str:
    """Mean and 95 % interval."""
    return f"{number_text(value.mean)} ({number_text(value.low)}..{number_text(value.high)})"


def number_text(value: float) -> str:
    """Three digits, never more than three decimals: less than a thousandth of a unit is no use of anything."""
    return f"{value:.3g}" if abs(value) >= 0.1 else f"{value:.3f}".rstrip("0").rstrip(".")


def _head() -> str:
    measures = "".join(f"{UNITS[name]:>27}{'random':>8}" for name in MEASURES)
    return f"  {'':<14}{'tokens':>6}{measures}{'attention':>11}{'uniform':>9}"


def _line(row: Knockout) -> str:
    start = f"  {row.target:<14}{row.tokens:>6}"
    headline = row.effect(_HEADLINE)
    if headline is None or row.attention is None:
        return f"{start}  {row.status}: {STATUS_WORDS[row.status]}"
    cells = "".join(f"{interval_text(effect.change):>27}{number_text(effect.random.mean):>8}" for effect in row.effects)
    return f"{start}{cells}{row.attention.mean:>11.1%}{row.uniform:>9.1%}  {VERDICT_WORDS[headline.verdict]}"

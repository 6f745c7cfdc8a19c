"""`python -m workbench audit`: what is wrong with an episode, and the setting that repairs it for its source.

Exit codes: 0 nothing wrong was found, 1 something was, 2 bad input.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from model.errors import ConfigError

from ..proof.output import ProgressLine, check_writable, write_text
from .examine import CHECKS, audit
from .finding import Audit, Kind
from .report import audit_json, audit_text

_EVERYTHING = "all"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Examine an episode: orientation, channels, depth, cameras, timing, actions, gripper; exit code 0 if it is clean.

    Attributes:
        path: Episode, PATH or PATH#INDEX, of any format that the workbench reads.
        first: Of a dataset named without #INDEX, examine that many episodes.
        apply: Kinds of findings whose fix is to be kept as a setting for every episode of this source, or all.
        json: Write everything but the pictures there.
        html: Write a page with the pictures that opens offline.
    """

    path: Annotated[str, tyro.conf.Positional]
    first: int = 1
    apply: tuple[str, ...] = ()
    json: Path | None = None
    html: Path | None = None


def main(argv: list[str]) -> int:
    """Runs the command; see `--help`."""
    options = tyro.cli(Options, args=argv, prog="python -m workbench audit")
    for name in ("json", "html"):
        check_writable(f"--{name}", getattr(options, name))
    if unknown := set(options.apply) - {*Kind, _EVERYTHING}:
        raise ConfigError(f"--apply {min(unknown)}: choose of {', '.join(Kind)}, or {_EVERYTHING}")
    audits = _audits(options)
    if options.json is not None:
        write_text("--json", options.json, audit_json(audits))
    if options.html is not None:
        from .report_html import audit_html

        command = shlex.join(["python", "-m", "workbench", "audit", *argv])
        write_text("--html", options.html, audit_html(audits, command))
    sys.stdout.write(audit_text(audits))
    for found in audits[:1]:  # one episode speaks for its source
        sys.stdout.write(_apply(options, found))
    return 0 if all(found.clean for found in audits) else 1


def _audits(options: Options) -> list[Audit]:
    from trainer.episodes.open import find_episodes, open_episode

    if options.first < 1:
        raise ConfigError(f"--first {options.first}: give at least 1")
    # opening says what is wrong with a path that holds none
    names = [options.path] if options.first == 1 else find_episodes(options.path)[: options.first] or [options.path]
    line, found = ProgressLine(), list[Audit]()
    for i, name in enumerate(names):

        def tick(share: float, what: str, done: int = i) -> None:
            line(done * len(CHECKS) + round(share * len(CHECKS)), len(names) * len(CHECKS), what)

        found.append(audit(open_episode(name), tick=tick))
    return found


def _apply(options: Options, found: Audit) -> str:
    """Keeps the settings of the chosen findings, in the order in which they were found; says what it did."""
    from trainer.episodes.open import split_name
    from trainer.episodes.settings_store import add_setting

    if not options.apply:
        return ""
    chosen = [f for f in found.faults if f.kind in options.apply or _EVERYTHING in options.apply]
    lines: list[str] = []
    for finding in chosen:
        if finding.setting is None:
            lines.append(f"No setting repairs this: {finding.title}")
            continue
        try:
            stored = add_setting(split_name(found.name)[0], finding.setting)
        except OSError as error:
            raise ConfigError(f"--apply: the setting cannot be kept ({error.strerror or error})") from error
        lines.append(f"Set for {stored.source}: {', '.join(finding.setting.clauses())} ({stored.file})")
    return "\n".join(lines or ["Nothing of these kinds was found, nothing was set."]) + "\n"

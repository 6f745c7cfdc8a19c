"""`python -m workbench prove`: the attention mask of a preset or a checkpoint, proved against its declaration.

Exit codes: 0 everything holds (with --diff: nothing differs), 1 something does not, 2 bad input.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from model.errors import ConfigError

from .proof.output import ProgressLine, check_writable, write_text

if TYPE_CHECKING:
    from trainer.loop.checkpoint import LoadedCheckpoint

    from .proof.difference import Masked
    from .proof.policy import PolicySubject
    from .proof.report import ProofReport

_OUTPUTS = ("json", "html", "pytest")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Prove that a policy's attention mask does what it says, in every mode, leak by leak; exit code 0 if it holds.

    Attributes:
        preset: Name of a preset; its weights are random, the mask is what is proved.
        checkpoint: Checkpoint folder, instead of a preset.
        spec: Declared mask as a JSON file; without it what the configuration stands for.
        level: Compare groups of tokens, or every token.
        modes: Ways to run it (sdpa eager capture eval checkpointed train autocast compiled), or all. The first is the
            reference.
        diff: Preset, checkpoint folder or specification (.json): only list the cells in which the two masks differ.
        seed: Of the random tokens, directions and weights.
        json: Write the proof as data there.
        html: Write the proof as a page that opens offline.
        pytest: Write a test that a lab can paste into its CI.
    """

    preset: str | None = None
    checkpoint: Path | None = None
    spec: Path | None = None
    level: Literal["group", "token"] = "group"
    modes: tuple[str, ...] = ()
    diff: str | None = None
    seed: int = 0
    json: Path | None = None
    html: Path | None = None
    pytest: Path | None = None


def main(argv: list[str]) -> int:
    """Runs the command; see `--help`."""
    options = tyro.cli(Options, args=argv, prog="python -m workbench prove")
    if (options.preset is None) == (options.checkpoint is None):
        raise ConfigError("name one of --preset NAME and --checkpoint DIR")
    for name in _OUTPUTS:
        check_writable(f"--{name}", getattr(options, name))
    if options.diff is not None:
        return _diff(options, options.diff)
    report = prove_options(options)
    _write(options, report)
    from .proof.report_text import report_text

    sys.stdout.write(report_text(report))
    return 0 if report.holds else 1


def prove_options(options: Options) -> ProofReport:
    """Runs the proof.

    Raises:
        CheckpointError, ConfigError: An input cannot be used.
    """
    from .proof.declared import declared_by
    from .proof.modes import ALL_MODES, DEFAULT_MODES
    from .proof.prove import prove
    from .proof.spec_file import read_spec

    modes = ALL_MODES if options.modes == ("all",) else options.modes or DEFAULT_MODES
    if unknown := [mode for mode in modes if mode not in ALL_MODES]:
        raise ConfigError(f"--modes: no mode '{unknown[0]}'; choose of {', '.join(ALL_MODES)}, or all")
    subject = _subject(options)
    spec = declared_by(subject.policy.config) if options.spec is None else read_spec(options.spec)
    return prove(subject, spec, level=options.level, modes=modes, seed=options.seed, progress=ProgressLine())


def arguments_of(options: Options) -> list[str]:
    """The command's arguments without its output files: what repeats the proof, from any folder."""
    words: list[str] = []
    words += [] if options.preset is None else ["--preset", options.preset]
    words += [] if options.checkpoint is None else ["--checkpoint", str(options.checkpoint.absolute())]
    words += [] if options.spec is None else ["--spec", str(options.spec.absolute())]
    words += [] if options.level == "group" else ["--level", options.level]
    words += ["--modes", *options.modes] if options.modes else []
    return words + ([] if options.seed == 0 else ["--seed", str(options.seed)])


def _write(options: Options, report: ProofReport) -> None:
    from .proof.report_html import report_html
    from .proof.report_json import report_json
    from .proof.snippet import pytest_snippet

    arguments = arguments_of(options)
    if options.json is not None:
        write_text("--json", options.json, report_json(report))
    if options.html is not None:
        write_text(
            "--html", options.html, report_html(report, shlex.join(["python", "-m", "workbench", "prove", *arguments]))
        )
    if options.pytest is not None:
        write_text("--pytest", options.pytest, pytest_snippet(report, arguments))


def _subject(options: Options) -> PolicySubject:
    """What is proved; zero-initialised parameters of a preset are drawn, those of a checkpoint are what they are."""
    from .proof.reproduce import checkpoint_subject, preset_subject

    if options.checkpoint is None:
        return preset_subject(str(options.preset), options.seed)
    return checkpoint_subject(options.checkpoint)


def _checkpoint_name(loaded: LoadedCheckpoint) -> str:
    return f"checkpoint {loaded.path.name} {loaded.content_hash[:12]}"


def _diff(options: Options, other: str) -> int:
    """Lists the cells in which two masks differ; 1 if there are any."""
    from .proof.difference import difference_json, difference_text, differences, masked_by_spec
    from .proof.spec_file import read_spec

    left = _masked(options.preset, options.checkpoint)
    if options.spec is not None:
        left = masked_by_spec(read_spec(options.spec), left.table)
    path = Path(other)
    if path.is_dir():
        right = _masked(None, path)
    elif path.suffix == ".json":
        right = masked_by_spec(read_spec(path), left.table)
    else:
        right = _masked(other, None)
    if options.json is not None:
        write_text("--json", options.json, difference_json(left, right))
    sys.stdout.write(difference_text(left, right))
    return 1 if differences(left, right) else 0


def _masked(preset_name: str | None, checkpoint: Path | None) -> Masked:
    """The mask of a preset, or of a loaded checkpoint."""
    from model.config import preset
    from trainer.loop.checkpoint import load_checkpoint

    from .proof.difference import masked_by_config, masked_by_model

    if checkpoint is None:
        return masked_by_config(f"preset {preset_name}", preset(str(preset_name)))
    loaded = load_checkpoint(checkpoint)
    return masked_by_model(_checkpoint_name(loaded), loaded.policy)

"""`python -m workbench inspect EPISODE`: predict a whole episode and write numbers, a recording and a report.

A step whose images are damaged has null for its numbers, and the reason; all others are predicted. The output folder
appears complete or not at all: predictions.safetensors and .json, metrics.json, numbers.csv,
episode.rrd, report.html, a manifest with their hashes, and the 3D view as PLY and the panels as a film if asked for.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from model.errors import ConfigError, EpisodeError
from trainer.episodes.episode import Episode
from trainer.episodes.field_of_view import with_field_of_view
from trainer.episodes.open import open_episode
from trainer.files import MANIFEST, new_folder
from trainer.labels.overlay import with_labels

from .foresight import Foresight
from .predict import BATCH, Predictor

_log = logging.getLogger(__name__)
BUNDLED = Path(__file__).resolve().parents[1] / "assets" / "checkpoints" / "compact"
FORMAT = {"format": "foresight-workbench inspection", "version": 1}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Predict every step of an episode that has an image, and write everything the page shows.

    Attributes:
        episode: Episode folder, or PATH#INDEX.
        checkpoint: Checkpoint folder.
        out: Folder to write; it must not exist.
        stride: Predict every n-th of the steps that have an image.
        overwrite: Replace an earlier inspection in `out`.
        ply: Also write the 3D cloud and the tracks of every predicted step, as PLY.
        film: Also write the panels of every camera as a film, as MP4.
        fov: Horizontal field of view in degrees of the cameras whose intrinsics the episode does not have; marked as
            assumed wherever it shows.
        labels: A store of `python -m trainer label`: its depth and tracks fill in what the episode lacks, marked pseudo
            wherever they show.
    """

    episode: Annotated[str, tyro.conf.Positional]
    out: Path
    checkpoint: Path = BUNDLED
    stride: int = 1
    overwrite: bool = False
    ply: bool = False
    film: bool = False
    fov: float | None = None
    labels: Path | None = None


def main(argv: list[str]) -> int:
    """Runs the command; see `--help`."""
    options = tyro.cli(Options, args=argv, prog="python -m workbench inspect")
    inspect_episode(options)
    return 0


def inspect_episode(options: Options) -> None:
    """Predicts and writes.

    Raises:
        CheckpointError: The checkpoint cannot be used.
        EpisodeError: The episode cannot be used.
        ConfigError: `out` is in the way or cannot be written, or the stride is not positive.
    """
    started = time.monotonic()
    if options.stride < 1:
        raise ConfigError(f"--stride must be at least 1, got {options.stride}")
    _check_out(options)
    episode = open_episode(options.episode)
    if options.fov is not None:
        episode = with_field_of_view(episode, options.fov)
    episode = with_labels(episode, options.labels)
    predictor = Predictor(options.checkpoint)
    steps = [int(step) for step in episode.frame_steps[:: options.stride]]
    foresights, unreadable = foresee_readable(predictor, episode, steps)
    fresh = options.out.with_name(f"{options.out.name}.new-{os.getpid()}")
    try:
        with new_folder(fresh, FORMAT, ConfigError) as folder:
            _fill(folder, episode, predictor, foresights, unreadable)
            _fill_extras(folder, options, episode, predictor, foresights)
        _put_in_place(fresh, options.out)
    except OSError as error:
        raise ConfigError(f"--out {options.out}: cannot be written ({error.strerror or error})") from error
    if unreadable:
        first = min(unreadable)
        _log.warning("%d steps cannot be read, the first is %d: %s", len(unreadable), first, unreadable[first])
    _log.info("%s: %d steps in %.1f s", options.out, len(foresights), time.monotonic() - started)


def foresee_readable(
    predictor: Predictor, episode: Episode, steps: Sequence[int]
) -> tuple[list[Foresight], dict[int, str]]:
    """What can be foreseen at each of some steps, and why not, by step, at the others.

    Raises:
        CheckpointError: The checkpoint cannot be used.
        EpisodeError: No step at all can be read.
    """
    found: list[Foresight] = []
    errors: dict[int, EpisodeError] = {}
    left = list(steps)
    while left:
        before = len(found)
        try:
            for foresight in predictor.foresee_range(episode, left):
                found.append(foresight)
                _progress(len(found) + len(errors), len(steps))
            break
        except EpisodeError:
            left = left[len(found) - before :]
        for step in left[:BATCH]:  # which of the steps that run at once it was
            try:
                found.append(predictor.foresee(episode, step))
            except EpisodeError as error:
                errors[step] = error
        left = left[BATCH:]
    if errors and not found:
        raise next(iter(errors.values()))
    return found, {step: str(error) for step, error in errors.items()}


def _fill(
    folder: Path,
    episode: Episode,
    predictor: Predictor,
    foresights: Sequence[Foresight],
    unreadable: Mapping[int, str],
) -> None:
    """Writes every file into a folder that nobody sees yet."""
    from trainer.data.absent import absent, absent_metrics

    from .charts.panels import clip_scales
    from .export.not_computed import not_computed
    from .export.numbers import metrics_json, numbers_csv, provenance, summary_rows
    from .export.predictions import predictions_bytes, predictions_json
    from .export.report import report_html
    from .scene.recording import write_rrd

    config = predictor.load().config
    facts = {**provenance(episode, predictor.summary()), "absent": list(absent(episode, config))}
    rows = summary_rows(foresights)
    missing = not_computed([row.name for row in rows], config.views, absent_metrics(episode, config))
    scales = clip_scales(episode, fallback=predictor.depth_limits())
    (folder / "predictions.safetensors").write_bytes(predictions_bytes(foresights))
    (folder / "predictions.json").write_text(predictions_json(facts, foresights), encoding="utf-8")
    (folder / "metrics.json").write_text(metrics_json(facts, rows, foresights, missing, unreadable), encoding="utf-8")
    (folder / "numbers.csv").write_text(numbers_csv(foresights), encoding="utf-8")
    (folder / "report.html").write_text(
        report_html(episode, foresights, rows, scales, facts, unreadable), encoding="utf-8"
    )
    write_rrd(folder / "episode.rrd", episode, foresights)


def _fill_extras(
    folder: Path, options: Options, episode: Episode, predictor: Predictor, foresights: Sequence[Foresight]
) -> None:
    """Writes what was asked for by name: it takes a while, or space."""
    if options.ply:
        from .export.ply import cloud_ply, tracks_ply

        for foresight in foresights:
            (folder / f"cloud-{foresight.step:05d}.ply").write_bytes(cloud_ply(foresight))
            (folder / f"tracks-{foresight.step:05d}.ply").write_bytes(tracks_ply(episode, foresight))
    if options.film:
        from .charts.panels import clip_scales
        from .export.video import panels_mp4

        scales = clip_scales(episode, fallback=predictor.depth_limits())
        for view in episode.info.views:
            film = panels_mp4(foresights, view, scales, hz=episode.info.control_hz)
            (folder / f"panels-{view}.mp4").write_bytes(film)


def _check_out(options: Options) -> None:
    """Fails before any work is done; only a folder that this command wrote is ever replaced."""
    if not options.out.exists():
        place = next(parent for parent in options.out.absolute().parents if parent.exists())
        if not (place.is_dir() and os.access(place, os.W_OK)):
            raise ConfigError(f"--out {options.out}: cannot be written; {place} is no folder that takes new files")
        return
    if not options.overwrite:
        raise ConfigError(f"--out {options.out}: exists already; choose another folder or add --overwrite")
    try:
        written = json.loads((options.out / MANIFEST).read_bytes()).get("format") == FORMAT["format"]
    except (OSError, ValueError, AttributeError):
        written = False
    if not written:
        raise ConfigError(f"--out {options.out}: was not written by this command, so it is not overwritten")


def _put_in_place(fresh: Path, out: Path) -> None:
    """Renames a complete folder to its name; an earlier inspection there is removed only after that."""
    previous = out.with_name(f"{out.name}.old-{os.getpid()}")
    if out.exists():
        out.rename(previous)
    fresh.rename(out)
    shutil.rmtree(previous, ignore_errors=True)


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\rpredicting {done}/{total}" + "\n" * (done == total))
        sys.stderr.flush()

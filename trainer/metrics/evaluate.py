"""`python -m trainer evaluate CHECKPOINT --data PATH`: a checkpoint against the trivial baselines."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from model.errors import ConfigError
from trainer.data.points import FLOW_POINTS
from trainer.episodes.episode import Episode
from trainer.episodes.open import find_episodes, open_episode
from trainer.files import replace_file
from trainer.loop.checkpoint import LoadedCheckpoint, load_checkpoint
from trainer.loop.setup import SHORT_HASH

from .catalog import METRICS
from .summary import EpisodeScores, as_json, as_text, by_task, plain, summarise_episode, table
from .window import predict_window, score_window

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Score a checkpoint on episodes it was not trained on, beside the trivial baselines.

    Every figure is the mean over the times of an episode, then over episodes; the interval is a 95 % bootstrap over
    episodes. Definitions, units and baselines: trainer/metrics/catalog.py (and in the JSON).

    Attributes:
        checkpoint: A checkpoint folder.
        data: Episodes of any format (PATH#INDEX), or folders with such in them.
        json: Also write everything, episode by episode, to this file.
        stride: Control steps between two scored times; default: every step that has an image.
        points: 3D flow points a time.
        unseen_task: Tasks that no training episode shows; they are reported apart. Default: those that the checkpoint's
            metadata does not list.
        threads: CPU threads for torch; 0 = one a core.
    """

    checkpoint: tyro.conf.Positional[Path]
    data: tuple[Path, ...]
    json: Path | None = None
    stride: int | None = None
    points: int = FLOW_POINTS
    unseen_task: tuple[str, ...] = ()
    threads: int = 0

    def __post_init__(self) -> None:
        if self.stride is not None and self.stride < 1:
            raise ConfigError(f"--stride must be >= 1, got {self.stride}")
        if self.points < 1:
            raise ConfigError(f"--points must be >= 1, got {self.points}")


def main(argv: list[str]) -> int:
    """Prints the table, writes the JSON, returns 0."""
    options = tyro.cli(EvaluateOptions, args=argv, prog="python -m trainer evaluate")
    if options.json is not None and (options.json.is_dir() or not options.json.absolute().parent.is_dir()):
        raise ConfigError(f"--json {options.json}: must be a file in a folder that exists")
    torch.set_num_threads(options.threads or os.cpu_count() or 1)
    checkpoint = load_checkpoint(options.checkpoint)
    names = [name for folder in options.data for name in find_episodes(folder)]
    if not names:
        raise ConfigError(f"--data {' '.join(map(str, options.data))}: holds no packed episode")
    episodes = list(evaluate(checkpoint, names, stride=options.stride, points=options.points))
    unseen = set(options.unseen_task) or _tasks_not_trained_on(checkpoint, episodes)
    groups = {
        "tasks seen in training, held-out episodes": [item for item in episodes if item.task not in unseen],
        "tasks never seen in training": [item for item in episodes if item.task in unseen],
    }
    for title, members in groups.items():
        if members:
            sys.stdout.write(_section(title, members))
    if options.json is not None:
        report = _report(checkpoint, groups)
        replace_file(options.json, (json.dumps(report, indent=1) + "\n").encode())
    return 0


def evaluate(
    checkpoint: LoadedCheckpoint, names: Sequence[str], *, stride: int | None, points: int
) -> Iterator[EpisodeScores]:
    """Scores episode after episode at every image, or at every `stride`-th control step that has one.

    Raises:
        EpisodeError: An episode cannot be read.
    """
    mean = _mean_action(checkpoint.metadata)
    trained = set(checkpoint.metadata.get("data", {}).get("episode_hashes", ()))
    for number, name in enumerate(names, 1):
        episode = open_episode(name)
        if episode.content_hash[:SHORT_HASH] in trained:
            _log.warning("%s was trained on: its figures are no test", name)
        if episode.info.depth_origin == "pseudo":
            _log.warning("%s has pseudo depth: its depth figures compare with an estimate; evaluate it apart", name)
        steps = [int(step) for step in episode.frame_steps if stride is None or step % stride == 0]
        scores = [
            score_window(predict_window(checkpoint.policy, episode, step, points=points), checkpoint.config, mean)
            for step in steps
        ]
        _log.info("%d/%d %s: %d times", number, len(names), name, len(steps))
        yield summarise_episode(name, _task(episode), scores)


def _section(title: str, episodes: Sequence[EpisodeScores]) -> str:
    tasks = ", ".join(f"{task} ({len(members)})" for task, members in by_task(episodes).items())
    times = sum(episode.times for episode in episodes)
    return f"\n{title}: {len(episodes)} episodes, {times} times; {tasks}\n{as_text(table(episodes))}\n"


def _report(checkpoint: LoadedCheckpoint, groups: dict[str, list[EpisodeScores]]) -> dict[str, Any]:
    episodes = [episode for members in groups.values() for episode in members]
    return {
        "checkpoint": str(checkpoint.path),
        "content_hash": checkpoint.content_hash,
        "step": checkpoint.metadata.get("step"),
        "definitions": {name: dataclasses.asdict(metric) for name, metric in METRICS.items()},
        "groups": {title: as_json(table(members)) for title, members in groups.items() if members},
        "tasks": {task: as_json(table(members)) for task, members in by_task(episodes).items()},
        "episodes": [plain(dataclasses.asdict(episode)) for episode in episodes],
    }


def _task(episode: Episode) -> str:
    return episode.info.task or episode.info.instruction


def _tasks_not_trained_on(checkpoint: LoadedCheckpoint, episodes: Sequence[EpisodeScores]) -> set[str]:
    trained: Any = checkpoint.metadata.get("data", {}).get("tasks")
    return {episode.task for episode in episodes} - set(trained) if trained else set()


def _mean_action(metadata: Mapping[str, Any]) -> np.ndarray | None:
    mean: Any = metadata.get("data", {}).get("action_mean")
    return np.asarray(mean, np.float64) if isinstance(mean, list) and len(mean) == 7 else None

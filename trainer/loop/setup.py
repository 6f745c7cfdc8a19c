"""What a run needs before its first update: device, precision, episodes, and a folder that belongs to it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.config import PolicyConfig, from_json, to_json
from model.errors import CheckpointError, ConfigError, EpisodeError
from trainer.episodes.episode import Episode
from trainer.episodes.open import find_episodes, open_episode
from trainer.files import read_json, replace_file
from trainer.labels.overlay import Labelled, check_store, with_labels

from .checkpoint import CHECKPOINT
from .options import TrainOptions
from .step import Precision

RUN_CONFIG = "config.json"
SHORT_HASH = 12
"""Characters of a content hash by which metadata names a training episode."""
_log = logging.getLogger(__name__)


def choose_device(wanted: str) -> torch.device:
    """The GPU where there is one, unless told otherwise; switches on TF32 there.

    Raises:
        ConfigError: cuda was asked for and is not there.
    """
    has_gpu = torch.cuda.is_available()
    if wanted == "cuda" and not has_gpu:
        raise ConfigError("--device cuda: torch finds no GPU; leave the option out or install a CUDA build of torch")
    if wanted == "cpu" or not has_gpu:
        return torch.device("cpu")
    torch.set_float32_matmul_precision("high")
    # The local rank of torchrun; 0 in a run of one process.
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """bf16 on a GPU and on CPUs that multiply it in hardware; elsewhere it is emulated and slower than fp32."""
    if wanted in ("fp32", "bf16"):
        return "bf16" if wanted == "bf16" else "fp32"
    if device.type == "cuda":
        return "bf16"
    capabilities: Mapping[str, Any] = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return "bf16" if capabilities.get("amx_bf16") or capabilities.get("avx512_bf16") else "fp32"


def open_episodes(folders: Sequence[Path], labels: Path | None = None) -> list[Episode]:
    """All episodes below `folders`, in the order of their names, with what a store of labels adds to them.

    Raises:
        EpisodeError: A folder does not exist or holds no episode.
        ConfigError: There is no such store.
    """
    check_store(labels)
    episodes: list[Episode] = []
    for folder in folders:
        names = find_episodes(folder)
        if not names:
            raise EpisodeError(f"{folder}: holds no episode; record some with `python -m trainer record`")
        episodes += [with_labels(open_episode(name), labels) for name in names]
    return episodes


def describe_data(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Facts about the training episodes for metadata and card, with one hash over all their contents."""
    tasks = sorted({episode.info.task or episode.info.instruction for episode in episodes})
    hashes = sorted(episode.content_hash for episode in episodes)
    actions = [episode.action for episode in episodes if episode.has("action")]
    mean = np.mean(np.concatenate(actions), axis=0) if actions else None
    return {
        "episodes": len(episodes),
        "control_steps": sum(episode.info.length for episode in episodes),
        "tasks": tasks,
        "sources": sorted({episode.info.source for episode in episodes}),
        "instructions": sorted({episode.info.instruction for episode in episodes}),
        "sha256": hashlib.sha256("".join(hashes).encode()).hexdigest(),
        "episode_hashes": [name[:SHORT_HASH] for name in hashes],
        "pseudo_labels": _pseudo_labels(episodes),
        "action_mean": None if mean is None else [round(float(value), 6) for value in mean],
    }


def _pseudo_labels(episodes: Sequence[Episode]) -> dict[str, int]:
    """How many episodes have depth or tracks that are estimates; empty where none has."""
    depth = sum(episode.info.depth_origin == "pseudo" for episode in episodes)
    tracks = sum(
        isinstance(episode, Labelled) and any(episode.has_image_tracks(view) for view in episode.info.views)
        for episode in episodes
    )
    counts = {"episodes_with_pseudo_depth": depth, "episodes_with_pseudo_tracks": tracks}
    return {name: count for name, count in counts.items() if count}


def claim_folder(options: TrainOptions) -> dict[str, Any] | None:
    """Checks that the run may have its folder; returns what config.json stored when there is a run to resume.

    Raises:
        ConfigError: The folder holds something and --resume was not given, or what it holds is no run.
    """
    out = options.out
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: is a file")
    if (out / RUN_CONFIG).is_file():
        if not options.resume:
            raise ConfigError(f"--out {out}: a run is there already; add --resume to go on, or choose another folder")
        return read_json(out / RUN_CONFIG, CHECKPOINT)
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"--out {out}: not empty and not a run; choose another folder")
    return None


def store_run(options: TrainOptions, config: PolicyConfig, data: dict[str, Any]) -> None:
    """Makes the run's folder with config.json: the resolved policy configuration, the options and the data."""
    options.out.mkdir(parents=True, exist_ok=True)
    record = {"policy": json.loads(to_json(config)), "training": options.to_json(), "data": data}
    replace_file(options.out / RUN_CONFIG, (json.dumps(record, indent=1) + "\n").encode())


def stored_policy(stored: dict[str, Any], where: Path) -> PolicyConfig:
    """The policy configuration of a run to resume, statistics included: they are measured once."""
    try:
        return from_json(json.dumps(stored["policy"]))
    except (KeyError, ConfigError) as error:
        raise CheckpointError(f"{where / RUN_CONFIG}: field 'policy': {error}") from error

"""What of an episode its checkpoint never saw in training, and what of it was supplied instead of recorded.

Read from the checkpoint's own meta data: the instructions and tasks it was trained on and, where it says so, the
sources of its episodes. No torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.episodes.episode import EpisodeInfo

_WORDS = {"K": "intrinsics", "T_world_camera": "camera pose", "depth": "unit of depth", "control_hz": "control rate"}


def unfamiliar(info: EpisodeInfo, metadata: Mapping[str, Any]) -> list[str]:
    """One clause for each thing that is new to the policy; empty where its meta data does not say what it saw.

    Args:
        info: The episode.
        metadata: Of the checkpoint.
    """
    data = metadata.get("data")
    if not isinstance(data, dict):
        return []
    found: list[str] = []
    sources = _texts(data.get("sources")) or {task.partition("_")[0] for task in _texts(data.get("tasks"))}
    if sources and not any(info.source.startswith(source) for source in sources):
        found.append("source and camera never seen in training")
    elif (tasks := _texts(data.get("tasks"))) and info.task is not None and info.task not in tasks:
        found.append("task never seen in training")
    instructions = _texts(data.get("instructions"))
    if instructions and info.instruction and info.instruction not in instructions:
        found.append("instruction never seen in training")
    return found


def assumed(info: EpisodeInfo) -> list[str]:
    """What the recording does not say and somebody supplied: one badge, or none."""
    parts = (name.partition(".") for name in info.assumed)
    return _one_badge(
        "assumed", [f"{f'{view} ' if view else ''}{_WORDS.get(field, field)}" for field, _, view in parts]
    )


def corrected(info: EpisodeInfo) -> list[str]:
    """What a setting of the source changed: one badge, or none."""
    return _one_badge("corrected", info.corrected)


def _one_badge(what: str, clauses: Sequence[str]) -> list[str]:
    """Side by side, a badge for each of five corrections would leave no room for anything else."""
    return [f"{what}: {', '.join(clauses)}"] if clauses else []


def _texts(values: Any) -> set[str]:
    return {value for value in values if isinstance(value, str)} if isinstance(values, list) else set()

"""Joints of an MCAP file's JointState topics, by name: an arm and its gripper often write on one topic.

Dimensions: t control step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from jaxtyping import Float, Integer

from .mcap_file import McapFile, Topic

_MAX_JOINTS = 128
_LOOKED_AT = 64  # messages at either end of a topic, beside those that are shown, for who writes on it

Nearest = Callable[[Topic], Integer[np.ndarray, " t"]]
"""For each step the index of the topic's message that is shown at it."""


def joint_columns(file: McapFile, topic: Topic, nearest: Nearest) -> dict[str, Float[np.ndarray, "t 1"]]:
    """Position, velocity and effort of each joint, named TOPIC/FIELD/JOINT; what is not whole is left out."""
    found: dict[str, np.ndarray] = {}
    for part in _publishers(file, topic, nearest):
        messages = [file.message(part, int(index)) for index in nearest(part)]
        joints = list(map(str, messages[0].name))
        if not joints or len(joints) > _MAX_JOINTS:
            continue
        for field in ("position", "velocity", "effort"):
            rows = [dict(zip(map(str, message.name), getattr(message, field), strict=False)) for message in messages]
            numbers = all(isinstance(value, int | float) for row in rows for value in row.values())
            if numbers and all(row.keys() == set(joints) for row in rows):
                columns = np.array([[row[joint] for joint in joints] for row in rows], np.float64)
                found |= {f"{topic.name}/{field}/{joint}": columns[:, [at]] for at, joint in enumerate(joints)}
    return found


def _publishers(file: McapFile, topic: Topic, nearest: Nearest) -> list[Topic]:
    """The topic by the joints that its messages are of; itself where they are all of the same."""

    def joints(index: int) -> frozenset[str]:
        return frozenset(map(str, file.message(topic, index).name))

    count = len(topic.times)
    ends = (*range(min(count, _LOOKED_AT)), *range(max(0, count - _LOOKED_AT), count))
    if len({joints(index) for index in (*nearest(topic).tolist(), *ends)}) == 1:
        return [topic]
    parts: dict[frozenset[str], list[int]] = {}
    for index in range(count):
        parts.setdefault(joints(index), []).append(index)
    return [
        replace(topic, **{name: [getattr(topic, name)[at] for at in part] for name in ("times", "places", "data")})
        for part in parts.values()
    ]

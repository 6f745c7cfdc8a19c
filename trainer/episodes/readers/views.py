"""Which of a source's cameras is the policy's static view and which its wrist view: by name, the same in all readers.

A name is split into words at anything but letters and digits ("observation.images.wrist_left" has four). The rules:
- wrist: the first camera, in the source's order, with a word of `WRIST_WORDS` or the words "eye in hand";
- static: among the others, the one with the earliest word of `STATIC_WORDS`; if none has one, the first of them;
- all the rest are kept under their own names: shown, never fed to a policy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from ..episode import View

WRIST_WORDS = frozenset({"wrist", "gripper", "hand", "handeye", "inhand", "tool", "tcp", "eef"})
STATIC_WORDS = (
    "static", "agentview", "main", "primary", "front", "external", "exterior", "third", "scene", "overhead", "top",
    "high", "base", "workspace", "side", "left", "right", "image", "rgb", "color",
)  # fmt: skip

_WORD = re.compile(r"[a-z]+|[0-9]+")
Value = TypeVar("Value")


def words_of(name: str) -> list[str]:
    """The words of a camera's name, lower case; a number is a word of its own."""
    return _WORD.findall(name.lower())


def assign_views(names: Iterable[str]) -> dict[View, str]:
    """The names of the static and of the wrist camera, as far as there are such."""
    known = list(names)
    wrist = next((name for name in known if WRIST_WORDS & set(words_of(name))), None)
    others = [name for name in known if not WRIST_WORDS & set(words_of(name))]
    views: dict[View, str] = {}
    if others:
        views["static"] = min(others, key=_rank)  # min keeps the source's order among equals
    if wrist is not None:
        views["wrist"] = wrist
    return views


def split_views(cameras: Mapping[str, Value], views: Mapping[View, str]) -> tuple[dict[View, Value], dict[str, Value]]:
    """Cameras by view, and the others by their source's name."""
    order: tuple[View, ...] = ("static", "wrist")
    chosen: dict[View, Value] = {view: cameras[views[view]] for view in order if view in views}
    return chosen, {name: camera for name, camera in cameras.items() if name not in views.values()}


def _rank(name: str) -> int:
    ranks = [STATIC_WORDS.index(word) for word in words_of(name) if word in STATIC_WORDS]
    return min(ranks, default=len(STATIC_WORDS))

"""Predictions kept in memory, the last ones of one checkpoint. Safe across threads.

They are not kept on disk: a changed program would show numbers of the old one, and what a visitor uploaded would
outlive its removal.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import NamedTuple

from .foresight import Foresight
from .foresight_arrays import arrays_of


class Key(NamedTuple):
    """What a prediction depends on: content hashes of checkpoint and episode, and the control step."""

    checkpoint: str
    episode: str
    step: int


class ForesightCache:
    """The predictions that were looked at last.

    Args:
        max_bytes: Of their arrays; the least recently used leave first. One alone may be larger.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Key, tuple[Foresight, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __contains__(self, key: Key) -> bool:
        with self._lock:
            return key in self._kept

    def get(self, key: Key) -> Foresight | None:
        """The prediction, None if it is not kept."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def put(self, key: Key, foresight: Foresight) -> None:
        """Keeps a prediction."""
        size = sum(array.nbytes for array in arrays_of(foresight).values())
        with self._lock:
            self._bytes += size - self._kept.get(key, (foresight, 0))[1]
            self._kept[key] = foresight, size
            self._kept.move_to_end(key)
            while self._bytes > self._max_bytes and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1][1]

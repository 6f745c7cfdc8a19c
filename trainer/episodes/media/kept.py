"""Decoded data kept within a budget of bytes that everybody shares, the least recently used going first."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable

import numpy as np


class KeptArrays:
    """Arrays by key. Safe across threads; what belongs to an owner goes when its owner does."""

    def __init__(self, limit: int) -> None:
        self._limit, self._bytes = limit, 0
        self._arrays: OrderedDict[Hashable, np.ndarray] = OrderedDict()
        self._lock = threading.RLock()  # a finaliser may run while this thread holds it

    def get(self, key: Hashable) -> np.ndarray | None:
        """The array, if it is still there."""
        with self._lock:
            if key in self._arrays:
                self._arrays.move_to_end(key)
            return self._arrays.get(key)

    def put(self, owner: object, key: Hashable, array: np.ndarray) -> None:
        """Keeps an array while its owner lives and the budget lasts."""
        with self._lock:
            self._drop(key)
            self._arrays[key] = array
            self._bytes += array.nbytes
            while self._bytes > self._limit and len(self._arrays) > 1:
                self._drop(next(iter(self._arrays)))
        weakref.finalize(owner, self._drop, key).atexit = False

    def _drop(self, key: Hashable) -> None:
        with self._lock:
            array = self._arrays.pop(key, None)
            self._bytes -= 0 if array is None else array.nbytes

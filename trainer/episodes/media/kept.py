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
        self._arrays: OrderedDict[Hashable, tuple[int, np.ndarray]] = OrderedDict()  # with the id of the owner
        self._owners: set[int] = set()
        self._lock = threading.RLock()  # a finaliser may run while this thread holds it

    def get(self, key: Hashable) -> np.ndarray | None:
        """The array, if it is still there."""
        with self._lock:
            if key not in self._arrays:
                return None
            self._arrays.move_to_end(key)
            return self._arrays[key][1]

    def put(self, owner: object, key: Hashable, array: np.ndarray) -> None:
        """Keeps an array while its owner lives and the budget lasts."""
        with self._lock:
            if id(owner) not in self._owners:
                self._owners.add(id(owner))
                weakref.finalize(owner, self._forget, id(owner)).atexit = False
            self._drop(key)
            self._arrays[key] = (id(owner), array)
            self._bytes += array.nbytes
            while self._bytes > self._limit and len(self._arrays) > 1:
                self._drop(next(iter(self._arrays)))

    def _forget(self, owner: int) -> None:
        with self._lock:
            self._owners.discard(owner)
            for key in [key for key, (own, _) in self._arrays.items() if own == owner]:
                self._drop(key)

    def _drop(self, key: Hashable) -> None:
        with self._lock:
            _, array = self._arrays.pop(key, (0, None))
            self._bytes -= 0 if array is None else array.nbytes

"""The statistics a LeRobot dataset carries: minimum, maximum, mean, standard deviation and count of every feature."""

from __future__ import annotations

from typing import Any

import numpy as np

_EVERY = 8  # of the pixels in either direction: enough for a mean


class FeatureStats:
    """Collects rows of numbers; a row with an unknown entry (NaN) is not counted."""

    def __init__(self) -> None:
        self.count = 0
        self._low: Any = np.inf
        self._high: Any = -np.inf
        self._sum: Any = 0.0
        self._squares: Any = 0.0

    def add(self, values: np.ndarray) -> None:
        """Adds (rows,) or (rows, n) values."""
        rows = np.asarray(values, np.float64).reshape(len(values), -1)
        rows = rows[np.isfinite(rows).all(1)]
        if not len(rows):
            return
        self._add(rows)
        self.count += len(rows)

    def as_json(self) -> dict[str, Any]:
        """Lists of n values, and the number of rows."""
        return {**{name: values.tolist() for name, values in self._values().items()}, "count": [self.count]}

    def _add(self, rows: np.ndarray) -> None:
        self._low, self._high = np.minimum(self._low, rows.min(0)), np.maximum(self._high, rows.max(0))
        self._sum, self._squares = self._sum + rows.mean(0) * len(rows), self._squares + (rows**2).mean(0) * len(rows)

    def _values(self) -> dict[str, np.ndarray]:
        mean = self._sum / self.count
        spread = np.sqrt(np.maximum(self._squares / self.count - mean**2, 0))
        return {"min": self._low, "max": self._high, "mean": mean, "std": spread}


class ImageStats(FeatureStats):
    """Collects images, a grid of their pixels; values are of colours 0 .. 1, by channel."""

    def add(self, values: np.ndarray) -> None:
        """Adds one image (h, w, 3) uint8."""
        pixels = values[::_EVERY, ::_EVERY].reshape(-1, values.shape[-1]) / 255.0
        self._low, self._high = np.minimum(self._low, pixels.min(0)), np.maximum(self._high, pixels.max(0))
        self._sum, self._squares = self._sum + pixels.mean(0), self._squares + (pixels**2).mean(0)
        self.count += 1

    def as_json(self) -> dict[str, Any]:
        """As LeRobot keeps them for images: (3, 1, 1)."""
        shaped = {name: values[:, None, None].tolist() for name, values in self._values().items()}
        return {**shaped, "count": [self.count]}

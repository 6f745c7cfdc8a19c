"""How the image should have moved, from depth, camera and tool, against how it did.

In the static view the hand moves rigidly with the tool; in the wrist view the world stands still and the camera moves.
Each gives a predicted flow for every pixel, rotation included, and the ratio of measured to predicted flow is 1 where
depth, K and pose are right. A focal length that is too long by s, or a depth that is too short by s, makes it 1 / s.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from trainer.episodes.episode import View

from .measured import FlowPair, Measured, from_world, project, some_pixels, to_world

_REACH = 0.25  # metres around the tool within which moving pixels belong to the hand or to what it holds
_LEAST = 1.0  # pixels of predicted flow below which a ratio says nothing
_AGREES = 0.35  # of the predicted flow


@dataclass(frozen=True, kw_only=True, eq=False)
class MotionSamples:
    """Pixels whose motion was measured and predicted.

    Attributes:
        at: Where they are, pixels.
        pair: Which pair of frames each belongs to.
        measured: Optical flow, pixels.
        predicted: What depth, camera and tool say it should be.
    """

    at: Float[np.ndarray, "n 2"]
    pair: Float[np.ndarray, " n"]
    measured: Float[np.ndarray, "n 2"]
    predicted: Float[np.ndarray, "n 2"]

    @property
    def agreement(self) -> float:
        """Share of the pixels whose flow is within about a third of the predicted one."""
        if not len(self.measured):
            return float("nan")
        error = np.linalg.norm(self.measured - self.predicted, axis=1)
        return float(np.mean(error < 0.5 + _AGREES * np.linalg.norm(self.predicted, axis=1)))

    def ratio(self) -> tuple[float, float]:
        """The most frequent ratio of measured to predicted flow, and the share of pixels within 12 % of it."""
        square = (self.predicted**2).sum(1)
        ratio = (self.measured * self.predicted).sum(1) / np.maximum(square, 1e-12)
        across = np.linalg.norm(self.measured - ratio[:, None] * self.predicted, axis=1)
        straight = across < 0.3 * np.linalg.norm(self.measured, axis=1) + 0.3
        if straight.sum() < 100:
            return float("nan"), 0.0
        return most_frequent(ratio[straight])


def most_frequent(values: Float[np.ndarray, " n"], width: float = 0.12) -> tuple[float, float]:
    """The densest place of the positive values on a logarithmic scale and the share of all within `width` of it.

    NaN and 0 for fewer than 100 positive values.
    """
    positive = values[values > 0]
    if len(positive) < 100:
        return float("nan"), 0.0
    logs = np.sort(np.log(positive))
    starts = np.searchsorted(logs, logs - width), np.searchsorted(logs, logs + width)
    inside = starts[1] - starts[0]
    best = int(np.argmax(inside))
    return float(np.exp(np.median(logs[starts[0][best] : starts[1][best]]))), float(inside[best] / len(values))


def motion_samples(
    measured: Measured,
    view: View,
    K: Float[np.ndarray, "3 3"],
    T: Float[np.ndarray, "t 4 4"],
    limit: int = 200,
) -> MotionSamples:
    """Measured and predicted flow of at most `limit` pixels a pair, with some K and pose."""
    parts = [_of_pair(measured, view, pair, K, T, limit) for pair in measured.pairs(view)]
    numbered = [(at, np.full(len(at), float(i)), f, p) for i, (at, f, p) in enumerate(parts)]
    if not numbered:
        empty = np.zeros((0, 2))
        return MotionSamples(at=empty, pair=np.zeros(0), measured=empty, predicted=empty)
    at, pair, flow, predicted = (np.concatenate(column) for column in zip(*numbered, strict=True))
    return MotionSamples(at=at, pair=pair, measured=flow, predicted=predicted)


def _of_pair(
    measured: Measured, view: View, pair: FlowPair, K: np.ndarray, T: np.ndarray, limit: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = np.concatenate([measured.episode.depth(view, pair.start)[..., None], pair.flow], -1, dtype=np.float64)
    at, values = some_pixels(pair.moving if view == "static" else pair.textured, values, 10 * limit, pair.start)
    rays = np.concatenate([(at - K[:2, 2]) / K[[0, 1], [0, 1]], np.ones((len(at), 1))], 1)
    world, usable = to_world(values[:, :1] * rays, T[pair.start]), np.ones(len(at), bool)
    later = world
    if view == "static":
        tool = measured.tool
        usable = np.linalg.norm(world - tool[pair.start, :3, 3], axis=-1) < _REACH
        later = to_world(from_world(world, tool[pair.start]), tool[pair.end])
    predicted = project(from_world(later, T[pair.end]), K) - project(from_world(world, T[pair.start]), K)
    usable &= np.linalg.norm(np.nan_to_num(predicted), axis=-1) > _LEAST
    chosen = np.flatnonzero(usable & np.isfinite(predicted).all(-1))[:limit]
    return at[chosen], values[chosen, 1:], predicted[chosen]

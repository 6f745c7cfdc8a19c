"""Segments: runs of overlapping windows of one episode, whose images are encoded once for all of them.

A window of T frames and V views holds T V images; m neighbouring windows hold only (T + m - 1) V different ones. The
windows of a segment are correlated, so a batch needs many segments.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from model.batch import Observation, SharedObservation
from model.config import PolicyConfig
from trainer.episodes.episode import Episode, View

from .images import read_rgb
from .observation import window_steps


def cut_segments(
    windows: Sequence[tuple[int, int]], size: int, stride: int, rng: np.random.Generator
) -> list[list[int]]:
    """Cuts windows into segments of `size`; the cuts are drawn anew, so that no window is always left out.

    Args:
        windows: Episode and newest control step of each, episode by episode and step by step.
        size: Windows a segment. Fewer neighbours than that are repeated to fill one.
        stride: Control steps between neighbours: those of the window's frames, so that the images are the same.
        rng: Of the cuts.

    Returns:
        Indices into `windows`; how many segments there are does not depend on `rng`.
    """
    neighbours: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, (episode, step) in enumerate(windows):
        neighbours[episode, step % stride].append(index)
    segments: list[list[int]] = []
    for indices in neighbours.values():
        count, rest = divmod(len(indices), size)
        if not count:
            segments.append([indices[i % len(indices)] for i in range(size)])
            continue
        first = int(rng.integers(rest + 1))
        segments += [indices[at : at + size] for at in range(first, first + count * size, size)]
    return segments


def share(
    observation: Observation, windows: Sequence[tuple[Episode, int]], size: int, config: PolicyConfig
) -> SharedObservation:
    """Says which images and instructions of a batch are the same; their number depends on the shapes alone.

    Args:
        observation: The batch: segments of `size` windows, one after another, each shifted as a whole.
        windows: Episode and newest control step of every window of the batch.
        size: Windows a segment.
        config: Says what a window is.
    """
    n_steps, views = config.window.n_obs_steps, config.views
    first: dict[tuple[int, View, int] | tuple[int, None, None], int] = {}
    rows: list[tuple[int, View, int] | tuple[int, None, None]] = []
    for number, (episode, step) in enumerate(windows):
        steps = window_steps(step, config.window)
        for frame in range(n_steps):
            for view in views:
                real = frame < len(steps) and view in episode.info.views
                key = (number // size, view, steps[frame]) if real else (number // size, None, None)
                first.setdefault(key, len(rows))
                rows.append(key)
    order = {key: index for index, key in enumerate(first)}
    most = len(windows) // size * (n_steps + size - 1) * len(views)
    images = [*first.values(), *[0] * (most - len(first))]
    fields = {name: getattr(observation, name) for name in Observation.__dataclass_fields__}
    return SharedObservation(
        **fields,
        images=torch.tensor(images),
        image_of=torch.tensor([order[key] for key in rows]).view(len(windows), n_steps, len(views)),
        texts=torch.arange(0, len(windows), size),
        text_of=torch.arange(len(windows)) // size,
    )


class FrameReader:
    """Reads and resizes each frame of an episode once, for the windows of one segment."""

    def __init__(self) -> None:
        self._seen: dict[tuple[View, int], Tensor] = {}

    def __call__(self, episode: Episode, view: View, steps: Sequence[int], size: int) -> UInt8[Tensor, "n 3 h w"]:
        """As `read_rgb`, always of the same episode and size."""
        new = [step for step in steps if (view, step) not in self._seen]
        if new:
            self._seen |= {
                (view, step): image for step, image in zip(new, read_rgb(episode, view, new, size), strict=True)
            }
        return torch.stack([self._seen[view, step] for step in steps])

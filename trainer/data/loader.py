"""Training batches: random windows of many episodes, in an order that is a pure function of (seed, epoch).

Every random choice derives from (seed, epoch, batch or window index), never from a worker, so batches do not depend on
the number of workers, and training resumes at any batch without replaying the ones before.
"""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model.batch import Observation, Targets
from model.config import PolicyConfig
from model.errors import ConfigError, EpisodeError
from trainer.episodes.episode import Episode
from trainer.labels.overlay import with_random_access

from .augment import random_offsets, shift
from .goal import add_goal
from .observation import ReadRgb, Tokenize, check_alignment, observe
from .segments import FrameReader, cut_segments, share
from .targets import targets_at

T = TypeVar("T", Observation, Targets)
Batch = tuple[Observation, Targets]
_ORDER, _FRAMES, _WINDOW, _SEGMENT, _GOAL = range(5)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What a training batch is made of.

    Attributes:
        batch_size: Windows a batch.
        seed: Of everything random.
        flow_points: Flow points of each supervised frame.
        supervised: Supervised frames: the newest and some earlier ones, the same ones for the whole batch.
        random_shift: Moves each window's images and labels by up to 5 % of the image side.
        windows_per_segment: Neighbouring windows of one episode that share their images, which are then encoded once;
            they are shifted alike. 1: every window for itself.
    """

    batch_size: int
    seed: int = 0
    flow_points: int = 192
    supervised: int = 2
    random_shift: bool = True
    windows_per_segment: int = 1

    def __post_init__(self) -> None:
        for name in ("batch_size", "flow_points", "supervised", "windows_per_segment"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.batch_size % self.windows_per_segment:
            raise ConfigError(
                f"batch_size = {self.batch_size} must be a multiple of windows_per_segment = {self.windows_per_segment}"
            )


class WindowDataset:
    """All windows of some episodes; compressed episodes are read through their memory-mapped copies.

    Windows shorter than T are left out, except in episodes that have no other: every frame of a window is supervised
    in some batch, and the first frame of a full window sees no more than a window of one.

    Args:
        episodes: Any mix of tasks and lengths.
        config: Says what a window is.
        tokenize: The policy's tokeniser.

    Raises:
        EpisodeError: No episodes, or one whose images do not fit the window's strides.
    """

    def __init__(self, episodes: Sequence[Episode], config: PolicyConfig, tokenize: Tokenize) -> None:
        if not episodes:
            raise EpisodeError("no episodes to train on; record some with `python -m trainer record`")
        self.config = config
        self._episodes = [with_random_access(episode) for episode in episodes]
        self._text = tokenize([episode.info.instruction for episode in episodes])
        full = (config.window.n_obs_steps - 1) * config.window.obs_stride
        index: list[tuple[int, int]] = []
        for number, episode in enumerate(self._episodes):
            check_alignment(episode, config.window)
            steps = [int(step) for step in episode.frame_steps]
            index += [(number, step) for step in ([step for step in steps if step >= full] or steps[-1:])]
        self._index = index

    def __len__(self) -> int:
        return len(self._index)

    def window(self, index: int) -> tuple[Episode, int]:
        """The episode and newest control step of a window."""
        number, step = self._index[index]
        return self._episodes[number], step

    def order(self, sampling: Sampling, epoch: int) -> list[int]:
        """The windows of an epoch, segments whole: each window once, but for what fills up the last segments."""
        rng = np.random.default_rng([_ORDER, sampling.seed, epoch])
        if sampling.windows_per_segment == 1:
            return rng.permutation(len(self)).tolist()
        segments = cut_segments(self._index, sampling.windows_per_segment, self.config.window.obs_stride, rng)
        return [index for number in rng.permutation(len(segments)) for index in segments[number]]

    def segment(self, indices: Sequence[int], sampling: Sampling, epoch: int, frames: Sequence[int]) -> list[Batch]:
        """The windows of one segment, each as a batch of one; all are shifted alike."""
        read, offsets = FrameReader(), None
        if len(indices) > 1:
            offsets = random_offsets(np.random.default_rng([_SEGMENT, sampling.seed, epoch, indices[0]]), self.config)
        return [self._sample(index, sampling, epoch, frames, read, offsets) for index in indices]

    def _sample(
        self,
        index: int,
        sampling: Sampling,
        epoch: int,
        frames: Sequence[int],
        read: ReadRgb,
        offsets: Int64[Tensor, "v 2"] | None,
    ) -> Batch:
        number, step = self._index[index]
        episode = self._episodes[number]
        rng = np.random.default_rng([_WINDOW, sampling.seed, epoch, index])
        observation = observe(episode, step, self.config, self._text[number : number + 1], read)
        goal_rng = np.random.default_rng([_GOAL, sampling.seed, epoch, index])
        observation = add_goal(observation, episode, step, self.config, goal_rng)
        points_seed = int(rng.integers(2**31))
        targets = targets_at(episode, step, self.config, frames=frames, points=sampling.flow_points, seed=points_seed)
        if sampling.random_shift:
            offsets = random_offsets(rng, self.config) if offsets is None else offsets
            return shift(observation, targets, self.config, offsets)
        return observation, targets


class WindowBatches(Dataset[Batch]):
    """The batches of one epoch, by index."""

    def __init__(self, dataset: WindowDataset, sampling: Sampling, epoch: int) -> None:
        self._dataset, self._sampling, self._epoch = dataset, sampling, epoch
        self._order = dataset.order(sampling, epoch)
        if len(self._order) < sampling.batch_size:
            raise ConfigError(f"batch_size is {sampling.batch_size}, the episodes have {len(self._order)} windows only")

    def __len__(self) -> int:
        return len(self._order) // self._sampling.batch_size  # the order differs each epoch: none is always left out

    def windows(self, batch: int) -> list[int]:
        """Indices into the data set of the windows of a batch."""
        size = self._sampling.batch_size
        return self._order[batch * size : (batch + 1) * size]

    def __getitem__(self, batch: int) -> Batch:
        frames = self._supervised_frames(batch)
        windows, size = self.windows(batch), self._sampling.windows_per_segment
        samples = [
            sample
            for at in range(0, len(windows), size)
            for sample in self._dataset.segment(windows[at : at + size], self._sampling, self._epoch, frames)
        ]
        observation, targets = (_concatenate(list(parts)) for parts in zip(*samples, strict=True))
        if size > 1:
            where = [self._dataset.window(index) for index in windows]
            observation = share(observation, where, size, self._dataset.config)
        return observation, targets

    def _supervised_frames(self, batch: int) -> list[int]:
        newest = self._dataset.config.window.n_obs_steps - 1
        rng = np.random.default_rng([_FRAMES, self._sampling.seed, self._epoch, batch])
        earlier = rng.permutation(newest)[: self._sampling.supervised - 1]
        return sorted(int(frame) for frame in (*earlier, newest))


def window_loader(
    dataset: WindowDataset,
    sampling: Sampling,
    *,
    epoch: int,
    start_batch: int = 0,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[Batch]:
    """Iterates over the batches of one epoch, from `start_batch` on; len() counts the batches that are left.

    Args:
        dataset: The windows.
        sampling: Batch size, seed and what is supervised.
        epoch: Decides the order together with the seed.
        start_batch: Resumes inside the epoch; the batches are those that an uninterrupted run would have seen.
        num_workers: Loader processes; the batches do not depend on it.
        pin_memory: Page-locks the batches, for a GPU.
    """
    batches = WindowBatches(dataset, sampling, epoch)
    if not 0 <= start_batch <= len(batches):
        raise ConfigError(f"start_batch must be in 0..{len(batches)}, got {start_batch}")
    return DataLoader(
        batches,
        batch_size=None,
        sampler=range(start_batch, len(batches)),  # pyright: ignore[reportArgumentType] - any iterable with a length
        num_workers=num_workers,
        collate_fn=_as_it_is,
        pin_memory=pin_memory,
        prefetch_factor=4 if num_workers else None,
        worker_init_fn=_leave_signals_to_the_owner,
    )


def _concatenate(parts: list[T]) -> T:
    first = parts[0]
    joined: dict[str, Tensor] = {}
    for field in dataclasses.fields(first):
        values = [getattr(part, field.name) for part in parts]
        if values[0] is not None:
            joined[field.name] = values[0] if field.name == "frames" else torch.cat(values)
    return dataclasses.replace(first, **joined)


def _as_it_is(batch: Any) -> Any:
    return batch


def _leave_signals_to_the_owner(_: int) -> None:
    """Ctrl-C and SIGTERM reach the whole process group; what they mean is the training process's business."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)

"""The endless stream of training batches from any update on, each with the names of its episodes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from model.batch import Observation, Targets
from model.config import PolicyConfig
from trainer.data.observation import Tokenize
from trainer.data.windows import Sampling, WindowBatches, WindowDataset, window_loader
from trainer.episodes.episode import Episode


@dataclass(frozen=True, kw_only=True)
class LabelledBatch:
    """One batch, and the episodes its windows come from, for the message when it breaks training."""

    observation: Observation
    targets: Targets
    episodes: tuple[str, ...]


def labelled_batches(
    episodes: Sequence[Episode],
    config: PolicyConfig,
    tokenize: Tokenize,
    sampling: Sampling,
    *,
    first: int,
    workers: int,
    pin_memory: bool,
) -> Generator[LabelledBatch]:
    """Yields batch number `first` and all after it, epoch after epoch: a pure function of (episodes, sampling).

    Raises:
        WorkbenchError: At the first batch, when the episodes do not fit the windows of `config` or are too few.
    """
    dataset = WindowDataset(episodes, config, tokenize)
    names = {episode.content_hash: episode.name for episode in episodes}
    epoch, start = divmod(first, len(WindowBatches(dataset, sampling, 0)))
    while True:
        order = WindowBatches(dataset, sampling, epoch)
        loader = window_loader(
            dataset, sampling, epoch=epoch, start_batch=start, num_workers=workers, pin_memory=pin_memory
        )
        for number, (observation, targets) in enumerate(loader, start):
            of = tuple(names[dataset.window(index)[0].content_hash] for index in order.windows(number))
            yield LabelledBatch(observation=observation, targets=targets, episodes=of)
        epoch, start = epoch + 1, 0

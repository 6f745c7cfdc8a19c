"""A checkpoint run over an episode: lazy, cached in memory and on disk, cancellable, shared by all visitors.

torch and the weights are loaded at the first use, not when the page starts. One step is predicted at a time and a lock
keeps two visitors from running the model at once; what is cached never waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from trainer.episodes.episode import Episode, View

from .foresight import Foresight

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""
Origin = Literal["memory", "disk", "live"]


class Cancel(Protocol):
    """Asked between two steps and between the parts of one; `threading.Event` is one."""

    def is_set(self) -> bool:
        """True once the caller has given up."""
        ...


@dataclass(frozen=True, kw_only=True)
class CheckpointSummary:
    """What the page says about a checkpoint.

    Attributes:
        weights: "EMA" or "raw".
        parameters: Trainable numbers in the policy.
        metadata: The checkpoint's own JSON (training data, steps, versions).
    """

    name: str
    preset: str
    weights: str
    parameters: int
    content_hash: str
    metadata: dict[str, Any]


class CancelledError(Exception):
    """The caller no longer wants the prediction. Not an error of the input: the page goes on silently."""


class Predictor:
    """Foresight of one checkpoint. Construction is cheap and touches nothing; errors come with the first use.

    Args:
        checkpoint: Checkpoint folder.
        cache_dir: Where predictions are kept between sessions; None keeps them in memory only.
        memory_steps: Foresights held in memory, least recently used leave first.
    """

    def __init__(self, checkpoint: str | Path, *, cache_dir: Path | None = None, memory_steps: int = 512) -> None:
        self.checkpoint = Path(checkpoint)

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory."""
        raise NotImplementedError

    def summary(self) -> CheckpointSummary:
        """What to write beside the checkpoint's name; loads it.

        Raises:
            CheckpointError: As `load`.
        """
        raise NotImplementedError

    def depth_limits(self) -> dict[View, tuple[float, float]]:
        """Depth in metres that spans the training data, by view: the colour range of episodes without true depth."""
        raise NotImplementedError

    def load(self) -> None:
        """Imports torch and loads the weights, once; safe to call from a worker thread while the page is drawn.

        Raises:
            CheckpointError: The folder is missing, truncated, foreign, or does not fit its configuration.
        """
        raise NotImplementedError

    def origin(self, episode: Episode, step: int) -> Origin:
        """Where the prediction would come from now, for the cached/live badge. Never loads anything."""
        raise NotImplementedError

    def foresee(self, episode: Episode, step: int, cancel: Cancel | None = None) -> Foresight:
        """What the policy foresees at a control step that has an image.

        Raises:
            CheckpointError: As `load`.
            EpisodeError: The step has no image, or the episode cannot be read there.
            CancelledError: `cancel` was set before the prediction was done.
        """
        raise NotImplementedError

    def foresee_range(
        self,
        episode: Episode,
        steps: Sequence[int] | None = None,
        *,
        cancel: Cancel | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Foresight]:
        """Predicts many steps (default: all with an image) in order, batched if faster; raises as `foresee`."""
        raise NotImplementedError

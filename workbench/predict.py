"""A checkpoint run over an episode: lazy, cached in memory and on disk, cancellable, shared by all visitors.

torch and the weights are loaded at the first use, not when the page starts. A lock keeps two visitors from running the
model at once; what is in memory never waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from model.errors import EpisodeError
from trainer.episodes.episode import Episode, View

from .cache import ForesightCache, Key
from .catalog_checkpoints import checkpoint_hash
from .foresight import Foresight

if TYPE_CHECKING:
    from trainer.loop.checkpoint import LoadedCheckpoint

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""
Origin = Literal["memory", "live"]

BATCH = 4
"""Steps of a range that run through the policy at once."""
_DEPTH_SPREAD = 2.0
"""`depth_limits`: mean plus and minus this many deviations."""


@runtime_checkable
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
        memory_bytes: Of the foresights held in memory, least recently used leave first.
    """

    def __init__(self, checkpoint: str | Path, *, memory_bytes: int = 512 << 20) -> None:
        self.checkpoint = Path(checkpoint)
        self._cache = ForesightCache(memory_bytes)
        self._loaded: LoadedCheckpoint | None = None
        self._hash: str | None = None
        self._load_lock = threading.Lock()
        self._run_lock = threading.Lock()

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self._loaded is not None

    @property
    def content_hash(self) -> str:
        """Hash of the checkpoint's content, from its manifest: nothing is loaded.

        Raises:
            CheckpointError: The checkpoint has no readable manifest.
        """
        if self._hash is None:
            self._hash = checkpoint_hash(self.checkpoint)
        return self._hash

    def summary(self) -> CheckpointSummary:
        """What to write beside the checkpoint's name; loads it.

        Raises:
            CheckpointError: As `load`.
        """
        loaded = self.load()
        return CheckpointSummary(
            name=self.checkpoint.name,
            preset=loaded.config.name,
            weights=str(loaded.metadata.get("weights", "raw")),
            parameters=sum(parameter.numel() for parameter in loaded.policy.parameters()),
            content_hash=loaded.content_hash,
            metadata=loaded.metadata,
        )

    def depth_limits(self) -> dict[View, tuple[float, float]]:
        """Depth in metres that spans the training data, by view: the colour range of episodes without true depth.

        Raises:
            CheckpointError: As `load`.
        """
        config = self.load().config
        spans = zip(config.stats.depth_mean, config.stats.depth_std, strict=True)
        limits = [(max(0.0, mean - _DEPTH_SPREAD * std), mean + _DEPTH_SPREAD * std) for mean, std in spans]
        return dict(zip(config.views, limits, strict=True))

    def load(self) -> LoadedCheckpoint:
        """Imports torch and loads the weights, once; safe to call from a worker thread while the page is drawn.

        Raises:
            CheckpointError: The folder is missing, truncated, foreign, or does not fit its configuration.
        """
        with self._load_lock:
            if self._loaded is None:
                from model.attention import check_captures
                from trainer.loop.checkpoint import load_checkpoint

                loaded = load_checkpoint(self.checkpoint)
                check_captures(loaded.policy)  # what the page shows is what the policy used, or an error
                self._loaded, self._hash = loaded, loaded.content_hash
            return self._loaded

    def origin(self, episode: Episode, step: int) -> Origin:
        """Where the prediction would come from now, for the cached/live badge. Never loads torch.

        Raises:
            CheckpointError: The checkpoint has no readable manifest.
        """
        return "memory" if self._key(episode, step) in self._cache else "live"

    def foresee(self, episode: Episode, step: int, cancel: Cancel | None = None) -> Foresight:
        """What the policy foresees at a control step that has an image.

        Raises:
            CheckpointError: As `load`.
            EpisodeError: The step has no image, or the episode cannot be read there.
            CancelledError: `cancel` was set before the prediction was done.
        """
        found = self._cache.get(self._key(episode, step))
        return self._predict(episode, [step], cancel)[0] if found is None else found

    def foresee_range(
        self,
        episode: Episode,
        steps: Sequence[int] | None = None,
        *,
        cancel: Cancel | None = None,
        progress: Progress | None = None,
    ) -> Iterator[Foresight]:
        """Predicts many steps (default: all with an image) in order, batched; raises as `foresee`.

        Args:
            episode: The episode.
            steps: Control steps that have images.
            cancel: Asked before every batch.
            progress: Told after every step.
        """
        chosen = [int(step) for step in (episode.frame_steps if steps is None else steps)]
        done = 0
        for group in self._groups(chosen):
            missing = [step for step in group if self._cache.get(self._key(episode, step)) is None]
            fresh = {item.step: item for item in self._predict(episode, missing, cancel)} if missing else {}
            for step in group:
                foresight = fresh.get(step) or self.foresee(episode, step, cancel)
                done += 1
                if progress is not None:
                    progress(done, len(chosen))
                yield foresight

    def _groups(self, steps: Sequence[int]) -> Iterator[list[int]]:
        """Neighbouring steps whose windows are equally full, at most `BATCH` of them."""
        window = self.load().config.window
        group: list[int] = []
        for step in steps:
            if group and (len(group) == BATCH or _frames(step, window) != _frames(group[0], window)):
                yield group
                group = []
            group.append(step)
        if group:
            yield group

    def _predict(self, episode: Episode, steps: Sequence[int], cancel: Cancel | None) -> list[Foresight]:
        """Runs the policy and keeps the results. Visitors take turns: two runs at once would only slow both."""
        _check(cancel)
        known = set(episode.frame_steps.tolist())
        for step in steps:
            if step not in known:
                raise EpisodeError(
                    f"{episode.name}: no image at step {step}; choose one of the {len(known)} steps with an image"
                )
        loaded = self.load()
        from .infer import assemble, gather, run_policy

        data = loaded.metadata.get("data")
        mean_action = data.get("action_mean") if isinstance(data, dict) else None
        with self._run_lock:
            _check(cancel)
            found = [self._cache.get(self._key(episode, step)) for step in steps]  # by another visitor, meanwhile
            complete = [item for item in found if item is not None]
            if len(complete) == len(steps):
                return complete
            inputs = [gather(loaded.policy, episode, step) for step in steps]
            _check(cancel)
            predictions = run_policy(loaded.policy, inputs)
            _check(cancel)
            pairs = zip(inputs, predictions, strict=True)
            foresights = [assemble(loaded.policy, episode, item, made, mean_action) for item, made in pairs]
            for foresight in foresights:  # still under the lock: the next visitor in line must find it
                self._cache.put(self._key(episode, foresight.step), foresight)
        return foresights

    def _key(self, episode: Episode, step: int) -> Key:
        return Key(checkpoint=self.content_hash, episode=episode.content_hash, step=int(step))


def _frames(step: int, window: Any) -> int:
    return min(window.n_obs_steps, step // window.obs_stride + 1)


def _check(cancel: Cancel | None) -> None:
    if cancel is not None and cancel.is_set():
        raise CancelledError

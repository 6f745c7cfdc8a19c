"""What all visitors share: the catalogue, opened episodes, loaded policies and 3D scenes, each in a small LRU.

Nothing here belongs to one visitor. A visitor is the link in the browser (checkpoint, episode, time), so two visitors
cannot see each other's state, and any server that has the same folders can answer any link.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from functools import cached_property
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float, UInt8

from trainer.episodes.episode import Episode, View

from ..attention.explain import Explainer, Question
from ..attention.methods import METHODS
from ..attention.spatial import flow_points
from ..attention.weights import Weights
from ..catalog import Catalog
from ..charts.panels import ClipScales, clip_scales
from ..foresight import Foresight
from ..predict import Cancel, Predictor
from ..told import without_places

if TYPE_CHECKING:
    from ..scene.recording import EpisodeScene

_MEMORY_BYTES = 320 << 20
"""Two clips of 100 frames of the bundled checkpoint stay scrubbable from memory inside the 1.5 GB the app may take."""

Key = TypeVar("Key")
Value = TypeVar("Value")


class Lru(Generic[Key, Value]):
    """A least-recently-used map that makes absent values. Who asks for one in the making waits for it, nobody else."""

    def __init__(self, capacity: int, make: Callable[[Key], Value]) -> None:
        self._capacity = capacity
        self._make = make
        self._lock = threading.Lock()
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._coming: dict[Key, Future[Value]] = {}

    def clear(self) -> None:
        """Forgets every value; one in the making goes to those who wait for it, and is not kept."""
        with self._lock:
            self._values.clear()
            self._coming.clear()

    def __getitem__(self, key: Key) -> Value:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            ours = key not in self._coming
            coming = self._coming.setdefault(key, Future())
        if ours:
            self._bring(key, coming)
        return coming.result()

    def _bring(self, key: Key, coming: Future[Value]) -> None:
        try:
            value = self._make(key)
        except BaseException as error:
            with self._lock:
                self._arrived(key, coming)
            coming.set_exception(error)
            return
        with self._lock:
            if self._arrived(key, coming):
                self._values[key] = value
                while len(self._values) > self._capacity:
                    self._values.popitem(last=False)
        coming.set_result(value)

    def _arrived(self, key: Key, coming: Future[Value]) -> bool:
        """Takes it out of the making; False where everything was cleared since it was asked for."""
        if self._coming.get(key) is not coming:
            return False
        del self._coming[key]
        return True


class SharedScene:
    """One recording for everybody who looks at the same episode with the same checkpoint; the bytes are the same.

    rerun is imported at the first use, the opening is kept (it decodes the whole clip), and a lock keeps two requests
    from writing into one stream.
    """

    def __init__(self, episode: Episode) -> None:
        self._episode = episode
        self._lock = threading.Lock()

    @cached_property
    def _scene(self) -> EpisodeScene:
        from ..scene.recording import EpisodeScene

        return EpisodeScene(self._episode)

    @cached_property
    def _opening(self) -> bytes:
        return self._scene.opening()

    def opening(self) -> tuple[str, bytes]:
        """Recording id and .rrd bytes."""
        with self._lock:
            return self._scene.recording_id, self._opening

    def attention(self, foresight: Foresight, weight: Float[np.ndarray, " p"] | None) -> tuple[str, bytes]:
        """Recording id and .rrd bytes of start points coloured by a weight; None takes them away."""
        with self._lock:
            return self._scene.recording_id, self._scene.attention(foresight, weight)

    def predicted(self, foresight: Foresight) -> tuple[str, bytes]:
        """Recording id and .rrd bytes of one more step."""
        with self._lock:
            return self._scene.recording_id, self._scene.predicted(foresight)


class _Explained(NamedTuple):
    """A running explanation, for whoever asks how far it is."""

    checkpoint: str
    episode: str
    step: int
    question: Question


class Desk:
    """Answers by id; ids come from the browser, paths never do."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._episodes: Lru[str, Episode] = Lru(8, catalog.open)
        self._predictors: Lru[str, Predictor] = Lru(2, self._make_predictor)
        self._explainers: Lru[str, Explainer] = Lru(2, lambda key: Explainer(self.predictor(key)))
        self._running: dict[_Explained, tuple[int, int]] = {}
        self._scales: Lru[tuple[str, str | None], ClipScales] = Lru(32, self._make_scales)
        self._scenes: Lru[tuple[str, str | None], SharedScene] = Lru(4, lambda key: SharedScene(self.episode(key[0])))

    def episode(self, episode_id: str) -> Episode:
        """The opened episode.

        Raises:
            ConfigError: No such id.
            EpisodeError: It cannot be read.
        """
        return self._episodes[episode_id]

    def forget_episodes(self) -> None:
        """Opens every episode anew when it is next asked for: its files, settings or labels may have changed."""
        for kept in (self._episodes, self._scales, self._scenes):
            kept.clear()

    def told(self, message: str) -> str:
        """A message about the catalogue's files as the browser may have it, without where they lie on this machine."""
        return without_places(message, self.catalog.places())

    def predictor(self, checkpoint_id: str) -> Predictor:
        """The predictor of a checkpoint, not yet loaded.

        Raises:
            ConfigError: No such id.
        """
        return self._predictors[checkpoint_id]

    def scales(self, episode_id: str, checkpoint_id: str | None) -> ClipScales:
        """The clip's fixed colour scales. Only an episode without depth needs the checkpoint for them."""
        known = self.episode(episode_id).info.depth_origin is not None
        return self._scales[(episode_id, None if known else checkpoint_id)]

    def foresee(self, checkpoint_id: str, episode_id: str, step: int, cancel: Cancel | None = None) -> Foresight:
        """The prediction at one time, cached by the predictor. Raises as `Predictor.foresee`."""
        return self.predictor(checkpoint_id).foresee(self.episode(episode_id), step, cancel)

    def cached(self, checkpoint_id: str, episode_id: str) -> list[Foresight]:
        """The predictions of a clip that exist already, by increasing time; nothing is computed."""
        predictor, episode = self.predictor(checkpoint_id), self.episode(episode_id)
        steps = [int(step) for step in episode.frame_steps]
        return [predictor.foresee(episode, step) for step in steps if predictor.origin(episode, step) != "live"]

    def explain(
        self, checkpoint_id: str, episode_id: str, step: int, question: Question, *, run: bool, cancel: Cancel
    ) -> tuple[Foresight, Weights | None]:
        """A prediction and where the action looks, by one method.

        Args:
            checkpoint_id: The policy.
            episode_id: The episode.
            step: Control step with an image.
            question: The method and what it takes.
            run: A slow method is run; else its weights are None unless they were computed before.
            cancel: Asked between forward passes.

        Raises:
            ConfigError, EpisodeError, CheckpointError, CancelledError: As `Explainer.explain`.
        """
        explainer, episode = self._explainers[checkpoint_id], self.episode(episode_id)
        question = question.checked()
        if METHODS[question.method].slow and not run:
            foresight = self.foresee(checkpoint_id, episode_id, step, cancel)
            return foresight, explainer.known(episode, step, question)
        key = _Explained(checkpoint_id, episode_id, step, question)
        try:
            return explainer.explain(
                episode, step, question, cancel=cancel, tick=lambda *done: self._running.update({key: done})
            )
        finally:
            self._running.pop(key, None)

    def explained_so_far(
        self, checkpoint_id: str, episode_id: str, step: int, question: Question
    ) -> tuple[int, int] | None:
        """Forward passes done, and in all, of an explanation that is being computed; None if it is not."""
        return self._running.get(_Explained(checkpoint_id, episode_id, step, question.checked()))

    def image(self, episode_id: str, view: View, step: int, size: tuple[int, int]) -> UInt8[np.ndarray, "h w 3"]:
        """A recorded image in another size (height, width), for looking at."""
        from PIL import Image

        recorded = Image.fromarray(self.episode(episode_id).rgb(view, step))
        return np.asarray(recorded.resize((size[1], size[0]), Image.Resampling.BILINEAR))

    def scene_attention(
        self, episode_id: str, checkpoint_id: str, foresight: Foresight, weights: Weights | None
    ) -> tuple[str, bytes]:
        """Recording id and .rrd bytes that colour the flow's start points by weights, or take the colours away.

        Raises:
            ConfigError: The policy has no flow decoder.
        """
        shown = None if weights is None else flow_points(weights, foresight.attention.maps)
        return self._scenes[(episode_id, checkpoint_id)].attention(foresight, shown)

    def scene_opening(self, episode_id: str, checkpoint_id: str | None) -> tuple[str, bytes]:
        """Recording id and .rrd bytes of what needs no prediction."""
        return self._scenes[(episode_id, checkpoint_id)].opening()

    def scene_step(self, episode_id: str, checkpoint_id: str, step: int, cancel: Cancel) -> tuple[str, bytes]:
        """Recording id and .rrd bytes that one predicted time adds to that recording."""
        foresight = self.foresee(checkpoint_id, episode_id, step, cancel)
        return self._scenes[(episode_id, checkpoint_id)].predicted(foresight)

    def _make_predictor(self, checkpoint_id: str) -> Predictor:
        return Predictor(self.catalog.checkpoint(checkpoint_id).path, memory_bytes=_MEMORY_BYTES)

    def _make_scales(self, key: tuple[str, str | None]) -> ClipScales:
        episode_id, checkpoint_id = key
        fallback: dict[View, tuple[float, float]] = {"static": (0.0, 2.0), "wrist": (0.0, 1.0)}
        if checkpoint_id is not None:
            fallback = self.predictor(checkpoint_id).depth_limits()
        return clip_scales(self.episode(episode_id), fallback=fallback)

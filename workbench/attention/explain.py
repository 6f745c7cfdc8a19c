"""Runs a method at one time of an episode: at once where it is cheap, kept where it is not, cancellable.

torch and captum are imported when a method needs them.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from model.errors import ConfigError
from trainer.episodes.episode import Episode, View

from ..foresight import Foresight
from ..predict import Cancel, CancelledError, Predictor
from .maps import AttentionMaps, latent_group
from .methods import METHODS, SHARE, TARGETS, MethodName, TargetName
from .weights import Weights, raw_weights, relevance, relevance_shares, rollout

if TYPE_CHECKING:
    from model.batch import Observation
    from model.policy import Policy

    from .forward import Entry
    from .integrated import Integral

_KEPT = 256
"""Results held in memory: a few kilobytes each (attention itself is not held)."""

Tick = Callable[[int, int], None]


class Question(NamedTuple):
    """What is asked about one time. `layer` and `head` count from 0, None = mean over all; raw attention only."""

    method: MethodName = "raw"
    query: str = "ACT"
    target: TargetName = "translation"
    layer: int | None = None
    head: int | None = None

    def checked(self) -> Question:
        """The same without what the method does not take, so that equal answers have equal keys.

        Raises:
            ConfigError: The method does not know this query group.
        """
        method = METHODS[self.method]
        if self.query not in method.queries:
            raise ConfigError(f"{method.title} can be asked about {' or '.join(method.queries)}, not {self.query}")
        return self._replace(
            target=self.target if method.targeted else "translation",
            layer=self.layer if method.selects else None,
            head=self.head if method.selects else None,
        )


class _Key(NamedTuple):
    checkpoint: str
    episode: str
    step: int
    question: Question


class Explainer:
    """Answers of one checkpoint, shared by all visitors.

    Args:
        predictor: Gives policy and maps.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self._kept: OrderedDict[_Key, Weights] = OrderedDict()
        self._lock = threading.Lock()

    def known(self, episode: Episode, step: int, question: Question) -> Weights | None:
        """The answer if it was computed before; touches no policy."""
        with self._lock:
            key = self._key(episode, step, question)
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def explain(
        self,
        episode: Episode,
        step: int,
        question: Question,
        *,
        cancel: Cancel | None = None,
        tick: Tick | None = None,
    ) -> tuple[Foresight, Weights]:
        """The prediction at one time and the answer to a question about it.

        Args:
            episode: The episode.
            step: Control step with an image.
            question: What to compute.
            cancel: Asked between forward passes.
            tick: Told (passes done, in all) by slow methods.

        Raises:
            CheckpointError, EpisodeError: As `Predictor.foresee`.
            ConfigError: The policy has no such query, layer or head, or the method does not take it.
            CancelledError: `cancel` was set.
        """
        question = question.checked()
        foresight = self._predictor.foresee(episode, step, cancel)
        maps = foresight.attention.maps
        if question.query not in maps.rows:
            raise ConfigError(f"this policy has no {question.query} queries; choose {' or '.join(maps.rows)}")
        if question.method == "raw":
            return foresight, raw_weights(maps, question.query, question.layer, question.head)
        found = self.known(episode, step, question)
        if found is None:

            def told(done: int, total: int) -> None:
                if cancel is not None and cancel.is_set():
                    raise CancelledError
                if tick is not None:
                    tick(done, total)

            found = self._compute(episode, step, question, maps, told)
            with self._lock:
                self._kept[self._key(episode, step, question)] = found
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        return foresight, found

    def _compute(self, episode: Episode, step: int, question: Question, maps: AttentionMaps, tick: Tick) -> Weights:
        from trainer.data.windows import observation_at

        from .forward import enter

        policy = self._predictor.load().policy
        observation = observation_at(episode, step, policy.config, policy.tokenize)
        tick(0, 1)
        entry = enter(policy, observation)
        if question.method == "rollout":
            return _rolled_out(policy, entry, question, maps)
        return _attributed(policy, observation, entry, question, maps, tick)

    def _key(self, episode: Episode, step: int, question: Question) -> _Key:
        return _Key(self._predictor.content_hash, episode.content_hash, int(step), question.checked())


def _rolled_out(policy: Policy, entry: Entry, question: Question, maps: AttentionMaps) -> Weights:
    from .gradients import full_attention

    rows = maps.keys(question.query)
    result = rollout(full_attention(policy, entry).mean(axis=1))[rows].mean(axis=0)
    return Weights(method="rollout", query=question.query, unit=SHARE, tokens=result)


def _attributed(
    policy: Policy, observation: Observation, entry: Entry, question: Question, maps: AttentionMaps, tick: Tick
) -> Weights:
    """One of the methods that explain a component of the action."""
    import torch

    from .forward import chunk_from, score_of
    from .gradients import attention_gradients
    from .integrated import by_patches, by_tokens

    with torch.no_grad():
        chunk = chunk_from(policy, entry.tokens, entry)[0]
    score = score_of(question.target, chunk, policy.config.stats)
    if question.method == "relevance":
        rows = maps.keys("ACT").tolist()
        shares = relevance_shares(relevance(*attention_gradients(policy, entry, score)), rows)
        return Weights(
            method="relevance",
            query="ACT",
            unit=SHARE,
            tokens=shares,
            target=question.target,
            value=float(score(chunk[None])[0]),
        )
    if question.method == "tokens":
        integral = by_tokens(policy, observation, entry, score, tick)
        return _integrated(question, integral, integral.parts[0].double().numpy())
    integral = by_patches(policy, observation, entry, score, tick)
    return _over_patches(policy, question, integral, maps)


def _integrated(
    question: Question, integral: Integral, tokens: np.ndarray, patches: dict[View, np.ndarray] | None = None
) -> Weights:
    return Weights(
        method=question.method,
        query="ACT",
        unit=TARGETS[question.target].unit,
        tokens=tokens,
        patches=patches,
        target=question.target,
        value=integral.value,
        baseline=integral.baseline,
        delta=integral.delta,
    )


def _over_patches(policy: Policy, question: Question, integral: Integral, maps: AttentionMaps) -> Weights:
    """Patches by age of the frame; the tokens they feed hold their sums, so that groups can be counted as ever."""
    patches, cls = (part.double().numpy() for part in integral.parts)
    tokens = np.zeros(len(maps.group))
    newest = int((maps.steps >= 0).sum()) - 1
    by_view: dict[View, np.ndarray] = {}
    for index, view in enumerate(policy.config.views):
        aged = np.zeros_like(patches[:, index])
        aged[: newest + 1] = patches[newest::-1, index]
        by_view[view] = aged
        for age in range(newest + 1):
            latents = maps.keys(latent_group(view), age)
            tokens[latents] = aged[age].sum() / len(latents)
            tokens[maps.keys(f"{view[0].upper()}_CLS", age)] = cls[newest - age, index]
    return _integrated(question, integral, tokens, by_view)

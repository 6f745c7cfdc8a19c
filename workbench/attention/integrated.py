"""Integrated gradients of one action component by the assembled tokens, or by the features of the image patches.

captum's `LayerIntegratedGradients` on the layer where tokens (or features) enter, so that no encoder runs again for
each point of the path. Imports torch and captum.

Dimensions: b batch (points of the path), t frame of the window, v view, n token, d width, c patch, w width of features.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from model.batch import Observation
from model.policy import Policy

from .forward import Entry, Score, blank_like, chunk_from, enter

POINTS = 128
"""Gauss-Legendre points of the path. The way bends sharply: with 32 the bundled policy misses up to 90 % of the
difference, with 128 below 3 % (the page shows what is missed)."""
AT_ONCE = 16
_CALLS = -(-POINTS // AT_ONCE) + 4  # the path in portions, and the ends for layer and completeness

Tick = Callable[[int, int], None]
"""Told (forward passes done, in all); raises to cancel."""


@dataclass(frozen=True, kw_only=True)
class Integral:
    """What was given to each input, in the unit of the score.

    Attributes:
        parts: For each input tensor the sum over its last dimension.
        value: Score at the input.
        baseline: Score at the baseline.
        delta: value - baseline - sum of all parts.
    """

    parts: list[Tensor]
    value: float
    baseline: float
    delta: float


class _Path(nn.Module):
    """A score as a function of tensors that enter through identity layers, where captum can take hold of them."""

    def __init__(self, score: Callable[..., Tensor], count: int, tick: Tick | None):
        super().__init__()
        self.entries = nn.ModuleList(nn.Identity() for _ in range(count))
        self.score, self.tick, self.calls = score, tick, 0

    def forward(self, *inputs: Tensor) -> Float[Tensor, " b"]:
        if self.tick is not None:
            self.tick(min(self.calls, _CALLS), _CALLS)
        self.calls += 1
        return self.score(*(entry(x) for entry, x in zip(self.entries, inputs, strict=True)))


def integrate(
    score: Callable[..., Float[Tensor, " b"]],
    inputs: tuple[Tensor, ...],
    baselines: tuple[Tensor, ...],
    *,
    tick: Tick | None = None,
) -> Integral:
    """Integrated gradients of `score` along the straight line from `baselines` to `inputs`, all with b = 1 in front.

    Args:
        score: Of a batch of inputs, each row for itself.
        inputs: Where the path ends.
        baselines: Where it starts.
        tick: Told the progress; may raise.
    """
    from captum.attr import LayerIntegratedGradients

    path = _Path(score, len(inputs), tick)
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")  # captum warns of every non-leaf and full backward hook
        found = LayerIntegratedGradients(path, list(path.entries)).attribute(
            inputs, baselines, n_steps=POINTS, internal_batch_size=AT_ONCE, method="gausslegendre"
        )
    with torch.no_grad():
        value, baseline = float(path(*inputs)[0]), float(path(*baselines)[0])
    parts = [_only(item)[0].detach().sum(-1) for item in found]
    return Integral(
        parts=parts,
        value=value,
        baseline=baseline,
        delta=value - baseline - sum(float(part.sum()) for part in parts),
    )


def by_tokens(policy: Policy, observation: Observation, entry: Entry, score: Score, tick: Tick | None) -> Integral:
    """Over the assembled tokens; `parts` = [(n,)]."""
    blank = enter(policy, blank_like(policy, observation)).tokens
    return integrate(lambda tokens: score(chunk_from(policy, tokens, entry)), (entry.tokens,), (blank,), tick=tick)


def by_patches(policy: Policy, observation: Observation, entry: Entry, score: Score, tick: Tick | None) -> Integral:
    """Over the image encoder's features; `parts` = [patches (t, v, c), CLS (t, v)]. All else keeps its value."""
    embedding = policy.embedding
    blank = dataclasses.replace(observation, rgb=blank_like(policy, observation).rgb)
    shape = observation.rgb.shape[1:3]
    with torch.no_grad():
        language = embedding.encode_text(observation.text)
        state = embedding.state(observation.state_arm / embedding.state_scale, observation.state_gripper)
        goal = None if observation.goal_rgb is None else embedding.goal_tokens(observation.goal_rgb)
        ends = [embedding.encode_images(item.rgb.flatten(0, 2)).features for item in (observation, blank)]
    inputs, baselines = ((end.patches.unflatten(0, (1, *shape)), end.cls.unflatten(0, (1, *shape))) for end in ends)

    def from_features(patches: Float[Tensor, "b t v c w"], cls: Float[Tensor, "b t v w"]) -> Float[Tensor, " b"]:
        latents = embedding.resampler(patches.flatten(0, 2))[0].unflatten(0, patches.shape[:3])
        rows = len(patches)
        images = embedding.image_tokens(latents, cls)
        tokens = embedding.assemble(
            language.expand(rows, -1),
            state.expand(rows, -1, -1),
            images,
            None if goal is None else goal.expand(rows, -1, -1),
        )
        return score(chunk_from(policy, tokens, entry))

    return integrate(from_features, inputs, baselines, tick=tick)


def _only(found: Any) -> Tensor:
    """A tuple of one is what captum gives for a layer among several."""
    return found if isinstance(found, Tensor) else found[0]

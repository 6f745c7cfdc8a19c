"""What a method found: a weight for every token of the window, or for every patch of its images. numpy only.

Dimensions: k key position, t frame of the window, c patch, m layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from trainer.episodes.episode import View

from .maps import AttentionMaps
from .methods import SHARE, MethodName, TargetName

FLOW = "FLOW"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The answer of one method at one time.

    Attributes:
        query: The query group it is about.
        unit: `SHARE` where the weights are shares of one whole, else the target's unit.
        tokens: Of every key position; NaN nowhere, 0 where the query may not look.
        patches: Of every patch by view and age of the frame, where the method reaches them by itself (`tokens` then
            holds their sum on the latents they feed); else the weight of latents is rolled up.
        target: The component of the action it explains, None where it explains none.
        value: The target now, in `unit`.
        baseline: The target at the method's baseline.
        delta: value - baseline - sum of all weights: what the numerical integration lost (completeness).
    """

    method: MethodName
    query: str
    unit: str
    tokens: Float[np.ndarray, " k"]
    patches: dict[View, Float[np.ndarray, "t c"]] | None = None
    target: TargetName | None = None
    value: float | None = None
    baseline: float | None = None
    delta: float | None = None

    @property
    def total(self) -> float:
        """Everything that was given out."""
        return float(self.tokens.sum())


def raw_weights(maps: AttentionMaps, query: str = "ACT", layer: int | None = None, head: int | None = None) -> Weights:
    """Plain attention. Raises as `AttentionMaps.mean_row`."""
    return Weights(method="raw", query=query, unit=SHARE, tokens=maps.mean_row(query, layer, head))


def rollout(attention: Float[np.ndarray, "m k k"]) -> Float[np.ndarray, "k k"]:
    """Attention rollout: R = Ã_L ... Ã_1 with Ã = (A + I) / 2 (Abnar & Zuidema 2020, section 3).

    Rows sum to 1 and R is 0 wherever the mask lets nothing through in that many layers.

    Args:
        attention: Mean over heads, by layer, first layer first; row = attending token.
    """
    identity = np.eye(attention.shape[-1])
    result = identity
    for layer in np.asarray(attention, np.float64):
        result = 0.5 * (layer + identity) @ result
    return result


def relevance(
    attention: Float[np.ndarray, "m n k k"], gradient: Float[np.ndarray, "m n k k"]
) -> Float[np.ndarray, "k k"]:
    """Gradient x attention: R <- R + E_h[(grad * A)+] R from R = I (Chefer, Gur & Wolf 2021, equations 5 and 6).

    Args:
        attention: By layer and head.
        gradient: Of the explained number by each of its entries.
    """
    result = np.eye(attention.shape[-1])
    for layer, slope in zip(attention, gradient, strict=True):
        step = np.maximum(np.asarray(layer, np.float64) * slope, 0.0).mean(axis=0)
        result = result + step @ result
    return result


def relevance_shares(result: Float[np.ndarray, "k k"], rows: list[int]) -> Float[np.ndarray, " k"]:
    """The relevance of every token for some rows, without the rows' own identity, as shares of one.

    All zero where nothing had a positive effect.
    """
    found = result[rows].mean(axis=0)
    found[rows] -= 1.0 / len(rows)
    found = np.maximum(found, 0.0)
    return found / max(float(found.sum()), 1e-300) if found.any() else found

"""Weights on tokens, drawn where they have a place: on flow points and on image pixels; the rest is named.

Nothing is smeared: what lies on language, state, CLS or queries stands in `elsewhere`, and with the pictures adds up to
the whole. numpy only.

Dimensions: k key position, p point, h w pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from model.errors import ConfigError
from trainer.episodes.episode import View

from .maps import EARLIER, NOW, OTHERS, PREFIX, AttentionMaps, latent_group
from .rollup import latents_on_pixels, patches_on_pixels, points_on_pixels, share_out
from .weights import FLOW, Weights

Path = Literal["flow", "resampler", "patches"]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image's part of the weight; the pixels add up to `mass`.

    Attributes:
        path: Through which maps the weight reached the pixels.
        age: Frames before the newest.
        absolute: Sum of the pixels' absolute values: differs from `mass` where weights are signed.
    """

    path: Path
    view: View
    age: int
    pixels: Float[np.ndarray, "h w"]
    mass: float

    @property
    def absolute(self) -> float:
        """Sum of absolute values."""
        return float(np.abs(self.pixels).sum())


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Everything one method gave out: pictures of one frame, and what is not in them by name.

    `elsewhere` and the pictures' masses add up to `Weights.total`.
    """

    pictures: list[Picture]
    elsewhere: dict[str, float]


def flow_points(weights: Weights, maps: AttentionMaps) -> Float[np.ndarray, " p"]:
    """Weight of every flow point: tokens -> points by the rule; adds up to the weight on the FLOW tokens.

    Raises:
        ConfigError: The policy has no flow decoder, or one for the wrist only, whose points are not drawn.
    """
    if maps.points is None:
        raise ConfigError("this policy predicts no flow of the static camera: there are no points to share out over")
    return share_out(weights.tokens[maps.keys(FLOW)], maps.points)


def spread(
    weights: Weights,
    maps: AttentionMaps,
    *,
    size: tuple[int, int],
    age: int = NOW,
    uv: Float[np.ndarray, "p 2"] | None = None,
    flow_view: View = "static",
) -> Spread:
    """Pictures of the frame `age` frames before the newest, and what is elsewhere.

    Args:
        weights: What a method gave.
        maps: The maps of the same time.
        size: (height, width) of the policy's image.
        age: Which frame's images.
        uv: Places of the flow points, drawn in the newest frame only; without them FLOW is named, not drawn.
        flow_view: The view they lie in.

    Raises:
        ConfigError: There is no frame of that age.
    """
    if not 0 <= age < len(maps.steps) or maps.steps[age] < 0:
        frames = int((maps.steps >= 0).sum())
        raise ConfigError(f"the window has no frame {age} before the newest; it holds {frames} here")
    left = weights.tokens.copy()
    pictures: list[Picture] = []
    on_flow = maps.keys(FLOW)
    if age == NOW and uv is not None and maps.points is not None and left[on_flow].any():
        pixels = points_on_pixels(left[on_flow], maps.points, uv, size)
        pictures.append(_picture("flow", flow_view, age, pixels))
        left[on_flow] = 0.0
    for view, patches in maps.patches.items():
        keys = maps.keys(latent_group(view), age)
        if weights.patches is not None:
            pictures.append(_picture("patches", view, age, patches_on_pixels(weights.patches[view][age], size)))
        elif maps.allowed[weights.query][keys].any():
            pixels = latents_on_pixels(left[keys], patches[age], size)
            pictures.append(_picture("resampler", view, age, pixels))
        left[keys] = 0.0
    return Spread(pictures=pictures, elsewhere=_elsewhere(left, maps, weights.query, age))


def _picture(path: Path, view: View, age: int, pixels: Float[np.ndarray, "h w"]) -> Picture:
    return Picture(path=path, view=view, age=age, pixels=pixels, mass=float(pixels.sum()))


def _elsewhere(left: Float[np.ndarray, " k"], maps: AttentionMaps, query: str, age: int) -> dict[str, float]:
    """What is left: by group in the newest and in the drawn frame, the frames beside them as one; largest first."""
    allowed = maps.allowed[query]
    found: dict[str, float] = {}
    for index, name in enumerate(maps.names):
        for where in dict.fromkeys((PREFIX, NOW, age)):
            keys = (maps.group == index) & (maps.age == where) & allowed
            if left[keys].any():
                label = name if where <= NOW else f"{name} at t {maps.steps[where]}"
                found[label] = float(left[keys].sum())
    others = allowed & (maps.age > NOW) & (maps.age != age)
    if left[others].any():
        found[EARLIER if age == NOW else OTHERS] = float(left[others].sum())
    return dict(sorted(found.items(), key=lambda item: -abs(item[1])))

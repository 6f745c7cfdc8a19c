"""Depth in RLDS datasets: 16-bit images count millimetres, floating tensors metres; neither states its unit.

A depth feature belongs to the camera whose name has the same words but "depth" and "image": `depth_0` to `image_0`.

Dimensions: h w pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float

from model.errors import EpisodeError

from ..media.images import decode_depth_image
from .example import Feature
from .rlds_features import FeatureSpec
from .views import words_of

_IGNORED = {"depth", "image", "rgb", "color"}
_PREFIX = "steps/observation/"


def depth_specs(specs: Mapping[str, FeatureSpec]) -> list[FeatureSpec]:
    """The observations that hold depth."""
    return [spec for key, spec in sorted(specs.items()) if key.startswith(_PREFIX) and _is_depth(spec)]


def depth_reader(
    camera: str,
    size: tuple[int, int],
    features: Mapping[str, Feature],
    specs: Mapping[str, FeatureSpec],
    where: str,
) -> Callable[[int], Float[np.ndarray, "h w"]] | None:
    """Reads the depth that belongs to a camera at a step, float32 metres, NaN = invalid; None without any."""
    for spec in depth_specs(specs):
        feature = features.get(spec.name)
        if feature is None or _bare(spec.name) != _bare(camera):
            continue
        if spec.kind == "image":
            blobs = feature.blobs()
            return lambda step: _metres(decode_depth_image(bytes(blobs[step]), f"{where}: {spec.name}"), 0.001)
        values = feature.floats()
        height, width = size
        if len(values) % (height * width):
            raise EpisodeError(f"{where}: '{spec.name}' does not have the size of its camera, {height} x {width}")
        frames = values.reshape(-1, height, width)
        return lambda step: _metres(frames[step], 1.0)
    return None


def _metres(depth: Float[np.ndarray, "h w"], unit: float) -> Float[np.ndarray, "h w"]:
    scaled = depth.astype(np.float32) * np.float32(unit)
    scaled[~(np.isfinite(scaled) & (scaled > 0))] = np.nan
    return scaled


def _is_depth(spec: FeatureSpec) -> bool:
    if "depth" not in words_of(spec.name):
        return False
    if spec.kind == "image":
        return spec.dtype == "uint16"
    return spec.kind == "tensor" and spec.dtype == "float32" and len(spec.shape) >= 2


def _bare(name: str) -> list[str]:
    return [word for word in words_of(name.removeprefix(_PREFIX)) if word not in _IGNORED]

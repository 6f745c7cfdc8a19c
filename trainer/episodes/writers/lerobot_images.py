"""The image columns of a LeRobot dataset: every camera of an episode, colours and depth, as PNG.

Dimensions: h w pixels.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt16

from .trajectory import Trajectory

PREFIX = "observation.images."
_MILLIMETRES = 1000
_LARGEST = 65535


@dataclass(frozen=True)
class ImageColumn:
    """One column of images.

    Attributes:
        size: (height, width), pixels.
        at: The image of a row: (h, w, 3) uint8, or depth (h, w) in metres.
        is_depth: Whether it is depth.
    """

    size: tuple[int, int]
    at: Callable[[int], np.ndarray]
    is_depth: bool = False

    @property
    def feature(self) -> dict[str, Any]:
        """What info.json says of it."""
        shape = [*self.size, 1 if self.is_depth else 3]
        feature: dict[str, Any] = {"dtype": "image", "shape": shape, "names": ["height", "width", "channel"]}
        return {**feature, "info": {"is_depth_map": True, "depth_unit": "mm"}} if self.is_depth else feature


def image_columns(one: Trajectory) -> dict[str, ImageColumn]:
    """The columns of all cameras by feature name: the two views first, then the others under their source's names."""
    episode, steps = one.episode, one.steps
    columns: dict[str, ImageColumn] = {}
    for view in episode.info.views:
        size = episode.image_size(view)
        columns[PREFIX + view] = ImageColumn(size, lambda row, view=view: episode.rgb(view, steps[row]))
        if episode.has("depth", view):
            columns[f"{PREFIX}{view}_depth"] = ImageColumn(
                size, lambda row, view=view: episode.depth(view, steps[row]), is_depth=True
            )
    for name, camera in episode.others.items():  # their frames are counted like our rows
        key = _feature_name(name, {*columns, *(f"{column}_depth" for column in columns)}, camera.depth is not None)
        columns[key] = ImageColumn(camera.size, camera.rgb)
        if camera.depth is not None:
            columns[f"{key}_depth"] = ImageColumn(camera.size, camera.depth, is_depth=True)
    return columns


def png_of(image: np.ndarray, column: ImageColumn) -> bytes:
    """The image of a column as it is stored: depth in 16-bit millimetres."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(_millimetres(image) if column.is_depth else image).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def _feature_name(camera: str, taken: set[str], has_depth: bool) -> str:
    """LeRobot's names hold no slash; what another camera or its depth is called already gets an underscore."""
    name = PREFIX + re.sub(r"[^\w.-]+", "_", camera.removeprefix(PREFIX)).strip("_.")
    while name in taken or (has_depth and f"{name}_depth" in taken):
        name += "_"
    return name


def _millimetres(depth: Float[np.ndarray, "h w"]) -> UInt16[np.ndarray, "h w"]:
    """Whole millimetres, 0 = not known or beyond what 16 bits hold (65.5 m)."""
    with np.errstate(invalid="ignore"):
        units = np.rint(depth.astype(np.float64) * _MILLIMETRES)
        return np.where((units >= 1) & (units <= _LARGEST), units, 0).astype(np.uint16)

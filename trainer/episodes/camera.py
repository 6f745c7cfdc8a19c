"""One camera of an episode that is read from a foreign format, frame by frame.

Dimensions: t control step, h w pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8


@dataclass(frozen=True, kw_only=True)
class Camera:
    """What a reader knows of one camera; nothing is decoded until `rgb` or `depth` is called.

    Attributes:
        source_name: What the source calls it, such as `rgb_static` or `observation.images.top`.
        size: (height, width) of the images, pixels.
        rgb: The upright image of a FRAME INDEX (0 .. number of frames - 1, not a control step).
        depth: Float32 metres along the optical axis at a frame index, NaN = invalid; None if the source has none.
        K: Intrinsics in pixels of `size`, centre of pixel (0, 0) at (0.5, 0.5); None if unknown.
        T_world_camera: Pose at every control step, OpenCV axes, metres; None if unknown.
    """

    source_name: str
    size: tuple[int, int]
    rgb: Callable[[int], UInt8[np.ndarray, "h w 3"]]
    depth: Callable[[int], Float[np.ndarray, "h w"]] | None = None
    K: Float[np.ndarray, "3 3"] | None = None
    T_world_camera: Float[np.ndarray, "t 4 4"] | None = None

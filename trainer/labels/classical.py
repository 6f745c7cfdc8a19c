"""2D tracks of a clip with nothing installed: dense inverse search, a forward-backward check, a static hold.

Flow between neighbouring frames is dense inverse search (Kroeger et al., ECCV 2016) on frames enlarged twice, chained
from each start. A point is seen while following the flow there and back returns to within a pixel and while it still
looks as it did at the start; once that fails it is lost, and nothing is invented for it. Chains slip onto whatever
passes in front of the background, so wherever a camera that stands still sees the start pixel unchanged and at rest,
the point is put back ("static hold"). Good up to about 5 px a frame; lost on fast small things; not meant for a camera
that moves.

Dimensions: f frame, h w pixels, p point.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

ENLARGED = 2
"""Frames are enlarged by this before the flow; without it slow objects are lost twice as often."""
RETURN_PX = 1.0
"""There and back may miss the start by this much."""
ALIKE = 30.0
"""Blurred colours (0..255) that differ by less may still be the same thing in another light."""
UNCHANGED = 4.0
"""Blurred colours that differ by less are the same thing in the same place ..."""
AT_REST_PX = 0.5
"""... if the flow there is less than this: one plain surface that slides over another's place looks alike too."""
_BLUR = 5

Image = UInt8[np.ndarray, "h w 3"]
DenseFlow = Float32[np.ndarray, "h w 2"]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A frame, the flow to it from the frame before, and the flow back; pixels of the frames as given."""

    forward: DenseFlow
    backward: DenseFlow
    after: Image


def pairs(frames: Iterable[Image]) -> Iterator[Pair]:
    """Dense flow between each two neighbouring frames, in both directions."""
    search = _search()
    before: Any = None
    for frame in frames:
        after = _enlarged(frame)
        if before is not None:
            there, back = search.calc(before, after, None), search.calc(after, before, None)
            yield Pair(forward=_reduced(there, frame), backward=_reduced(back, frame), after=frame)
        before = after


class Chain:
    """Points of one start frame, followed frame after frame.

    Args:
        first: The start frame.
        uv: Where the points start, continuous pixels.
        still_camera: The camera stands still, so that what has not changed has not moved.

    Attributes:
        uv: Where they are now; where they were last seen if they are not visible.
        visible: Seen in the present frame.
    """

    def __init__(self, first: Image, uv: Float[np.ndarray, "p 2"], *, still_camera: bool):
        self._start = uv.astype(np.float32)
        self._look = _sample(_blurred(first), self._start)
        self._still_camera = still_camera
        self.uv: Float32[np.ndarray, "p 2"] = self._start.copy()
        self.visible: Bool[np.ndarray, " p"] = np.ones(len(uv), bool)

    def step(self, pair: Pair) -> None:
        """Moves on by one frame."""
        moved = self.uv + _sample(pair.forward, self.uv)
        back = moved + _sample(pair.backward, moved)
        blurred = _blurred(pair.after)
        height, width = pair.after.shape[:2]
        inside = ((moved >= 0) & (moved < (width, height))).all(1)
        returns = np.linalg.norm(back - self.uv, axis=1) < RETURN_PX
        self.visible = self.visible & inside & returns & self._looks_as_before(blurred, moved, ALIKE)
        self.uv = np.where(self.visible[:, None], moved, self.uv)
        if self._still_camera:
            at_rest = np.linalg.norm(_sample(pair.forward, self._start), axis=1) < AT_REST_PX
            unchanged = at_rest & self._looks_as_before(blurred, self._start, UNCHANGED)
            self.uv = np.where(unchanged[:, None], self._start, self.uv)
            self.visible = self.visible | unchanged

    def _looks_as_before(
        self, blurred: Float32[np.ndarray, "h w 3"], uv: Float32[np.ndarray, "p 2"], limit: float
    ) -> Bool[np.ndarray, " p"]:
        return np.abs(_sample(blurred, uv) - self._look).max(1) < limit


def _search() -> Any:
    import cv2

    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)


def _enlarged(image: Image) -> UInt8[np.ndarray, "H W"]:
    import cv2

    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    height, width = luma.shape
    return cv2.resize(luma, (width * ENLARGED, height * ENLARGED), interpolation=cv2.INTER_CUBIC)


def _reduced(flow: Float32[np.ndarray, "H W 2"], like: Image) -> DenseFlow:
    import cv2

    return cv2.resize(flow, like.shape[1::-1], interpolation=cv2.INTER_AREA) / np.float32(ENLARGED)


def _blurred(image: Image) -> Float32[np.ndarray, "h w 3"]:
    import cv2

    return cv2.blur(image, (_BLUR, _BLUR)).astype(np.float32)


def _sample(image: Float32[np.ndarray, "h w c"], uv: Float32[np.ndarray, "p 2"]) -> Float32[np.ndarray, "p c"]:
    """Bilinear values at continuous pixels (the centre of pixel (0, 0) is (0.5, 0.5)), the border repeated outside."""
    import cv2

    u, v = (uv - 0.5).T[:, None]
    values = cv2.remap(np.ascontiguousarray(image), u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return values.reshape(len(uv), image.shape[2])

"""What a depth network says of a clip, made small as it is said: the frames of a long video never lie in memory.

Dimensions: f frame, h w pixels, r c pixels that are kept, n pixel asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from model.errors import EpisodeError
from trainer.episodes.episode import Episode, View

from .anchors import Pixels
from .depth_network import DepthNetwork
from .frames import at_most, check_length, frames_of

CLIP_SIDE = 640
"""A network that takes whole clips gets frames of at most this size; Video-Depth-Anything looks at 518 pixels."""
CLIP_PIXELS = 1 << 29
"""Of a whole clip: 1.5 GiB of colours and 2 GiB of what is said of them."""
_PIXELS_AT_ONCE = 1 << 24
_USABLE = 0.5
_BYTES_KEPT = 2  # of a pixel of a label: a 16-bit code


@dataclass(frozen=True, kw_only=True)
class SaidDepth:
    """What a network says of a clip.

    Attributes:
        kept: Every n-th pixel of every frame.
        at: At the pixels that were asked for.
    """

    kept: Float32[np.ndarray, "f r c"]
    at: Float32[np.ndarray, " n"]


def look(network: DepthNetwork, episode: Episode, view: View, *, side: int, pixels: Pixels) -> SaidDepth:
    """Shows a clip to a network.

    Args:
        network: Who is asked.
        episode: The clip.
        view: Whose frames.
        side: No side of what is kept is longer.
        pixels: Where its word is wanted in full, in the order of their frames.

    Raises:
        EpisodeError: The clip has no frames or too many, the network fails, or less than half of what it says is
            finite.
    """
    count, size = len(episode.frame_steps), episode.image_size(view)
    if not count:
        raise EpisodeError(f"{episode.name}: has no frames of '{view}'")
    check_length(count, _BYTES_KEPT * _kept_pixels(size, side), "--max-side")
    kept, at, first = list[Float32[np.ndarray, "r c"]](), np.empty(len(pixels.frame), np.float32), 0
    for frames in _handfuls(network, episode, view):
        said = network(frames)
        here = slice(*np.searchsorted(pixels.frame, (first, first + len(said))))
        rows, columns = (
            place[here] * ours // theirs
            for place, ours, theirs in zip((pixels.rows, pixels.columns), said.shape[1:], size, strict=True)
        )
        at[here] = said[pixels.frame[here] - first, rows, columns]
        kept += list(_every_nth(said, side))
        first += len(said)
    usable = float(np.mean([np.isfinite(frame).mean() for frame in kept]))
    if usable < _USABLE:
        raise EpisodeError(f"the depth network says something finite of {usable:.0%} of the pixels only")
    return SaidDepth(kept=np.stack(kept), at=at)


def _handfuls(network: DepthNetwork, episode: Episode, view: View) -> Iterator[UInt8[np.ndarray, "f h w 3"]]:
    """The frames, as many at once as the network takes and memory holds."""
    frames, (height, width) = frames_of(episode, view), episode.image_size(view)
    left = len(episode.frame_steps)
    if network.at_once is None:
        yield _whole(frames, left)
        return
    most = max(1, min(network.at_once, _PIXELS_AT_ONCE // (height * width)))
    while left > 0:
        yield np.stack([next(frames) for _ in range(min(most, left))])
        left -= most


def _whole(frames: Iterator[UInt8[np.ndarray, "h w 3"]], count: int) -> UInt8[np.ndarray, "f H W 3"]:
    """All frames, reduced as they are decoded."""
    first = at_most(next(frames), CLIP_SIDE)
    most = CLIP_PIXELS // (first.shape[0] * first.shape[1])
    if count > most:
        raise EpisodeError(
            f"a temporal model is shown the clip as a whole, and {count} frames are too many; pack the episode in "
            f"pieces (`python -m trainer pack --longest {most}`) and label those"
        )
    clip = np.empty((count, *first.shape), np.uint8)
    clip[0] = first
    for index, frame in enumerate(frames, 1):
        clip[index] = at_most(frame, CLIP_SIDE)
    return clip


def _every(size: tuple[int, int], side: int) -> tuple[slice, slice]:
    """The rows and columns that are kept: at least one of each, however narrow the image."""
    step = -(-max(size) // side)
    rows, columns = (slice(min(step // 2, length - 1), None, step) for length in size)
    return rows, columns


def _kept_pixels(size: tuple[int, int], side: int) -> int:
    rows, columns = (range(length)[every] for length, every in zip(size, _every(size, side), strict=True))
    return len(rows) * len(columns)


def _every_nth(said: Float32[np.ndarray, "f h w"], side: int) -> Float32[np.ndarray, "f r c"]:
    """Every n-th pixel, so that no side is longer than asked; a copy, which lets go of the rest."""
    rows, columns = _every((said.shape[1], said.shape[2]), side)
    return said[:, rows, columns].copy()

"""Frames of a clip for a labeller: decoded one after the other, so that a long video never lies in memory.

Dimensions: h w pixels of a frame, H W of the reduced one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from model.errors import EpisodeError
from trainer.episodes.episode import Episode, View

LARGEST_LABEL = 1 << 30
"""Bytes of one label's arrays; while it is made, a worker needs about four times as much."""


def frames_of(episode: Episode, view: View) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """Every frame of a view, decoded when it is asked for."""
    return (episode.rgb(view, int(step)) for step in episode.frame_steps)


def check_length(frames: int, bytes_per_frame: int, flag: str) -> None:
    """Refuses a clip before it is looked at.

    Args:
        frames: Of the clip.
        bytes_per_frame: Of its label.
        flag: What makes the label of a frame smaller.

    Raises:
        EpisodeError: The label would be larger than `LARGEST_LABEL`.
    """
    most = LARGEST_LABEL // bytes_per_frame
    if frames > most:
        raise EpisodeError(
            f"{frames} frames are too many for one label, {most} would do: pack the episode in pieces "
            f"(`python -m trainer pack --longest {most}`) and label those, or choose a smaller {flag}"
        )


def at_most(frame: UInt8[np.ndarray, "h w 3"], side: int) -> UInt8[np.ndarray, "H W 3"]:
    """The frame, reduced by area until no side is longer than `side` pixels."""
    import cv2

    factor = side / max(frame.shape[:2])
    if factor >= 1:
        return frame
    height, width = (max(1, round(length * factor)) for length in frame.shape[:2])
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)

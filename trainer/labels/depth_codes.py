"""How a depth label is stored and read back: 16-bit codes of metres, or of a clip's range where there is no unit.

Dimensions: f frame, h w pixels.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, UInt16

from model.errors import EpisodeError
from trainer.episodes.codecs import metres, quantise_depth
from trainer.episodes.episode import View

from .labeller import Label

_LEVELS = 65534  # codes of relative depth; 65535 = invalid


def encode(
    depth: Float[np.ndarray, "f h w"], *, metric: bool
) -> tuple[UInt16[np.ndarray, "f h w"], dict[str, float] | None]:
    """Codes of 0.1 mm, or of a 65534th of the clip's range where there is no unit."""
    if metric:
        return quantise_depth(depth), None
    valid = np.isfinite(depth)
    low, high = (float(depth[valid].min()), float(depth[valid].max())) if valid.any() else (0.0, 0.0)
    span = (high - low) or 1.0
    codes = np.where(valid, np.round((np.where(valid, depth, low) - low) / span * _LEVELS), _LEVELS + 1)
    return codes.astype(np.uint16), {"low": low, "high": low + span}


def depth_of(label: Label, view: View, frame: int, size: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
    """One frame of a stored label at the size of the images (nearest: depth is never blended over an edge).

    Raises:
        EpisodeError: The label has no depth of this view or frame.
    """
    try:
        codes, coding = label.arrays[f"{view}.depth"][frame], label.facts["coding"]
        if coding is None:
            depth = metres(codes)
        else:
            low, high = float(coding["low"]), float(coding["high"])
            depth = np.where(codes == _LEVELS + 1, np.nan, low + codes.astype(np.float32) * ((high - low) / _LEVELS))
    except (KeyError, IndexError, TypeError, ValueError):
        raise EpisodeError(f"the label has no depth of '{view}' at frame {frame}; label again") from None
    rows = (np.arange(size[0]) + 0.5) * depth.shape[0] / size[0]
    columns = (np.arange(size[1]) + 0.5) * depth.shape[1] / size[1]
    return depth.astype(np.float32)[rows.astype(np.int64)[:, None], columns.astype(np.int64)]

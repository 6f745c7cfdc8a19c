"""How a depth label is stored and read back: 16-bit codes of metres, or of a clip's range where there is no unit.

Dimensions: f frame, h w pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, UInt16

from model.errors import EpisodeError
from trainer.episodes.codecs import metres, quantise_depth
from trainer.episodes.episode import View
from trainer.episodes.media.resize import nearest

from .labeller import Label

_LEVELS = 65534  # codes of relative depth; 65535 = invalid


def encode(
    said: Float32[np.ndarray, "f h w"], to_metres: Callable[[np.ndarray], np.ndarray] | None
) -> tuple[UInt16[np.ndarray, "f h w"], dict[str, float] | None]:
    """Codes of 0.1 mm, or of a 65534th of the clip's range where there is no unit. One frame at a time is unpacked.

    Args:
        said: What a network says.
        to_metres: Makes metres of that, None = it has no unit.
    """
    codes = np.empty(said.shape, np.uint16)
    if to_metres is not None:
        for frame, code in zip(said, codes, strict=True):
            code[:] = quantise_depth(to_metres(frame.astype(np.float64)))
        return codes, None
    valid = np.isfinite(said)
    low = float(said.min(initial=np.inf, where=valid)) if valid.any() else 0.0
    span = (float(said.max(initial=-np.inf, where=valid)) - low if valid.any() else 0.0) or 1.0
    for frame, known, code in zip(said, valid, codes, strict=True):
        share = (np.where(known, frame.astype(np.float64), low) - low) / span
        code[:] = np.where(known, np.round(share * _LEVELS), _LEVELS + 1)
    return codes, {"low": low, "high": low + span}


def depth_of(label: Label, view: View, frame: int, size: tuple[int, int]) -> Float32[np.ndarray, "h w"]:
    """One frame of a stored label at the size of the images (nearest pixel).

    Raises:
        EpisodeError: The label has no depth of this view or frame.
    """
    try:
        codes, coding = label.arrays[f"{view}.depth"][frame], label.facts["coding"]
        if codes.dtype != np.uint16 or codes.ndim != 2 or not codes.size:
            raise ValueError
        if coding is None:
            depth = metres(codes)
        else:
            low, high = float(coding["low"]), float(coding["high"])
            depth = np.where(codes == _LEVELS + 1, np.nan, low + codes.astype(np.float32) * ((high - low) / _LEVELS))
    except (KeyError, IndexError, TypeError, ValueError):
        raise EpisodeError(f"the label has no depth of '{view}' at frame {frame}; label again") from None
    return nearest(depth.astype(np.float32), size)

"""How a track looks wherever it is drawn, in 3D and on the image: which tracks get a line, and in which colour.

Dimensions: p tracked point, l flow step, q point with a line.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Integer, UInt8

from trainer.metrics.flow import unproject

from ..foresight import FlowForesight
from .colours import lookup_table

STILL_GREY = (150, 155, 162)
MOTION_SHOWN_M = 0.005
"""A track that is predicted to move by more than this gets a line even where the truth says it rests (or is silent)."""
_FADE = 0.55


def shown_tracks(flow: FlowForesight, K: Float[np.ndarray, "3 3"]) -> Integer[np.ndarray, " q"]:
    """The points that get a line: those that move in truth and those that the policy moves. Increasing indices."""
    predicted = unproject(flow.uvz, K)
    reach = np.linalg.norm(predicted - predicted[:, :1], axis=-1).max(axis=1)  # NaN, of an unknown depth, is no reach
    return np.flatnonzero(flow.moving | (reach > MOTION_SHOWN_M))


def track_colours(flow: FlowForesight) -> UInt8[np.ndarray, "p 3"]:
    """One colour for each point by its row in the image: the same for prediction and truth, and over flow steps."""
    rows = flow.uvz[:, 0, 1]
    span = max(float(np.ptp(rows)), 1e-6) if rows.size else 1.0
    position = (rows - rows.min(initial=np.inf)) / span if rows.size else rows
    return lookup_table("plasma")[np.round(230 * position).astype(np.intp)]


def faded(colours: UInt8[np.ndarray, "p 3"]) -> UInt8[np.ndarray, "p 3"]:
    """The faded twin of a colour, for the truth: neutral on a light and on a dark ground."""
    return np.round((1 - _FADE) * colours + _FADE * np.array(STILL_GREY)).astype(np.uint8)

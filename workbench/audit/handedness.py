"""Which way a static image lies when its camera is unknown: the tool's motion in the world fits an affine camera.

Image velocity = A . tool velocity; the rows of A are the camera's x and y axes in the world, up to scale, and their
cross product is where it looks. A camera that stands upright and looks down on a table has its y axis pointing down and
looks down; a mirrored image makes it look up, a rotated one makes y point up, a flipped one does both.
"""

from __future__ import annotations

import numpy as np

from trainer.episodes.source_settings import Turn

from .measured import FlowPair, Measured

_LEAST_PAIRS, _DRAWS = 10, 200
_SURE = 0.97  # share of the bootstrap that must agree
_LEAST_FIT = 0.7
_LEAST_SLOPE = 0.15  # how far the axes must be from level, so that up and down can be told


def turn_by_hand(measured: Measured) -> tuple[Turn | None, float, str]:
    """The fault of the static view (`none` is none, None is unknown), how sure it is, and what was measured."""
    moves = [_move(measured, pair) for pair in measured.pairs("static") if pair.moving.sum() >= 20]
    if len(moves) < _LEAST_PAIRS:
        return None, 0.0, "too few frames in which the robot moves"
    tool, image = np.array([m[0] for m in moves]), np.array([m[1] for m in moves])
    down, forward, fit = _axes(tool, image)
    if fit < _LEAST_FIT:
        return None, 0.0, f"the image's motion does not follow the tool's (R² {fit:.2f})"
    rng = np.random.default_rng(0)
    draws = [_axes(tool[chosen], image[chosen]) for chosen in rng.integers(len(tool), size=(_DRAWS, len(tool)))]
    signs = np.array([(d > 0, f < 0) for d, f, _ in draws])
    agree = float(np.mean((signs == (down > 0, forward < 0)).all(1)))
    said = f"the image's y axis points {_updown(-down)} and the camera looks {_updown(forward)} (R² {fit:.2f})"
    if agree < _SURE or min(abs(down), abs(forward)) < _LEAST_SLOPE:
        return None, agree, f"the tool moves in too few directions ({100 * agree:.0f} % of resamples agree)"
    turns: dict[tuple[bool, bool], Turn] = {
        (True, True): "none",
        (True, False): "mirror",
        (False, False): "flip",
        (False, True): "rotate-180",
    }
    return turns[bool(down > 0), bool(forward < 0)], agree, said


def _axes(tool: np.ndarray, image: np.ndarray) -> tuple[float, float, float]:
    """Down-component of the image's y axis, up-component of the direction of view, R² of the worse axis."""
    A = np.linalg.lstsq(tool, image, rcond=None)[0].T
    forward = np.cross(A[0], A[1])
    fit = 1 - ((image - tool @ A.T) ** 2).sum(0) / np.maximum((image**2).sum(0), 1e-9)
    return -float(A[1, 2] / _length(A[1])), float(forward[2] / _length(forward)), float(fit.min())


def _move(measured: Measured, pair: FlowPair) -> tuple[np.ndarray, np.ndarray]:
    where = measured.tool[[pair.start, pair.end], :3, 3]
    return where[1] - where[0], np.median(pair.flow[pair.moving], axis=0)


def _length(vector: np.ndarray) -> float:
    return max(float(np.linalg.norm(vector)), 1e-12)


def _updown(z: float) -> str:
    return "up" if z > 0 else "down"

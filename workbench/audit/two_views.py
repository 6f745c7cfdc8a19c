"""The static camera against the wrist camera: where must the one stand to show what the other shows?

The wrist camera rides on the robot, whose motion is known, so its pose can be trusted more than one that was measured
by hand. Points of the wrist view, with depth, are taken into the world and looked up in the static picture of the same
moment: where its depth has the same surface, the grey levels must follow each other. The score is the share of points
whose surface is there, times the correlation of their grey levels; a shift of the static camera that scores clearly
better than none is both the evidence and the repair. A textured table, an object, an edge is enough.

Dimensions: p point, f picture, h w pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from jaxtyping import Float, Integer, UInt8

from .measured import Measured, from_world, project, some_pixels, to_world

_FRAMES, _POINTS = 8, 400
_NEAREST = 0.12  # metres; nearer are the fingers and what they hold
_SAME = 0.025  # metres along the static camera's axis
_INSIDE = 0.3  # of the points that the static camera must have in its picture
_LEAST_POINTS = 100
_RING = (0.03, 0.06, 0.12)  # metres, along each axis
_COARSE, _FINE = (np.linspace(-0.21, 0.21, 15), np.linspace(-0.02, 0.02, 5))
_CLEAR, _LEAD = 0.35, 1.25  # least score, and how many times that of no shift
_SHIFTED = 0.04  # metres from which it is a fault


@dataclass(frozen=True, kw_only=True, eq=False)
class TwoViews:
    """How well the static picture shows what the wrist's does.

    Attributes:
        score: With the static camera where it is said to be, 0 to 1.
        best: The best score that a shift of it reaches.
        shift: World metres to be added to the camera's position for that.
    """

    score: float
    best: float
    shift: Float[np.ndarray, " 3"]

    @property
    def distance(self) -> float:
        """Length of the shift, metres."""
        return float(np.linalg.norm(self.shift))

    @property
    def words(self) -> str:
        """What was measured, a few words; "" if the views say nothing of each other."""
        if self.contradict:
            where = f"{100 * self.distance:.0f} cm from where its pose puts it"
            return f"the wrist view fits the static one {where} ({self.best:.2f} against {self.score:.2f})"
        if self.score > _CLEAR and self.distance < _SHIFTED:
            return f"both views show the same scene in the same place ({self.score:.2f})"
        return ""

    @property
    def contradict(self) -> bool:
        """They do, once the static camera is moved, and clearly better."""
        return self.best > _CLEAR and self.best > _LEAD * self.score and self.distance >= _SHIFTED


@dataclass(frozen=True, kw_only=True, eq=False)
class _Points:
    """Points of the wrist view in the static camera as it is said to stand, and all that this camera shows.

    Attributes:
        at: Metres, camera axes.
        moment: Which of the pictures each belongs to.
        grey: Grey level in the wrist view.
        R: Camera axes in the world, one a picture.
        image: Grey levels of the static pictures.
        depth: Metres.
        K: Of the static camera.
    """

    at: Float[np.ndarray, "p 3"]
    moment: Integer[np.ndarray, " p"]
    grey: Float[np.ndarray, " p"]
    R: Float[np.ndarray, "f 3 3"]
    image: Float[np.ndarray, "f h w"]
    depth: Float[np.ndarray, "f h w"]
    K: Float[np.ndarray, "3 3"]

    def score(self, shift: Float[np.ndarray, " 3"], every: int = 1) -> float:
        """Share of the points whose surface the static camera sees too, times the correlation of the grey levels."""
        moment = self.moment[::every]
        seen = self.at[::every] - (shift @ self.R)[moment]
        u, v = np.nan_to_num(project(seen, self.K), nan=-1.0).T
        _, height, width = self.image.shape
        inside = np.flatnonzero((u >= 0) & (u < width) & (v >= 0) & (v < height))
        place = moment[inside], v[inside].astype(int), u[inside].astype(int)
        same = np.abs(self.depth[place] - seen[inside, 2]) < _SAME
        a, b = self.grey[::every][inside[same]], self.image[place][same]
        if len(inside) < _INSIDE * len(moment) or len(a) < _LEAST_POINTS:
            return 0.0
        a, b = a - a.mean(), b - b.mean()
        alike = float(a @ b) / max(float(np.sqrt((a @ a) * (b @ b))), 1e-9)
        return max(alike, 0.0) * len(a) / len(inside)


def two_views(measured: Measured) -> TwoViews | None:
    """The best shift of the static camera; None where a view lacks depth, K or pose, or they hardly share a scene."""
    fields = ("depth", "K", "T_world_camera")
    if set(measured.episode.info.views) != {"static", "wrist"} or any(
        measured.missing(view, *fields) for view in ("static", "wrist")
    ):
        return None
    points = _points(measured)
    here = points.score(np.zeros(3))
    around = max(points.score(sign * r * axis) for sign in (-1, 1) for r in _RING for axis in np.eye(3))
    if here > _CLEAR and here >= around:
        return TwoViews(score=here, best=here, shift=np.zeros(3))
    coarse = max(product(_COARSE, repeat=3), key=lambda shift: points.score(np.array(shift), 2))
    shift = max((np.add(coarse, step) for step in product(_FINE, repeat=3)), key=points.score)
    best = points.score(shift)
    if max(best, here) <= 0:
        return None
    return TwoViews(score=here, best=max(best, here), shift=shift if best > here else np.zeros(3))


def _points(measured: Measured) -> _Points:
    episode, steps = measured.episode, measured.spread(_FRAMES)
    K, T, T_static = episode.intrinsics("wrist"), episode.T_world_camera("wrist"), episode.T_world_camera("static")
    at: list[np.ndarray] = []
    grey: list[np.ndarray] = []
    for step in steps:
        near = episode.depth("wrist", step).astype(np.float64)
        usable = np.isfinite(near) & (near > _NEAREST)
        pixels, depths = some_pixels(usable, near, _POINTS, step)
        rays = np.concatenate([(pixels - K[:2, 2]) / K[[0, 1], [0, 1]], np.ones((len(pixels), 1))], 1)
        at.append(from_world(to_world(depths[:, None] * rays, T[step]), T_static[step]))
        columns, rows = pixels.astype(int).T
        grey.append(_grey(episode.rgb("wrist", step))[rows, columns])
    return _Points(
        at=np.concatenate(at),
        moment=np.repeat(np.arange(len(steps)), [len(points) for points in at]),
        grey=np.concatenate(grey),
        R=T_static[steps, :3, :3],
        image=np.stack([_grey(episode.rgb("static", step)) for step in steps]),
        depth=np.stack([episode.depth("static", step) for step in steps]),
        K=episode.intrinsics("static"),
    )


def _grey(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "h w"]:
    """The channels' mean, so that their order does not matter; blurred, since the two see at different scales."""
    return cv2.GaussianBlur(image.mean(-1).astype(np.float32), (0, 0), 1.0)

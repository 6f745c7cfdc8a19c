"""What the checks share: the episode's own motion seen by its cameras, computed once.

The robot is the calibration object: its tool moves by known amounts, so the optical flow it causes says how the images
lie, how deep things are and where the camera stands.

Dimensions: t control step, f frame, h w pixels, i pair of frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

from trainer.episodes.episode import Episode, View
from trainer.episodes.rotations import rotation_matrix
from trainer.episodes.source_settings import Pose

from .planes import largest_planes

_PAIRS = 20
_PLANE_FRAMES = 6
_BACKGROUND_FRAMES = 12
_WANTED_TRAVEL = 0.015  # metres of the tool between the two frames of a pair
_LARGEST_GAP = 4  # frames
_SMALLEST_TRAVEL = 0.003
_FLOW_WIDTH = 256  # wider images are shrunk for the flow
_CHANGED = 8  # grey levels
_FLOWING = 0.3  # pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class FlowPair:
    """Two frames of one view and how the image moved between them.

    Attributes:
        start: Control step of the first frame.
        end: Control step of the second frame.
        flow: Pixels (u, v) of the stored size that what each pixel shows moved by (dense inverse search).
        moving: Where the picture changed and the flow says by how much.
        textured: Where there is enough texture to trust the flow.
    """

    start: int
    end: int
    flow: Float[np.ndarray, "h w 2"]
    moving: Bool[np.ndarray, "h w"]
    textured: Bool[np.ndarray, "h w"]


class Measured:
    """An episode with what is measured on it, each thing once. Not for several threads."""

    def __init__(self, episode: Episode) -> None:
        self.episode = episode
        self._pairs: dict[View, list[FlowPair]] = {}
        self._planes: dict[View, list[tuple[int, list[np.ndarray]]]] = {}
        self._farthest: dict[View, np.ndarray] = {}

    @cached_property
    def steps(self) -> Integer[np.ndarray, " f"]:
        """Control steps with images."""
        return np.asarray(self.episode.frame_steps)

    @property
    def has_tool(self) -> bool:
        """Whether the episode has a state."""
        return self.episode.has("state")

    @cached_property
    def tool(self) -> Float[np.ndarray, "t 4 4"]:
        """Pose of the tool in the world; without a state the `AbsentError` of the episode."""
        state = np.asarray(self.episode.state, np.float64)
        T = np.tile(np.eye(4), (len(state), 1, 1))
        T[:, :3, :3], T[:, :3, 3] = rotation_matrix(state[:, 3:7]), state[:, :3]
        return T

    def missing(self, view: View, *fields: str) -> str:
        """`no depth, no state`: what of the named fields the episode lacks; "" if nothing."""
        lacks = [name for name in fields if not self._has(name, view)]
        words = {"K": "no K", "T_world_camera": "no camera pose"}
        return ", ".join(words.get(name, f"no {name}") for name in lacks)

    def spread(self, count: int) -> list[int]:
        """At most `count` control steps with images, evenly over the episode."""
        chosen = np.unique(np.linspace(0, len(self.steps) - 1, min(count, len(self.steps))).astype(int))
        return [int(step) for step in self.steps[chosen]]

    def pairs(self, view: View) -> list[FlowPair]:
        """The pairs of frames between which the tool travels most; empty without a state or without motion."""
        if view not in self._pairs:
            self._pairs[view] = [self._flow(view, *pair) for pair in self._chosen]
        return self._pairs[view]

    def planes(self, view: View) -> list[tuple[int, list[Float[np.ndarray, " 3"]]]]:
        """A few control steps with the largest planes of their depth: 1 / z as an affine function of u, v."""
        if view not in self._planes:
            steps = self.spread(_PLANE_FRAMES)
            fits = [largest_planes(self.episode.depth(view, step)) for step in steps]
            self._planes[view] = [
                (s, [fit.coefficients for fit in found]) for s, found in zip(steps, fits, strict=True)
            ]
        return self._planes[view]

    def farthest(self, view: View) -> Float[np.ndarray, "h w"]:
        """The farthest depth that each pixel shows in a dozen frames, infinite where one has none: the background."""
        if view not in self._farthest:
            far = np.zeros(self.episode.image_size(view), np.float32)
            for step in self.spread(_BACKGROUND_FRAMES):
                depth = self.episode.depth(view, step)
                far = np.maximum(far, np.where(np.isfinite(depth), depth, np.inf))
            self._farthest[view] = far
        return self._farthest[view]

    @cached_property
    def _chosen(self) -> list[tuple[int, int]]:
        if not self.has_tool or len(self.steps) < 2:
            return []
        where, gap = self.tool[self.steps, :3, 3], 1
        travel = np.linalg.norm(where[1:] - where[:-1], axis=1)
        while np.percentile(travel, 80) < _WANTED_TRAVEL and gap < min(_LARGEST_GAP, len(where) - 1):
            gap += 1
            travel = np.linalg.norm(where[gap:] - where[:-gap], axis=1)
        order = np.argsort(-travel, kind="stable")[:_PAIRS]
        kept = np.sort(order[travel[order] > _SMALLEST_TRAVEL])
        return [(int(self.steps[i]), int(self.steps[i + gap])) for i in kept]

    def _flow(self, view: View, start: int, end: int) -> FlowPair:
        before, after = (cv2.cvtColor(self.episode.rgb(view, at), cv2.COLOR_RGB2GRAY) for at in (start, end))
        height, width = before.shape
        scale = min(1.0, _FLOW_WIDTH / width)
        small = [_shrunk(image, scale) for image in (before, after)]
        search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)  # pyright: ignore[reportAttributeAccessIssue]
        # the flow is an argument only to be written over
        flow = search.calc(small[0], small[1], np.zeros((*small[0].shape, 2), np.float32))
        flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float64) / scale
        blurred = [cv2.GaussianBlur(image, (3, 3), 0) for image in (before, after)]
        moving = (cv2.absdiff(blurred[0], blurred[1]) > _CHANGED) & (np.linalg.norm(flow, axis=-1) > _FLOWING)
        return FlowPair(start=start, end=end, flow=flow, moving=moving, textured=_texture(before) > 40)

    def _has(self, name: str, view: View) -> bool:
        if name in ("state", "action"):
            return self.episode.has(name)
        return self.episode.has(name, view)  # pyright: ignore[reportArgumentType]


def unproject(depth: Float[np.ndarray, "h w"], K: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "h w 3"]:
    """Points in the camera, metres; NaN where the depth is."""
    v, u = np.mgrid[: depth.shape[0], : depth.shape[1]] + 0.5
    z = depth.astype(np.float64)
    return np.stack([(u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z], -1)


def project(points: Float[np.ndarray, "*n 3"], K: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "*n 2"]:
    """Pixels of points in the camera; NaN where a point is not in front of it."""
    z = np.where(points[..., 2] > 1e-6, points[..., 2], np.nan)
    return np.stack([K[0, 0] * points[..., 0] / z + K[0, 2], K[1, 1] * points[..., 1] / z + K[1, 2]], -1)


def to_world(points: Float[np.ndarray, "*n 3"], T: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "*n 3"]:
    """Points of a frame in the frame that its pose T is given in."""
    return points @ T[:3, :3].T + T[:3, 3]


def from_world(points: Float[np.ndarray, "*n 3"], T: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "*n 3"]:
    """Inverse of `to_world`."""
    return (points - T[:3, 3]) @ T[:3, :3]


def reposed(T: Float[np.ndarray, "t 4 4"], pose: Pose) -> Float[np.ndarray, "t 4 4"]:
    """Poses as they are if stored in that way."""
    if pose == "inverted":
        return np.linalg.inv(T)
    return T @ np.diag([1.0, -1.0, -1.0, 1.0]) if pose == "opengl" else T


def some_pixels(
    mask: Bool[np.ndarray, "h w"], image: Float[np.ndarray, "h w ..."], most: int, seed: int
) -> tuple[Float[np.ndarray, "p 2"], Float[np.ndarray, "p ..."]]:
    """Centres of at most `most` pixels of a mask, chosen evenly at random, and an image's values there."""
    rows, columns = np.nonzero(mask)
    if len(rows) > most:
        chosen = np.random.default_rng(seed).choice(len(rows), most, replace=False)
        rows, columns = rows[chosen], columns[chosen]
    return np.stack([columns, rows], 1) + 0.5, image[rows, columns]


def _shrunk(image: UInt8[np.ndarray, "h w"], scale: float) -> UInt8[np.ndarray, "a b"]:
    if scale == 1.0:
        return image
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)  # pyright: ignore


def _texture(image: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    return np.hypot(cv2.Sobel(image, cv2.CV_32F, 1, 0), cv2.Sobel(image, cv2.CV_32F, 0, 1))

"""From pixels and depth to world points: what the 3D scene is made of, before anything is drawn. numpy only.

Dimensions: h w pixels, c cloud point, p tracked point, l flow step. Cameras are OpenCV, depth is z in metres, the
centre of pixel (0, 0) is (0.5, 0.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from trainer.episodes.corrections import LEVEL_CAMERA
from trainer.episodes.episode import Episode
from trainer.metrics.flow import unproject

from .picking import FLOW_VIEW


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """Coloured points in the world.

    Attributes:
        radius: Six tenths of the distance between neighbouring pixels at the cloud's median depth, metres.
        valid: How many pixels of the image have a depth; `len(points)` of them are shown.
    """

    points: Float[np.ndarray, "c 3"]
    colours: UInt8[np.ndarray, "c 3"]
    radius: float
    valid: int


def drawn_poses(episode: Episode) -> Float[np.ndarray, "t 4 4"] | None:
    """Where the flow view's camera is drawn at each step; None where nothing can be placed before it.

    A source that knows the camera's intrinsics and not its place is drawn in the camera's own axes, level.
    """
    if episode.has("T_world_camera", FLOW_VIEW):
        return episode.T_world_camera(FLOW_VIEW)
    return np.broadcast_to(LEVEL_CAMERA, (episode.info.length, 4, 4)) if episode.has("K", FLOW_VIEW) else None


def lift_image(
    rgb: UInt8[np.ndarray, "h w 3"],
    depth: Float[np.ndarray, "h w"],
    K: Float[np.ndarray, "3 3"],
    T_world_camera: Float[np.ndarray, "4 4"],
    *,
    limit: int,
) -> Cloud:
    """Every n-th pixel with a valid depth, n the smallest that keeps the image's raster within `limit` points."""
    height, width = depth.shape
    stride = math.ceil(math.sqrt(height * width / limit))
    rows, columns = np.mgrid[stride // 2 : height : stride, stride // 2 : width : stride]
    z = depth[rows, columns]
    good = np.isfinite(z) & (z > 0)
    uvz = np.stack([columns[good] + 0.5, rows[good] + 0.5, z[good]], axis=-1)
    middle = float(np.median(z[good])) if good.any() else 1.0
    return Cloud(
        points=to_world(unproject(uvz, K), T_world_camera),
        colours=rgb[rows[good], columns[good]],
        radius=0.6 * stride * middle / float(K[0, 0]),
        valid=int((np.isfinite(depth) & (depth > 0)).sum()),
    )


def to_world(points: Float[np.ndarray, "*n 3"], T_world_camera: Float[np.ndarray, "4 4"]) -> Float[np.ndarray, "*n 3"]:
    """Camera points to float32 world points, metres."""
    return (points @ T_world_camera[:3, :3].T + T_world_camera[:3, 3]).astype(np.float32)


def lift_tracks(
    uvz: Float[np.ndarray, "p l 3"], K: Float[np.ndarray, "3 3"], T_world_camera: Float[np.ndarray, "l 4 4"]
) -> Float[np.ndarray, "p l 3"]:
    """Tracks in pixels and depth of the camera at each step to world points, metres."""
    points = unproject(uvz, K)
    return np.stack([to_world(points[:, step], T) for step, T in enumerate(T_world_camera)], axis=1)

"""The outer shape of things in the scene, from the vertices of what is drawn: where to grasp, how far to lower.

Dimensions: p surface point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from .scene import Scene

_VISUAL_GROUP = 1
_ANGLES = np.radians(np.arange(0.0, 180.0, 5.0))


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Surface points of one thing, metres, world."""

    points: Float[np.ndarray, "p 3"]

    @property
    def bottom(self) -> float:
        """Lowest height."""
        return float(self.points[:, 2].min())

    @property
    def top(self) -> float:
        """Greatest height."""
        return float(self.points[:, 2].max())

    @property
    def centre(self) -> Float[np.ndarray, " 3"]:
        """Middle of the axis-aligned box."""
        return (self.points.min(axis=0) + self.points.max(axis=0)) / 2

    def between(self, low: float, high: float) -> Shape:
        """The part between two heights; the whole where the band holds too few points to have a shape."""
        band = self.points[(self.points[:, 2] >= low) & (self.points[:, 2] <= high)]
        return Shape(points=band) if len(band) >= 8 else self

    def extent(self, direction: Float[np.ndarray, " 3"]) -> tuple[float, float]:
        """Smallest and largest coordinate along a unit direction, metres."""
        along = self.points @ direction
        return float(along.min()), float(along.max())

    def narrowest(self) -> tuple[float, float]:
        """The horizontal direction of least width: (angle from world x in radians, width in metres)."""
        widths = [np.ptp(self.points @ horizontal(angle)) for angle in _ANGLES]
        best = int(np.argmin(widths))
        return float(_ANGLES[best]), float(widths[best])


def horizontal(angle: float) -> Float[np.ndarray, " 3"]:
    """The horizontal unit vector at an angle from world x, radians."""
    return np.array([np.cos(angle), np.sin(angle), 0.0])


def shape_of(scene: Scene, body: str) -> Shape:
    """The drawn surface of a body and everything attached below it, where it is now."""
    model, data = scene.model, scene.data
    members = _subtree(scene, model.body(body).id)
    parts: list[np.ndarray] = []
    for geom in range(model.ngeom):
        if int(model.geom_bodyid[geom]) not in members or model.geom_group[geom] != _VISUAL_GROUP:
            continue
        local = _local_points(scene, geom)
        parts.append(local @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom])
    return Shape(points=np.concatenate(parts))


def _subtree(scene: Scene, root: int) -> set[int]:
    """A body with its descendants; parents have smaller numbers than their children."""
    members = {root}
    for body in range(root + 1, scene.model.nbody):
        if int(scene.model.body_parentid[body]) in members:
            members.add(body)
    return members


def _local_points(scene: Scene, geom: int) -> Float[np.ndarray, "p 3"]:
    """Points of a geom in its own frame: mesh vertices, or the corners of a primitive's box."""
    model = scene.model
    if model.geom_type[geom] == scene.mujoco.mjtGeom.mjGEOM_MESH:
        mesh = int(model.geom_dataid[geom])
        first = int(model.mesh_vertadr[mesh])
        return np.asarray(model.mesh_vert[first : first + int(model.mesh_vertnum[mesh])], dtype=np.float64)
    corners = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    aabb = np.asarray(model.geom_aabb[geom])
    return aabb[:3] + corners * aabb[3:]

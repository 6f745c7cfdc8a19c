"""Renders colour, metric depth and the rigid body under each pixel.

Two passes a view: colour as LIBERO shows it, then flat ids whose depth buffer is read together with them. Multisampling
stays off: resolving it shifts robosuite's own depth by half a pixel (millimetres on slanted surfaces).

Vertices dominate the cost, not pixels. So what the view cannot see is left out, and what keeps still before a camera
that keeps still is drawn once (`keep`) and composed by depth with what moves. Neither changes an image (tested).

Dimensions: h w pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from trainer.episodes.episode import View

from .extra import require
from .scene import CAMERAS, Scene

_VISUAL_GROUP = 1
_HIDDEN_GROUP = 5
_MAX_GEOMS = 10_000


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One view of one state.

    Attributes:
        rgb: Upright image.
        depth: Float32 metres along the optical axis; NaN where nothing is.
        body: Rigid body (index into `Scene.rigid_poses`) under each pixel; 0 is the static world.
    """

    rgb: UInt8[np.ndarray, "h w 3"]
    depth: Float[np.ndarray, "h w"]
    body: UInt8[np.ndarray, "h w"]


class Renderer:
    """An offscreen OpenGL context for one scene and one image size. A context manager: it frees the context."""

    def __init__(self, scene: Scene, height: int, width: int) -> None:
        require(rendering=True)
        mujoco = scene.mujoco
        self._scene, self._height, self._width = scene, height, width
        self._options = mujoco.MjvOption()
        self._options.geomgroup[:] = 0
        self._options.geomgroup[_VISUAL_GROUP] = 1
        self._options.sitegroup[:] = 0
        model = scene.model
        model.vis.quality.offsamples = 0
        model.vis.global_.offheight = max(height, int(model.vis.global_.offheight))
        model.vis.global_.offwidth = max(width, int(model.vis.global_.offwidth))
        self._context: Any = mujoco.GLContext(width, height)
        self._context.make_current()
        self._drawn = mujoco.MjvScene(model, _MAX_GEOMS)
        # The table mirrors faintly (mean change under one grey level), at the cost of drawing everything twice.
        self._drawn.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._target = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._target)
        self._target.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        self._kept: dict[View, tuple[Bool[np.ndarray, " geom"], Frame]] = {}
        self._rectangle = mujoco.MjrRect(0, 0, width, height)
        self.name = f"mujoco {mujoco.__version__} classic, {_backend(mujoco)}, no reflections"

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the OpenGL context; safe to call twice."""
        if self._context is not None:
            self._target.free()
            self._context.free()
            self._context = None

    def keep(self, view: View, still: Bool[np.ndarray, " body"]) -> None:
        """Draws the rigid bodies marked `still` once, for all `render` calls of this view until `forget`.

        The caller vouches that neither they nor the view's camera move meanwhile.
        """
        self.forget(view)
        model = self._scene.model
        still_geoms = still[self._scene.rigid_of_body[model.geom_bodyid]]
        seen = (model.geom_group == _VISUAL_GROUP) & ~self._outside(view)
        # what shines through something must be drawn before it, and shadows of what moves fall on what does not
        if np.all(self._opacity()[seen] == 1.0) and not np.any(model.light_castshadow):
            self._kept[view] = (still_geoms, self._draw(view, ~still_geoms))

    def forget(self, view: View) -> None:
        """Draws everything again from now on."""
        self._kept.pop(view, None)

    def render(self, view: View) -> Frame:
        """Renders the scene's present state."""
        outside = self._outside(view)
        if view not in self._kept:
            return self._draw(view, outside)
        still_geoms, behind = self._kept[view]
        moving = self._draw(view, outside | still_geoms)
        nearer = np.nan_to_num(moving.depth, nan=np.inf) < np.nan_to_num(behind.depth, nan=np.inf)
        return Frame(
            rgb=np.where(nearer[..., None], moving.rgb, behind.rgb),
            depth=np.where(nearer, moving.depth, behind.depth),
            body=np.where(nearer, moving.body, behind.body),
        )

    def _draw(self, view: View, hidden: Bool[np.ndarray, " geom"]) -> Frame:
        mujoco = self._scene.mujoco
        self._context.make_current()
        self._gather(view, hidden)
        rgb = np.empty((self._height, self._width, 3), np.uint8)
        mujoco.mjr_render(self._rectangle, self._drawn, self._target)
        mujoco.mjr_readPixels(rgb, None, self._rectangle, self._target)
        ids, buffer = self._render_ids()
        body = self._body_of_id()[ids]
        depth = self._metres(buffer)
        depth[ids == 0] = np.nan
        return Frame(rgb=rgb[::-1].copy(), depth=depth[::-1].copy(), body=body[::-1].copy())

    def _opacity(self) -> Float[np.ndarray, " geom"]:
        """Alpha of each geom, from its material where it has one."""
        model = self._scene.model
        material = model.geom_matid
        return np.where(material >= 0, model.mat_rgba[material, 3], 1.0) * model.geom_rgba[:, 3]

    def _gather(self, view: View, hidden: Bool[np.ndarray, " geom"]) -> None:
        """Collects what to draw."""
        mujoco, model = self._scene.mujoco, self._scene.model
        camera = mujoco.MjvCamera()
        camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        camera.fixedcamid = model.camera(CAMERAS[view]).id
        groups = model.geom_group.copy()
        model.geom_group[hidden] = _HIDDEN_GROUP
        mujoco.mjv_updateScene(
            model, self._scene.data, self._options, None, camera, mujoco.mjtCatBit.mjCAT_ALL, self._drawn
        )
        model.geom_group[:] = groups

    def _outside(self, view: View) -> Bool[np.ndarray, " geom"]:
        """Geoms whose bounding sphere lies wholly outside the view's frustum; none where a light casts shadows."""
        model = self._scene.model
        if np.any(model.light_castshadow):
            return np.zeros(model.ngeom, bool)
        T_camera_world = np.linalg.inv(self._scene.T_world_camera(view))
        centre = self._scene.data.geom_xpos @ T_camera_world[:3, :3].T + T_camera_world[:3, 3]
        radius = np.where(model.geom_rbound > 0, model.geom_rbound, np.inf)  # planes are unbounded
        K = self._scene.intrinsics(view, self._height, self._width)
        # signed distances behind the image plane and beyond the four sides, outward positive
        beyond = [-centre[:, 2]]
        for axis, half in ((0, K[0, 2] / K[0, 0]), (1, K[1, 2] / K[1, 1])):
            beyond += [(sign * centre[:, axis] - half * centre[:, 2]) / np.hypot(1.0, half) for sign in (-1.0, 1.0)]
        return np.max(beyond, axis=0) > radius

    def _render_ids(self) -> tuple[np.ndarray, np.ndarray]:
        """Flat ids (0 = background) and the raw depth buffer of the same pass, bottom row first."""
        mujoco = self._scene.mujoco
        flags = self._drawn.flags
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 1
        colour = np.empty((self._height, self._width, 3), np.uint8)
        buffer = np.empty((self._height, self._width), np.float32)
        mujoco.mjr_render(self._rectangle, self._drawn, self._target)
        mujoco.mjr_readPixels(colour, buffer, self._rectangle, self._target)
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 0
        return colour.astype(np.int32) @ np.array([1, 1 << 8, 1 << 16], np.int32), buffer

    def _body_of_id(self) -> UInt8[np.ndarray, " id"]:
        """Rigid body for each id that the flat pass may contain; the background belongs to the static world."""
        bodies = np.zeros(self._drawn.ngeom + 1, np.uint8)
        is_geom = int(self._scene.mujoco.mjtObj.mjOBJ_GEOM)
        for index in range(self._drawn.ngeom):
            geom = self._drawn.geoms[index]
            if geom.segid >= 0 and geom.objtype == is_geom:
                bodies[geom.segid + 1] = self._scene.rigid_of_body[self._scene.model.geom_bodyid[geom.objid]]
        return bodies

    def _metres(self, buffer: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
        """Depth buffer (reversed: 1 near, 0 far) to metres along the optical axis."""
        model = self._scene.model
        near = np.float64(np.float32(model.vis.map.znear * model.stat.extent))
        far = np.float64(np.float32(model.vis.map.zfar * model.stat.extent))
        return (near * far / (near + buffer.astype(np.float64) * (far - near))).astype(np.float32)


def _backend(mujoco: Any) -> str:
    """Which offscreen OpenGL draws, such as `osmesa`."""
    return mujoco.GLContext.__module__.rsplit(".", 1)[-1]

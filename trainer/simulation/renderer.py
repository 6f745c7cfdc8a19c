"""Renders colour, metric depth and the rigid body under each pixel.

Two passes a view: colour as LIBERO shows it, then flat ids whose depth buffer is read together with them. Multisampling
stays off: resolving it shifts robosuite's own depth by half a pixel (millimetres on slanted surfaces).

Dimensions: h w pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from trainer.episodes.episode import View

from .extra import require
from .scene import CAMERAS, Scene

_VISUAL_GROUP = 1
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

    def render(self, view: View) -> Frame:
        """Renders the scene's present state."""
        mujoco = self._scene.mujoco
        self._context.make_current()
        camera = mujoco.MjvCamera()
        camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        camera.fixedcamid = self._scene.model.camera(CAMERAS[view]).id
        mujoco.mjv_updateScene(
            self._scene.model, self._scene.data, self._options, None, camera, mujoco.mjtCatBit.mjCAT_ALL, self._drawn
        )
        rgb = np.empty((self._height, self._width, 3), np.uint8)
        mujoco.mjr_render(self._rectangle, self._drawn, self._target)
        mujoco.mjr_readPixels(rgb, None, self._rectangle, self._target)
        ids, buffer = self._render_ids()
        body = self._body_of_id()[ids]
        depth = self._metres(buffer)
        depth[ids == 0] = np.nan
        return Frame(rgb=rgb[::-1].copy(), depth=depth[::-1].copy(), body=body[::-1].copy())

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

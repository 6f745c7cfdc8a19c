"""How the viewer is laid out: one 3D view whose camera always starts at the same place, paused, panels folded away."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import rerun.blueprint as rrb
from jaxtyping import Float

_TURN_DEG = 28.0
"""The eye is turned this far around the scene, away from the camera's own view, so that depth errors can be seen."""
_LIFT = 0.12
_ZOOM = 0.85
_USUAL_SPREAD = 0.414
"""What a camera of 45 degrees sees: it fills the view. The eye goes nearer to what a longer lens looks at from afar."""
_NEAREST = 0.35
"""Of the camera's distance: nearer to CALVIN's table, the viewer's wide lens bends it and cuts off the arm."""


def scene_blueprint(
    *,
    camera: Float[np.ndarray, "4 4"] | None,
    spread: float | None = None,
    target: Float[np.ndarray, " 3"],
    title: str,
    timeline: str,
    hidden: Sequence[str] = (),
    left_out: Sequence[str] = (),
    with_images: bool,
) -> rrb.Blueprint:
    """The layout of an episode's scene.

    Args:
        camera: T_world_camera of the static view; None lets the viewer choose its eye.
        spread: Half the width of what that camera sees at a distance of 1; None: as most cameras.
        target: Where the eye looks, metres in the world.
        title: Heading of the 3D view.
        timeline: The timeline in view.
        hidden: Entities that the viewer does not show at first.
        left_out: Entities that have no place in 3D: an image without a camera is an error mark on the view.
        with_images: Adds 2D views and the notes beside the 3D view: for files; the page has its own panels.
    """
    spatial = rrb.Spatial3DView(
        origin="/world",
        name=title,
        contents=["+ /world/**", *(f"- {entity}" for entity in left_out)],
        overrides={entity: [rrb.EntityBehavior(visible=False)] for entity in hidden},
        eye_controls=None if camera is None else _eye(camera, target, spread or _USUAL_SPREAD),
        line_grid=False,
    )
    root: rrb.Spatial3DView | rrb.Horizontal = spatial
    if with_images:
        images = rrb.Vertical(
            rrb.Spatial2DView(origin="/world/static", name="static", contents=["+ /world/static/**"]),
            rrb.Spatial2DView(origin="/world/wrist", name="wrist", contents=["+ /world/wrist/**"]),
            rrb.TextDocumentView(origin="/about", name="about"),
        )
        root = rrb.Horizontal(spatial, images, column_shares=[3, 1])
    return rrb.Blueprint(
        root,
        rrb.BlueprintPanel(state="collapsed"),
        rrb.SelectionPanel(state="collapsed"),
        rrb.TimePanel(state="collapsed", timeline=timeline, play_state="paused", fps=10),
        collapse_panels=False,
    )


def _eye(camera: Float[np.ndarray, "4 4"], target: Float[np.ndarray, " 3"], spread: float) -> rrb.EyeControls3D:
    """Turns the camera around the target: the distance zoomed, a little higher, world z up where it can be."""
    up = np.array([0.0, 0.0, 1.0]) if abs(camera[2, 1]) > 0.3 else -camera[:3, 1]
    arm = (camera[:3, 3] - target) * min(1.0, max(_NEAREST, spread / _USUAL_SPREAD))
    angle = np.radians(_TURN_DEG)
    turned = arm * np.cos(angle) + np.cross(up, arm) * np.sin(angle) + up * (up @ arm) * (1 - np.cos(angle))
    position = target + _ZOOM * turned + _LIFT * float(np.linalg.norm(arm)) * up
    return rrb.EyeControls3D(position=position.tolist(), look_target=target.tolist(), eye_up=up.tolist())

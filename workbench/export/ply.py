"""The 3D view of one time as PLY, the format that every mesh and cloud program reads: the cloud, and the tracks.

Written by open3d, in metres of the world, so that the files of one episode lie in one place; in the level camera's own
axes where nobody recorded where it stands. Dimensions: c cloud point.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from model.errors import ConfigError
from trainer.episodes.corrections import LEVEL_CAMERA
from trainer.episodes.episode import Episode

from ..charts.track_style import faded, shown_tracks, track_colours
from ..foresight import Foresight, ViewForesight
from ..scene.lift import drawn_poses, lift_image, lift_tracks
from ..scene.picking import FLOW_VIEW

_NORMAL_NEIGHBOURS = 30
_NO_CAMERA = "this episode has no camera (K), so there is nothing in 3D to export; give its field of view"


def cloud_ply(foresight: Foresight) -> bytes:
    """The coloured cloud of the flow view, every pixel with a depth: true depth where there is one, else predicted.

    Normals are those of a plane through the 30 nearest points, turned towards the camera.

    Raises:
        ConfigError: There is no camera or no depth, so nothing lies anywhere.
    """
    import open3d

    seen, K, pose = _placed(foresight)
    depth = seen.depth if seen.depth_true is None else seen.depth_true
    if depth is None:
        raise ConfigError("neither the episode nor this policy has a depth here, so there is no cloud to export")
    cloud = lift_image(seen.rgb, depth, K, pose, limit=depth.size)
    written = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(cloud.points.astype(np.float64)))
    written.colors = open3d.utility.Vector3dVector(_unit(cloud.colours))
    if len(cloud.points):
        written.estimate_normals(open3d.geometry.KDTreeSearchParamKNN(_NORMAL_NEIGHBOURS))
        written.orient_normals_towards_camera_location(pose[:3, 3].astype(np.float64))
    return _saved(lambda path: open3d.io.write_point_cloud(path, written))


def tracks_ply(episode: Episode, foresight: Foresight) -> bytes:
    """The tracks with a line in the 3D view as edges between vertices: predicted ones in their colour, true ones faded.

    Raises:
        ConfigError: The episode has no camera, so nothing lies anywhere.
    """
    import open3d

    _, K, _ = _placed(foresight)
    flow = foresight.flow
    poses = drawn_poses(episode)
    if poses is None:
        raise ConfigError(_NO_CAMERA)
    poses = poses[np.minimum(flow.steps, len(poses) - 1)]
    shown, colours = shown_tracks(flow, K), track_colours(flow)
    strips = [
        (strip, colours[point]) for point, strip in zip(shown, lift_tracks(flow.uvz, K, poses)[shown], strict=True)
    ]
    if flow.uvz_true is not None and flow.known is not None:
        truth = lift_tracks(flow.uvz_true, K, poses)
        pale = faded(colours)
        strips += [(truth[point][flow.known[point]], pale[point]) for point in shown]
    strips = [(strip[np.isfinite(strip).all(axis=1)], colour) for strip, colour in strips]  # of unknown depth: left out
    points = np.concatenate([np.zeros((0, 3)), *(strip for strip, _ in strips)])
    starts = np.cumsum([0, *(len(strip) for strip, _ in strips)])
    edges = [
        (first + i, first + i + 1)
        for first, (strip, _) in zip(starts, strips, strict=False)
        for i in range(len(strip) - 1)
    ]
    edge_colours = [colour for strip, colour in strips for _ in range(len(strip) - 1)]
    lines = open3d.geometry.LineSet(
        open3d.utility.Vector3dVector(points), open3d.utility.Vector2iVector(np.array(edges, np.int32).reshape(-1, 2))
    )
    lines.colors = open3d.utility.Vector3dVector(_unit(np.array(edge_colours, np.uint8).reshape(-1, 3)))
    return _saved(lambda path: open3d.io.write_line_set(path, lines))


def _placed(
    foresight: Foresight,
) -> tuple[ViewForesight, Float[np.ndarray, "3 3"], Float[np.ndarray, "4 4"]]:
    seen = foresight.views[FLOW_VIEW]
    if seen.K is None:
        raise ConfigError(_NO_CAMERA)
    return seen, seen.K, LEVEL_CAMERA if seen.T_world_camera is None else seen.T_world_camera


def _unit(colours: UInt8[np.ndarray, "c 3"]) -> Float[np.ndarray, "c 3"]:
    return colours.astype(np.float64) / 255.0


def _saved(write: Callable[[Path], Any]) -> bytes:
    """The bytes of a file that open3d writes; it knows paths only."""
    with tempfile.TemporaryDirectory(prefix="foresight-ply-") as folder:
        path = Path(folder) / "scene.ply"
        if not write(path):
            raise ConfigError("open3d could not write the PLY file; is the disk for temporary files full?")
        return path.read_bytes()

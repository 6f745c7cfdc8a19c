"""One episode as a Rerun recording: the truth at once, predictions as they are made, all on the timeline "step".

The page opens `EpisodeScene.opening()` (cameras, images, true cloud, tool path of the whole clip, and the blueprint)
and then feeds `EpisodeScene.predicted(foresight)` to the same recording: both carry the same application and recording
id, so the viewer merges them. Every scene has its own streams and its own random recording id: nothing is shared
between visitors and rerun's global recording is never used.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import rerun as rr
from jaxtyping import Float, UInt8

from model.errors import EpisodeError
from trainer.episodes.episode import Episode, View

from ..charts.colours import ATTENTION_SCALE
from ..charts.track_style import STILL_GREY, faded, shown_tracks, track_colours
from ..foresight import Foresight, ViewForesight
from .blueprint import scene_blueprint
from .lift import Cloud, drawn_poses, lift_image, lift_tracks
from .picking import ATTENTION, FLOW_VIEW, POINTS, PREDICTED, TRUE

APPLICATION_ID = "foresight-workbench"
TIMELINE = "step"
CLOUD_POINTS = 16384
"""At most this many points of an image are drawn in 3D."""
FUTURE_POINTS = 4096
"""The same for the predicted future, which is sent with every predicted step."""

FUTURE_CLOUD = "/world/cloud/future_predicted"
_JPEG_QUALITY = 80
_ATTENTION_RADIUS = 0.005
"""Metres: larger than the grey start points, which they cover."""
_TOOL_SIZE, _PATH_WIDTH = rr.Radius.ui_points(4.0), rr.Radius.ui_points(0.8)
"""On the screen, not in metres: the path of a few steps is shorter than any ball that is seen well on a long one."""
_BEFORE_CAMERA = 1.4
"""Metres: where the scene is thought to be before a camera while no depth says so."""


class EpisodeScene:
    """The 3D scene of one episode for one visitor or one file.

    Args:
        episode: Read lazily; only `opening` decodes images.
    """

    def __init__(self, episode: Episode) -> None:
        self.episode = episode
        self.recording_id = str(uuid.uuid4())

    def opening(self) -> bytes:
        """.rrd bytes of everything that needs no prediction, with the blueprint of the page: one 3D view.

        Raises:
            EpisodeError: What is no image of the episode cannot be read; a damaged image is left out.
        """
        stream = self._stream(first=True)
        memory = stream.memory_recording()
        self._log_clip(stream, with_images=False)
        return memory.drain_as_bytes()

    def predicted(self, foresight: Foresight) -> bytes:
        """.rrd bytes that add one predicted step to the recording that `opening` began."""
        stream = self._stream(first=False)
        memory = stream.memory_recording()
        self._log_foresight(stream, foresight)
        return memory.drain_as_bytes()

    def whole(self, foresights: Sequence[Foresight]) -> bytes:
        """.rrd bytes of the clip with its predictions and 2D views beside the 3D view: a file to be opened on its own.

        Raises:
            EpisodeError: What is no image of the episode cannot be read; a damaged image is left out.
        """
        stream = self._stream(first=True)
        memory = stream.memory_recording()
        self._log_clip(stream, with_images=True)
        for foresight in foresights:
            self._log_foresight(stream, foresight)
            if foresight.attention.has_flow:
                _log_attention(stream, self._start_points(foresight), foresight.attention.flow_points, static=False)
        return memory.drain_as_bytes()

    def attention(self, foresight: Foresight, weight: Float[np.ndarray, " p"] | None) -> bytes:
        """.rrd bytes that colour the start points of one step by a weight, or take such points away (None).

        They are static: the newest replaces the one before, whatever the time, so that the page can switch them.
        """
        stream = self._stream(first=False)
        memory = stream.memory_recording()
        if weight is None:
            stream.log(ATTENTION, rr.Clear(recursive=False), static=True)
        else:
            _log_attention(stream, self._start_points(foresight), weight, static=True)
        return memory.drain_as_bytes()

    def _start_points(self, foresight: Foresight) -> Float[np.ndarray, "p 3"]:
        """Start points of the flow in the world; none without a camera."""
        seen = foresight.views[FLOW_VIEW]
        poses = self._poses.get(FLOW_VIEW)
        if seen.K is None or poses is None:
            return np.zeros((0, 3), np.float32)
        return lift_tracks(foresight.flow.uvz[:, :1], seen.K, poses[None, foresight.step])[:, 0]

    def _stream(self, *, first: bool) -> rr.RecordingStream:
        stream = rr.RecordingStream(APPLICATION_ID, recording_id=self.recording_id, send_properties=first)
        stream.set_log_time_enabled(False)
        stream.set_log_tick_enabled(False)
        return stream

    @cached_property
    def _poses(self) -> dict[View, Float[np.ndarray, "t 4 4"]]:
        """Camera poses of the views that have cameras; see `drawn_poses` for one of unknown place."""
        found: dict[View, Float[np.ndarray, "t 4 4"]] = {}
        for view in self._views:
            if view == FLOW_VIEW:
                poses = drawn_poses(self.episode)
            else:  # its recorded place is in another world than that of a camera that is drawn in its own axes
                recorded = not self._in_camera_axes and self.episode.has("T_world_camera", view)
                poses = self.episode.T_world_camera(view) if recorded else None
            if poses is not None:
                found[view] = poses
        return found

    @property
    def _views(self) -> tuple[View, ...]:
        return self.episode.info.views

    def _log_clip(self, stream: rr.RecordingStream, *, with_images: bool) -> None:
        """Logs the truth of the whole clip, and the layout with its eye on the middle of the first cloud."""
        path = self._path
        # First of all, so that a viewer that is still loading is laid out, paused, and looks the right way.
        self._send_blueprint(stream, path, with_images=with_images)
        stream.log("/world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        stream.log("/about", rr.TextDocument(self._about(), media_type="text/markdown"), static=True)
        for view in self._views:
            self._log_camera(stream, view)
        if path is not None:
            stream.log("/world/tool/path", rr.LineStrips3D([path], colors=[STILL_GREY], radii=_PATH_WIDTH), static=True)
        for step in (int(step) for step in self.episode.frame_steps):
            stream.set_time(TIMELINE, sequence=step)
            if path is not None:
                stream.log("/world/tool/now", rr.Points3D([path[step]], colors=[(230, 60, 60)], radii=_TOOL_SIZE))
            self._log_seen(stream, step)

    def _log_seen(self, stream: rr.RecordingStream, step: int) -> None:
        """Images and cloud of a step; where a frame is damaged nothing is shown rather than what was before."""
        try:
            images = {view: self.episode.rgb(view, step) for view in self._views}
            cloud = self._true_cloud(images.get(FLOW_VIEW), step)
        except EpisodeError:
            for entity in (*(f"/world/{view}/rgb" for view in self._views), "/world/cloud/true"):
                stream.log(entity, rr.Clear(recursive=False))
            return
        for view, image in images.items():
            stream.log(f"/world/{view}/rgb", rr.Image(image).compress(jpeg_quality=_JPEG_QUALITY))
        if cloud is not None:
            _log_cloud(stream, "/world/cloud/true", cloud)

    def _send_blueprint(
        self, stream: rr.RecordingStream, path: Float[np.ndarray, "t 3"] | None, *, with_images: bool
    ) -> None:
        """Sends the layout, with its eye on the scene; `path` is the tool's, metres in the world."""
        poses = self._poses.get(FLOW_VIEW)
        hidden = [FUTURE_CLOUD, ATTENTION] if with_images else [FUTURE_CLOUD]
        blueprint = scene_blueprint(
            camera=None if poses is None else poses[0],
            spread=self._spread,
            target=self._middle(path),
            title=self._title(),
            timeline=TIMELINE,
            hidden=hidden,
            left_out=[f"/world/{view}/rgb" for view in self._views if not self._has_camera(view)],
            with_images=with_images,
        )
        stream.send_blueprint(blueprint, make_active=True, make_default=True)

    @property
    def _spread(self) -> float | None:
        """Half the width of what the camera sees at a distance of 1; None where its intrinsics are not known."""
        if not self.episode.has("K", FLOW_VIEW):
            return None
        (height, width), K = self.episode.image_size(FLOW_VIEW), self.episode.intrinsics(FLOW_VIEW)
        return max(0.5 * width / float(K[0, 0]), 0.5 * height / float(K[1, 1]))

    @property
    def _path(self) -> Float[np.ndarray, "t 3"] | None:
        """The tool's path, metres in the world; None where it has no place beside the cameras."""
        # Drawn in a camera's own axes, the recorded path would be somewhere by chance.
        if self._in_camera_axes or not self.episode.has("state"):
            return None
        return self.episode.state[:, :3].astype(np.float32)

    def _middle(self, path: Float[np.ndarray, "t 3"] | None) -> Float[np.ndarray, " 3"]:
        """Where the eye looks: the middle of the first cloud, else of the path, else a point before the camera."""
        first = int(self.episode.frame_steps[0])
        try:
            cloud = self._true_cloud(self.episode.rgb(FLOW_VIEW, first), first)
        except EpisodeError:  # damaged: the eye then looks where it does without a cloud
            cloud = None
        if cloud is not None and len(cloud.points):
            return np.median(cloud.points, axis=0)
        if path is not None:
            return path.mean(axis=0)
        poses = self._poses.get(FLOW_VIEW)
        return np.zeros(3) if poses is None else poses[0][:3, 3] + _BEFORE_CAMERA * poses[0][:3, 2]

    def _title(self) -> str:
        """The 3D view's heading, which says where the cloud is not the recorded one, and whose axes these are."""
        origin = self.episode.info.depth_origin if self.episode.has("depth", FLOW_VIEW) else "predicted"
        said = [] if origin == "true" else [f"cloud of {origin} depth"]
        if not self.episode.has("K", FLOW_VIEW):
            said = ["no cloud without intrinsics"]
        said += ["in the camera's own axes"] if self._in_camera_axes else []
        return ", ".join(["3D foresight", *said])

    @property
    def _in_camera_axes(self) -> bool:
        """Whether nobody recorded where the camera stands, so that it is drawn in a world of its own."""
        if self.episode.has("T_world_camera", FLOW_VIEW):
            return f"T_world_camera.{FLOW_VIEW}" in self.episode.info.assumed
        return self.episode.has("K", FLOW_VIEW)

    def _true_cloud(self, image: UInt8[np.ndarray, "h w 3"] | None, step: int) -> Cloud | None:
        poses = self._poses.get(FLOW_VIEW)
        placed = self.episode.has("depth", FLOW_VIEW) and self.episode.has("K", FLOW_VIEW)
        if image is None or poses is None or not placed:
            return None
        depth, K = self.episode.depth(FLOW_VIEW, step), self.episode.intrinsics(FLOW_VIEW)
        return lift_image(image, depth, K, poses[step], limit=CLOUD_POINTS)

    def _has_camera(self, view: View) -> bool:
        """Whether the view's camera is drawn: it has intrinsics and a place in this scene."""
        return view in self._poses and self.episode.has("K", view)

    def _log_camera(self, stream: rr.RecordingStream, view: View) -> None:
        if not self._has_camera(view):
            return
        poses, K = self._poses[view], self.episode.intrinsics(view)
        height, width = self.episode.image_size(view)
        pinhole = rr.Pinhole(
            image_from_camera=K,
            width=width,
            height=height,
            camera_xyz=rr.ViewCoordinates.RDF,
            image_plane_distance=0.1,
            color=STILL_GREY,
        )
        entity = f"/world/{view}"
        stream.log(entity, pinhole, static=True)
        still = np.allclose(poses, poses[0], atol=1e-6)
        for step in [0] if still else [int(step) for step in self.episode.frame_steps]:
            stream.set_time(TIMELINE, sequence=step)
            pose = rr.Transform3D(translation=poses[step][:3, 3], mat3x3=poses[step][:3, :3])
            stream.log(entity, pose, static=still)

    def _log_foresight(self, stream: rr.RecordingStream, foresight: Foresight) -> None:
        stream.set_time(TIMELINE, sequence=foresight.step)
        seen = foresight.views[FLOW_VIEW]
        poses = self._poses.get(FLOW_VIEW)
        if seen.K is None or poses is None:
            return
        self._log_tracks(stream, foresight, seen.K)
        if seen.depth_true is None and seen.depth is not None:
            cloud = lift_image(seen.rgb, seen.depth, seen.K, poses[foresight.step], limit=CLOUD_POINTS)
            _log_cloud(stream, "/world/cloud/predicted", cloud)
        future = self._future_cloud(seen, foresight.future_step, seen.K)
        if future is not None:
            _log_cloud(stream, FUTURE_CLOUD, future)

    def _future_cloud(self, seen: ViewForesight, step: int, K: Float[np.ndarray, "3 3"]) -> Cloud | None:
        if seen.future_rgb is None or seen.future_depth is None:
            return None
        poses = self._poses[FLOW_VIEW]
        pose = poses[min(step, len(poses) - 1)]
        return lift_image(seen.future_rgb, seen.future_depth, K, pose, limit=FUTURE_POINTS)

    def _log_tracks(self, stream: rr.RecordingStream, foresight: Foresight, K: Float[np.ndarray, "3 3"]) -> None:
        flow = foresight.flow
        if not np.isfinite(flow.uvz[:, 0, 2]).all():
            return  # nobody knows the depth that the tracks start from
        poses = self._poses[FLOW_VIEW]
        poses = poses[np.minimum(flow.steps, len(poses) - 1)]
        tracks = lift_tracks(flow.uvz, K, poses)
        shown, colours = shown_tracks(flow, K), track_colours(flow)
        dots = np.full_like(colours, STILL_GREY)
        dots[shown] = colours[shown]
        stream.log(POINTS, rr.Points3D(tracks[:, 0], colors=dots, radii=0.002))
        stream.log(PREDICTED, rr.LineStrips3D(tracks[shown], colors=colours[shown], radii=0.0016))
        if flow.uvz_true is not None and flow.known is not None:
            truth = lift_tracks(flow.uvz_true, K, poses)
            strips = [truth[point][flow.known[point]] for point in shown]
            stream.log(TRUE, rr.LineStrips3D(strips, colors=faded(colours[shown]), radii=0.0009))

    def _truth(self) -> str:
        """What the faded tracks are."""
        tracked = self.episode.has("tracks", FLOW_VIEW) and not self.episode.info.has_exact_flow
        return "a tracker's (pseudo, lifted by depth)" if tracked else "true"

    def _about(self) -> str:
        info = self.episode.info
        cloud = (
            f"{info.depth_origin} {info.depth_scale}" if info.depth_origin else "predicted, where a step is predicted"
        )
        return (
            f"**{info.instruction}**\n\n"
            f"{info.source}, {info.length} control steps, outcome: {info.outcome or 'unknown'}\n\n"
            f"Cloud: {cloud} depth, at most {CLOUD_POINTS} points of an image.\n\n"
            f"Tracks: solid = predicted, faded = {self._truth()}; only what moves, in either, has a line.\n\n"
            "`cloud/future_predicted` is hidden at first, and so are the start points coloured by attention, "
            f"`flow/attention`: {ATTENTION_SCALE.label}, dark 0, bright {ATTENTION_SCALE.high:g} times even."
        )


def write_rrd(path: Path, episode: Episode, foresights: Sequence[Foresight]) -> None:
    """The whole episode with its predictions as one file (not atomic: the caller writes into a folder of its own)."""
    path.write_bytes(EpisodeScene(episode).whole(foresights))


def _log_attention(
    stream: rr.RecordingStream, points: Float[np.ndarray, "p 3"], weight: Float[np.ndarray, " q"], *, static: bool
) -> None:
    """Points coloured by how many times the even share lies on each; no points where no camera places them (p = 0)."""
    lift = weight / max(float(weight.mean()), 1e-12)
    colours = ATTENTION_SCALE.paint(lift[: len(points), None])[:, 0]
    stream.log(ATTENTION, rr.Points3D(points, colors=colours, radii=_ATTENTION_RADIUS), static=static)


def _log_cloud(stream: rr.RecordingStream, entity: str, cloud: Cloud) -> None:
    stream.log(
        entity,
        rr.Points3D(
            cloud.points, colors=cloud.colours, radii=cloud.radius, point_shading=rr.components.PointShading.Flat
        ),
    )

"""Faults planted into clean episodes, one of each kind that the doctor knows, and what a right answer to each is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from trainer.episodes.convert import recording_of
from trainer.episodes.episode import ActionSpace, Episode, View
from trainer.episodes.memory import MemoryEpisode
from trainer.episodes.recording import Recording, ViewRecording
from trainer.episodes.rotations import rotation_matrix
from trainer.episodes.source_settings import SourceSetting
from workbench.audit import Kind

NEAR, FAR = 0.0106, 530.0  # of LIBERO's renderer


@dataclass(frozen=True)
class Fault:
    """A fault, the kind it must be found as, whether it can be planted, and whether a setting repairs it."""

    name: str
    kind: Kind
    plant: Callable[[Recording], Recording]
    repaired: Callable[[SourceSetting, Episode], bool] | None
    needs: Callable[[Episode], bool] = lambda episode: True


def with_fault(episode: Episode, fault: Fault) -> MemoryEpisode:
    """The episode with the fault, in memory."""
    return MemoryEpisode(fault.plant(recording_of(episode)), f"{episode.name} with {fault.name}")


def _view(recording: Recording, view: View, **changes: object) -> Recording:
    changed = dataclasses.replace(recording.views[view], **changes)
    return dataclasses.replace(recording, views={**recording.views, view: changed})


def _turned(view: View, rows: int, columns: int, recording: Recording) -> Recording:
    def turn(images: np.ndarray | None) -> np.ndarray | None:
        return None if images is None else np.ascontiguousarray(images[:, ::rows, ::columns])

    stored = recording.views[view]
    return _view(recording, view, rgb=turn(stored.rgb), depth=turn(stored.depth), body=turn(stored.body))


def _depth(view: View, change: Callable[[np.ndarray, ViewRecording], np.ndarray], recording: Recording) -> Recording:
    stored = recording.views[view]
    return _view(recording, view, depth=change(stored.depth, stored).astype(np.float32))


def _buffer(depth: np.ndarray, stored: ViewRecording) -> np.ndarray:
    return (1 / NEAR - 1 / depth.astype(np.float64)) / (1 / NEAR - 1 / FAR)


def _ray(depth: np.ndarray, stored: ViewRecording) -> np.ndarray:
    K = stored.K
    v, u = np.mgrid[: depth.shape[1], : depth.shape[2]] + 0.5
    return depth * np.sqrt(((u - K[0, 2]) / K[0, 0]) ** 2 + ((v - K[1, 2]) / K[1, 1]) ** 2 + 1)


def _focal(view: View, factor: float, recording: Recording) -> Recording:
    return _view(recording, view, K=np.diag([factor, factor, 1.0]) @ _centred(recording.views[view].K, factor))


def _centred(K: np.ndarray, factor: float) -> np.ndarray:
    kept = K.copy()
    kept[:2, 2] /= factor
    return kept


def _other_size(recording: Recording) -> Recording:
    return _view(recording, "static", K=np.diag([2.0, 2.0, 1.0]) @ recording.views["static"].K)


def _pose(view: View, change: Callable[[np.ndarray], np.ndarray], recording: Recording) -> Recording:
    return _view(recording, view, T_world_camera=change(recording.views[view].T_world_camera))


def _shifted(T: np.ndarray) -> np.ndarray:
    moved = T.copy()
    moved[:, :3, 3] += T[:, :3, 0] * 0.15  # to the camera's right
    return moved


def _yawed(T: np.ndarray) -> np.ndarray:
    half = np.radians(12) / 2
    turn = np.eye(4)
    turn[:3, :3] = rotation_matrix(np.array([np.cos(half), np.sin(half), 0, 0]))
    return T @ turn


def _late(T: np.ndarray) -> np.ndarray:
    return T[np.maximum(np.arange(len(T)) - 12, 0)]


def _frozen(recording: Recording) -> Recording:
    rgb = recording.views["static"].rgb.copy()
    fastest = _fastest(recording)
    rgb[fastest + 1 : fastest + 4] = rgb[fastest]
    return _view(recording, "static", rgb=rgb)


def _lagging(recording: Recording) -> Recording:
    rgb = recording.views["static"].rgb
    return _view(recording, "static", rgb=rgb[np.maximum(np.arange(len(rgb)) - 4, 0)])


def _dropped(recording: Recording) -> Recording:
    """Eight control steps at full speed are left out, and nobody says so."""
    stride = recording.info.frame_stride
    start = stride * (_fastest(recording) + 1)
    kept = np.r_[0:start, start + 8 : recording.info.length]
    frames = np.flatnonzero(np.isin(recording.frame_steps, kept))
    views = {
        view: dataclasses.replace(
            stored,
            **{
                name: None if getattr(stored, name) is None else getattr(stored, name)[frames]
                for name in ("rgb", "depth", "body")
            },
            T_world_camera=None if stored.T_world_camera is None else stored.T_world_camera[kept],
        )
        for view, stored in recording.views.items()
    }
    rows = {
        name: None if getattr(recording, name) is None else getattr(recording, name)[kept]
        for name in ("state", "action", "body_pose", "simulator_state")
    }
    features = {name: values[kept] for name, values in recording.features.items()}
    return dataclasses.replace(
        recording,
        info=dataclasses.replace(recording.info, length=len(kept)),
        frame_steps=np.arange(len(frames)) * stride,
        views=views,
        features=features,
        **rows,
    )


def _fastest(recording: Recording) -> int:
    """The frame in the middle of the fastest stretch."""
    where = recording.state[recording.frame_steps, :3]
    travel = np.linalg.norm(np.diff(where, axis=0), axis=1)
    calm = np.convolve(travel, np.ones(7), "valid")
    return int(np.argmax(calm[2:-6])) + 2 + 3 - 1


def _stamped(rate: float, recording: Recording) -> Recording:
    times = (np.arange(recording.info.length) / rate)[:, None]
    return dataclasses.replace(recording, features={**recording.features, "timestamp": times})


def _unit(factor: float, recording: Recording) -> Recording:
    space = recording.info.action_space
    changed = dataclasses.replace(space, metres_per_unit=space.metres_per_unit * factor)
    return dataclasses.replace(recording, info=dataclasses.replace(recording.info, action_space=changed))


def _tool_frame(recording: Recording) -> Recording:
    space: ActionSpace = dataclasses.replace(recording.info.action_space, frame="tool")
    return dataclasses.replace(recording, info=dataclasses.replace(recording.info, action_space=space))


def _inverted(field: str, column: int, recording: Recording) -> Recording:
    values = getattr(recording, field).copy()
    values[:, column] = 1 - values[:, column]
    return dataclasses.replace(recording, **{field: values})


def _noisy(recording: Recording) -> Recording:
    rgb = recording.views["static"].rgb
    noise = np.random.default_rng(0).normal(0, 4, rgb.shape)
    named = dataclasses.replace(recording, info=dataclasses.replace(recording.info, renderer="mujoco"))
    return _view(named, "static", rgb=np.clip(np.rint(rgb + noise), 0, 255).astype(np.uint8))


def _swapped(view: View, recording: Recording) -> Recording:
    return _view(recording, view, rgb=np.ascontiguousarray(recording.views[view].rgb[..., ::-1]))


def has_wrist_pose(episode: Episode) -> bool:
    return episode.has("T_world_camera", "wrist")


def _has_field_of_view(view: View, setting: SourceSetting, episode: Episode) -> bool:
    """The setting gives the camera its true field of view, to 6 % of the focal length."""
    degrees = setting.view(view).fov_degrees
    if degrees is None:
        return False
    focal = episode.image_size(view)[1] / 2 / np.tan(np.radians(degrees) / 2)
    return abs(focal / episode.intrinsics(view)[0, 0] - 1) < 0.06


FAULTS: tuple[Fault, ...] = (
    *(
        fault
        for view in ("static", "wrist")
        for fault in (
            Fault(
                f"{view} rotated",
                Kind.UPSIDE_DOWN,
                partial(_turned, view, -1, -1),
                lambda s, e, v=view: s.view(v).turn == "rotate-180",
                lambda e, v=view: e.has("T_world_camera", v),
            ),
            Fault(
                f"{view} flipped",
                Kind.UPSIDE_DOWN,
                partial(_turned, view, -1, 1),
                lambda s, e, v=view: s.view(v).turn == "flip",
                lambda e, v=view: e.has("T_world_camera", v),
            ),
            Fault(
                f"{view} mirrored",
                Kind.MIRRORED,
                partial(_turned, view, 1, -1),
                lambda s, e, v=view: s.view(v).turn == "mirror",
                lambda e, v=view: e.has("T_world_camera", v),
            ),
            Fault(
                f"{view} BGR",
                Kind.CHANNEL_ORDER,
                partial(_swapped, view),
                lambda s, e, v=view: s.view(v).swap_red_blue,
            ),
            Fault(
                f"{view} depth in mm",
                Kind.DEPTH_UNIT,
                partial(_depth, view, lambda d, s: 1000 * d),
                lambda s, e, v=view: s.view(v).depth_factor == 1e-3,
            ),
            Fault(
                f"{view} depth a buffer",
                Kind.DEPTH_UNIT,
                partial(_depth, view, _buffer),
                lambda s, e, v=view: (
                    s.view(v).depth_planes is not None and abs(s.view(v).depth_planes[0] / NEAR - 1) < 0.12
                ),
                lambda e, v=view: e.has("T_world_camera", v),
            ),
            Fault(
                f"{view} ray length",
                Kind.RAY_LENGTH,
                partial(_depth, view, _ray),
                lambda s, e, v=view: s.view(v).ray_length,
            ),
            Fault(
                f"{view} focal length x 1.3",
                Kind.INTRINSICS,
                partial(_focal, view, 1.3),
                partial(_has_field_of_view, view),
                lambda e, v=view: e.has("T_world_camera", v),
            ),
            Fault(
                f"{view} pose inverted",
                Kind.EXTRINSICS,
                partial(_pose, view, np.linalg.inv),
                lambda s, e, v=view: s.view(v).pose == "inverted",
                lambda e, v=view: e.has("T_world_camera", v),
            ),
            Fault(
                f"{view} OpenGL axes",
                Kind.EXTRINSICS,
                partial(_pose, view, lambda T: T @ np.diag([1.0, -1, -1, 1])),
                lambda s, e, v=view: s.view(v).pose == "opengl",
                lambda e, v=view: e.has("T_world_camera", v),
            ),
        )
    ),
    Fault("static K of another size", Kind.INTRINSICS, _other_size, lambda s, e: s.static.K is not None),
    Fault("static pose 15 cm off", Kind.EXTRINSICS, partial(_pose, "static", _shifted), None),
    Fault("static pose 12° off", Kind.EXTRINSICS, partial(_pose, "static", _yawed), None),
    Fault("wrist pose late", Kind.EXTRINSICS, partial(_pose, "wrist", _late), None, has_wrist_pose),
    Fault("frozen images", Kind.TIMING, _frozen, None),
    Fault("images lag", Kind.TIMING, _lagging, None),
    Fault("dropped steps", Kind.TIMING, _dropped, None),
    Fault("other rate", Kind.TIMING, partial(_stamped, 12.5), lambda s, e: s.control_hz == 12.5),
    Fault("actions x 20", Kind.ACTION_SCALE, partial(_unit, 20.0), lambda s, e: s.metres_per_unit in (0.05, 0.02)),
    Fault("actions / 20", Kind.ACTION_SCALE, partial(_unit, 0.05), lambda s, e: s.metres_per_unit in (0.05, 0.02)),
    Fault("tool axes claimed", Kind.ACTION_FRAME, _tool_frame, lambda s, e: s.action_frame == "base"),
    Fault(
        "gripper command inverted",
        Kind.GRIPPER_SIGN,
        partial(_inverted, "action", 6),
        lambda s, e: s.invert_gripper_action,
    ),
    Fault(
        "gripper state inverted", Kind.GRIPPER_SIGN, partial(_inverted, "state", 7), lambda s, e: s.invert_gripper_state
    ),
    Fault("camera claimed rendered", Kind.RENDERER, _noisy, None),
)

"""Does a recording agree with itself? Asked before anything is written, so that no reader has to guess."""

from __future__ import annotations

import numpy as np

from model.errors import EpisodeError

from .content import array_shape, recording_arrays, recording_meta
from .episode import VIEWS
from .recording import Recording
from .schema import FEATURE, EpisodeMeta


def check_recording(recording: Recording) -> None:
    """Raises `EpisodeError` naming the first field that contradicts another one."""
    if not recording.info.views or set(recording.info.views) != set(recording.views):
        raise _error("views", f"are {sorted(recording.views)}, info.views says {list(recording.info.views)}")
    if unknown := set(recording.views) - set(VIEWS):
        raise _error("views", f"contain {sorted(unknown)}; known are {', '.join(VIEWS)}")
    if recording.info.length < 1 or len(recording.frame_steps) < 1:
        raise _error("frame_steps", "are empty: an episode needs at least one step and one image")
    for view, streams in recording.views.items():
        frames = (len(recording.frame_steps), *np.shape(streams.rgb)[1:3])
        _check_array(f"{view}.rgb", streams.rgb, (*frames, 3), "u")
        if streams.depth is not None:
            _check_array(f"{view}.depth", streams.depth, frames, "f")
        if streams.body is not None:
            _check_array(f"{view}.body", streams.body, frames, "u")
    check_arrays(recording_arrays(recording), recording_meta(recording), "recording")
    _check_exact_flow(recording)


def check_arrays(arrays: dict[str, np.ndarray], meta: EpisodeMeta, where: object) -> None:
    """Checks names, shapes and values of the low-dimensional arrays against the meta data."""
    for name, array in arrays.items():
        expected = array_shape(name, meta)
        if expected is None:
            raise EpisodeError(f"{where}: field '{name}' is unknown to this version")
        fits = len(expected) == array.ndim and all(
            want in (None, have) for want, have in zip(expected, array.shape, strict=True)
        )
        if not fits:
            wanted = tuple("any" if length is None else length for length in expected)
            raise EpisodeError(f"{where}: field '{name}' has shape {array.shape}, expected {wanted}")
        gaps = name.startswith(FEATURE)  # a sensor that dropped out; nothing is computed from it
        if not (np.isfinite(array) | (np.isnan(array) & gaps)).all():
            raise EpisodeError(f"{where}: field '{name}' holds {'' if gaps else 'NaN or '}infinity")
    if "frame_steps" not in arrays:
        raise EpisodeError(f"{where}: field 'frame_steps' is missing")
    if meta.info.action_space is not None and "action" not in arrays:
        raise EpisodeError(f"{where}: field 'action' is missing, though info.action_space says what it means")
    steps = arrays["frame_steps"]
    if (np.diff(steps) <= 0).any() or steps[0] < 0 or steps[-1] >= meta.info.length:
        raise EpisodeError(f"{where}: field 'frame_steps' must increase within 0..{meta.info.length - 1}")


def _check_array(name: str, array: np.ndarray, shape: tuple[int, ...], kind: str) -> None:
    if array.shape != shape:
        raise _error(name, f"has shape {array.shape}, expected {shape}")
    if array.dtype.kind != kind or (kind == "u" and array.dtype != np.uint8):
        raise _error(name, f"has dtype {array.dtype}, expected {'uint8' if kind == 'u' else 'float'}")


def _check_exact_flow(recording: Recording) -> None:
    if not recording.info.has_exact_flow:
        return
    if recording.body_pose is None:
        raise _error("body_pose", "is missing, though info.has_exact_flow")
    for view, streams in recording.views.items():
        for field in ("depth", "body", "K", "T_world_camera"):
            if getattr(streams, field) is None:
                raise _error(f"{view}.{field}", "is missing, though info.has_exact_flow")
        if streams.body is not None and streams.body.max() >= recording.body_pose.shape[1]:
            raise _error(f"{view}.body", f"names body {streams.body.max()} of {recording.body_pose.shape[1]}")
    if not np.allclose(recording.body_pose[:, 0], np.eye(4)):
        raise _error("body_pose", "must hold the identity for body 0, the static world")


def _error(field: str, problem: str) -> EpisodeError:
    return EpisodeError(f"recording: field '{field}' {problem}")

"""A recording's content in the packed schema: meta data, small arrays, streams, and the hash that names it.

Dimensions: t control step, f rendered frame, h w pixels, n body, q simulator state.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np

from .codecs import quantise_depth
from .episode import VIEWS, View
from .recording import Recording
from .schema import FEATURE, STREAM_KINDS, Encoding, EpisodeMeta, StreamKind, ViewMeta, meta_to_json

Codec = Literal["jpeg", "delta"]


def recording_meta(recording: Recording) -> EpisodeMeta:
    """What goes into meta.json."""
    views: dict[View, ViewMeta] = {}
    for view in recording.info.views:
        _, height, width, _ = recording.views[view].rgb.shape
        kinds: tuple[StreamKind, ...] = tuple(k for k in STREAM_KINDS if getattr(recording.views[view], k) is not None)
        views[view] = ViewMeta(height=height, width=width, streams=kinds)
    return EpisodeMeta(
        info=recording.info,
        n_frames=len(recording.frame_steps),
        views=views,
        body_names=recording.body_names,
        feature_names={name: tuple(names) for name, names in recording.feature_names.items()},
    )


def recording_arrays(recording: Recording) -> dict[str, np.ndarray]:
    """What goes into arrays.safetensors: integers as int64, everything else as float64; absent things are absent."""
    arrays: dict[str, np.ndarray | None] = {
        "state": recording.state,
        "action": recording.action,
        "body_pose": recording.body_pose,
        "simulator_state": recording.simulator_state,
    }
    for view in recording.info.views:
        arrays[f"K.{view}"] = recording.views[view].K
        arrays[f"T_world_camera.{view}"] = recording.views[view].T_world_camera
    arrays |= {f"{FEATURE}{name}": array for name, array in recording.features.items()}
    packed = {name: np.ascontiguousarray(array, np.float64) for name, array in arrays.items() if array is not None}
    return {"frame_steps": np.ascontiguousarray(recording.frame_steps, np.int64), **packed}


def array_shapes(meta: EpisodeMeta) -> dict[str, tuple[int | None, ...]]:
    """The shape each array must have where it is present; None = any length."""
    steps, bodies = meta.info.length, len(meta.body_names) or None
    shapes: dict[str, tuple[int | None, ...]] = {
        "frame_steps": (meta.n_frames,),
        "state": (steps, 8),
        "action": (steps, 7),
        "body_pose": (steps, bodies, 4, 4),
        "simulator_state": (steps, None),
    }
    for view in meta.info.views:
        shapes[f"K.{view}"] = (3, 3)
        shapes[f"T_world_camera.{view}"] = (steps, 4, 4)
    return shapes


def array_shape(name: str, meta: EpisodeMeta) -> tuple[int | None, ...] | None:
    """The shape an array must have, None for a name that does not belong into an episode."""
    if name.startswith(FEATURE):
        names = meta.feature_names.get(name.removeprefix(FEATURE))
        return meta.info.length, None if names is None else len(names)
    return array_shapes(meta).get(name)


def stream_keys(meta: EpisodeMeta) -> list[tuple[View, StreamKind]]:
    """Every stream of an episode."""
    return [(view, kind) for view in VIEWS if view in meta.views for kind in meta.views[view].streams]


def stream_values(recording: Recording, view: View, kind: StreamKind) -> np.ndarray:
    """A stream of a recording as it is stored, before any lossy coding of colours."""
    values = getattr(recording.views[view], kind)
    return quantise_depth(values) if kind == "depth" else np.ascontiguousarray(values)


def stream_codec(view: View, kind: StreamKind) -> Codec:
    """JPEG for colours of the moving wrist camera, lossless differences for everything else."""
    return "jpeg" if (view, kind) == ("wrist", "rgb") else "delta"


def stream_file(view: View, kind: StreamKind, encoding: Encoding) -> str:
    """The file a stream is read from."""
    return f"{view}_{kind}.npy" if encoding == "mapped" else f"{view}_{kind}.{stream_codec(view, kind)}.safetensors"


def content_hash(recording: Recording) -> str:
    """sha256 over the recording itself: meta data, arrays, images before JPEG, depth to 0.1 mm.

    It names the recording, not the files: independent of the encoding and of the versions of zlib and libjpeg, so that
    recording the same thing again gives the same hash.
    """
    meta = recording_meta(recording)
    content = recording_arrays(recording)
    content |= {f"{view}.{kind}": stream_values(recording, view, kind) for view, kind in stream_keys(meta)}
    digest = hashlib.sha256(meta_to_json(meta).encode())
    for name in sorted(content):
        digest.update(f"\0{name} {content[name].dtype.str} {content[name].shape}\0".encode())
        digest.update(content[name].tobytes())
    return digest.hexdigest()

"""LIBERO's own HDF5 files: one file a task, one group a demonstration, 20 Hz.

Three traps of the format are undone here. Images are stored lowest row first. Depth, where there is some, is OpenGL's
buffer from 0 to 1, not metres. And observation i was taken AFTER action i, so the episode pairs observation i with
action i + 1 and is one step shorter than the file.

K and the static camera's pose come from the simulator's model, which the files carry as text; the wrist camera hangs on
the hand, whose pose only the simulator knows. `trainer record --demos FILE` replays a demonstration in the simulator
instead, which gives all of it, with exact flow.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from model.errors import EpisodeError

from ..camera import Camera
from ..episode import Episode, EpisodeInfo, View
from ..identity import content_hash
from ..lazy import LazyEpisode, Numbers
from ..safe_path import plain_file
from ..schema import MAX_SIDE
from .libero_demo import ACTION_SPACE, CONTROL_HZ, DEPTH, RGB, Demo, DemoFacts, FileFacts, has_demos, read_facts
from .libero_model import CAMERAS, Model, parse_model
from .reader import EpisodeSummary, Reader

_SUFFIXES = (".hdf5", ".h5")
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MAX_BYTES = 1 << 40


class LiberoReader:
    """Reads LIBERO's demonstration files, and what `trainer export --format libero` writes."""

    format = "libero"
    looks_for = "a LIBERO file (.hdf5 with data/demo_0/obs)"

    def recognise(self, path: Path) -> bool:
        """Whether a file is HDF5 with demonstrations that have observations."""
        if path.suffix.lower() not in _SUFFIXES or not path.is_file():
            return False
        try:
            with path.open("rb") as file:
                if file.read(len(_SIGNATURE)) != _SIGNATURE:
                    return False
        except OSError:
            return False
        return has_demos(path)

    def episodes(self, path: Path) -> Sequence[EpisodeSummary]:
        """One demonstration each, in the order of their numbers."""
        facts = _file_facts(path)
        return [
            EpisodeSummary(
                name=f"{path}#{index}",
                source=self.format,
                instruction=facts.instruction,
                length=demo.length,
                views=demo.views,
                depth=("true", "metric") if demo.has_depth else None,
                outcome="success" if demo.succeeded else None,
                task=_task(path),
            )
            for index, demo in enumerate(facts.demos)
        ]

    def open(self, path: Path, index: int) -> Episode:
        """Opens a demonstration."""
        facts = _file_facts(path)
        if not 0 <= index < len(facts.demos):
            raise EpisodeError(f"{path}: has {len(facts.demos)} demonstrations; asked for #{index}")
        chosen = facts.demos[index]
        if chosen.length < 1 or not chosen.views:
            raise EpisodeError(f"{path}: {chosen.name} has no step with an image and an action")
        demo = Demo(path=path, name=chosen.name, upright=facts.upright)
        model = parse_model(demo.model_text())
        cameras: dict[View, Camera] = {view: _camera(demo, view, model, chosen.length) for view in chosen.views}
        numbers, notes = demo.numbers(chosen.length)
        return LazyEpisode(
            name=f"{path}#{index}",
            info=_info(path, facts, chosen, cameras, numbers, notes),
            content_hash=content_hash(path.parent, [path], salt=f"libero 1 {chosen.name}"),
            frame_steps=np.arange(chosen.length),
            cameras=cameras,
            numbers=lambda: numbers,
        )


def _info(
    path: Path,
    facts: FileFacts,
    demo: DemoFacts,
    cameras: dict[View, Camera],
    numbers: Numbers,
    left_out: Sequence[str],
) -> EpisodeInfo:
    depth = any(camera.depth is not None for camera in cameras.values())
    notes = [note for note in (facts.complaint, demo.problem, *left_out) if note]
    if demo.has_depth and not depth:
        notes.append(
            "its depth is not shown: it is no raw buffer (floats), or the file does not state its near and far planes"
        )
    return EpisodeInfo(
        source="libero",
        instruction=facts.instruction,
        length=demo.length,
        control_hz=CONTROL_HZ,
        views=demo.views,
        depth_origin="true" if depth else None,
        depth_scale="metric" if depth else None,
        has_exact_flow=False,
        outcome="success" if demo.succeeded and demo.problem is None else None,
        action_space=ACTION_SPACE if numbers.action is not None else None,
        task=_task(path),
        notes=tuple(notes),
    )


def _camera(demo: Demo, view: View, model: Model, length: int) -> Camera:
    shape = demo.streams[RGB[view]][1:]
    if len(shape) != 3 or shape[2] != 3 or not 1 <= min(shape[:2]) <= max(shape[:2]) <= MAX_SIDE:
        raise EpisodeError(f"{demo.path}: {demo.name}/obs/{RGB[view]} has images of shape {shape}, not (h, w, 3)")
    size = (shape[0], shape[1])
    known = model.cameras.get(CAMERAS[view])
    pose = None if known is None else known.T_world_camera
    fits = demo.streams.get(DEPTH[view], ())[1:] in (size, (*size, 1))
    has_depth = fits and demo.holds_floats(DEPTH[view]) and model.planes is not None
    return Camera(
        source_name=RGB[view],
        size=size,
        rgb=partial(demo.rgb, view),
        depth=partial(demo.depth, view, model.planes) if has_depth and model.planes else None,
        K=None if known is None else known.intrinsics(size),
        T_world_camera=None if pose is None else np.broadcast_to(pose, (length, 4, 4)),
    )


def _file_facts(path: Path) -> FileFacts:
    stat = plain_file(path.resolve(), path.resolve().parent, max_bytes=_MAX_BYTES)
    return _kept_facts(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _kept_facts(path: Path, changed: int, size: int) -> FileFacts:
    del changed, size  # they make a changed file another question
    return read_facts(path)


def _task(path: Path) -> str:
    return path.stem.removesuffix("_demo")


READER: Reader = LiberoReader()

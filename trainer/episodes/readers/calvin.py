"""CALVIN: a split folder with one npz a control step, 30 Hz, true metric depth of two cameras.

    ep_start_end_ids.npy                     the recordings, by first and last step
    lang_annotations/auto_lang_ann.npy       sentences and the windows they belong to (pickled; read without unpickling)
    .hydra/merged_config.yaml                the cameras
    episode_0358482.npz                      one step: rgb_*, depth_*, robot_obs, scene_obs, actions, rel_actions

Index: the language segments first, then the raw play. Ground truth of how things moved is not in the format.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from model.errors import EpisodeError, WorkbenchError

from ..camera import Camera
from ..episode import DepthOrigin, DepthScale, Episode, EpisodeInfo, View
from ..identity import content_hash
from ..lazy import LazyEpisode, Numbers
from ..schema import MAX_SIDE
from .calvin_camera import CONFIG, CalvinCamera, read_cameras
from .calvin_split import Segment, is_split, segments, step_file
from .calvin_steps import StepFiles, present_steps
from .calvin_units import ACTION_SPACE, CONTROL_HZ
from .reader import EpisodeSummary, Reader

_CAMERAS: dict[View, str] = {"static": "static", "wrist": "gripper"}  # our view, CALVIN's name
_TACTILE = "rgb_tactile"  # two images in one array
_METRIC: tuple[DepthOrigin, DepthScale] = ("true", "metric")
# The low-dimensional arrays of so many steps are read when an episode is opened, which finds damage inside its files at
# once, at 2 ms a step; language segments have 64. Files that were cut off are found in an episode of any length.
_CHECKED_STEPS = 100


class CalvinReader:
    """Reads splits of CALVIN's own datasets, and what `trainer export --format calvin` writes."""

    format = "calvin"
    looks_for = "a CALVIN split (a folder with ep_start_end_ids.npy)"

    def recognise(self, path: Path) -> bool:
        """Whether a folder has the file that says which steps belong together."""
        return is_split(path)

    def episodes(self, path: Path) -> Sequence[EpisodeSummary]:
        """Language segments, then raw play. Of all step files, the header of one is looked at, for the cameras."""
        parts = segments(path)
        try:
            shapes = StepFiles(path, [step_file(path, parts[0].start)]).shapes() if parts else {}
        except WorkbenchError:  # that one step is damaged or not there; whoever opens it is told
            shapes = {}
        depth = any(f"depth_{name}" in shapes for name in _CAMERAS.values())
        views: tuple[View, ...] = tuple(view for view, name in _CAMERAS.items() if f"rgb_{name}" in shapes)
        return [
            EpisodeSummary(
                name=f"{path}#{index}",
                source=self.format,
                instruction=part.instruction,
                length=part.length,
                views=views,
                depth=_METRIC if depth else None,
                outcome="success" if part.task else None,
                task=part.task,
            )
            for index, part in enumerate(parts)
        ]

    def open(self, path: Path, index: int) -> Episode:
        """Opens a segment up to its last good step."""
        parts = segments(path)
        if not 0 <= index < len(parts):
            raise EpisodeError(f"{path}: has {len(parts)} episodes, #0 to #{len(parts) - 1}; asked for #{index}")
        part = parts[index]
        files = [step_file(path, step) for step in range(part.start, part.end + 1)]
        present, problem = present_steps(path, files)
        steps = StepFiles(path, present)
        shapes = steps.shapes()
        load = partial(_all_numbers, steps, tuple(shapes))
        if len(present) <= _CHECKED_STEPS:
            numbers, damage = steps.numbers(tuple(shapes), stop_at_damage=True)
            load = partial(_known, numbers)
            if damage is not None:
                problem, present = damage, present[: _length(numbers, len(present))]
                steps = StepFiles(path, present)
        cameras, others = _cameras(steps, shapes, read_cameras(path))
        config = [path / CONFIG] if (path / CONFIG).is_file() else []
        return LazyEpisode(
            name=f"{path}#{index}",
            info=_info(part, len(present), shapes, tuple(cameras), problem),
            content_hash=content_hash(path, [*present, *config], salt=f"calvin 1 {part.start} {part.instruction}"),
            frame_steps=np.arange(len(present)),
            cameras=cameras,
            others=others,
            numbers=load,
        )


def _info(
    part: Segment, length: int, shapes: Mapping[str, tuple[int, ...]], views: tuple[View, ...], problem: str | None
) -> EpisodeInfo:
    depth = any(f"depth_{_CAMERAS[view]}" in shapes for view in views)
    acts = "rel_actions" in shapes and "robot_obs" in shapes
    return EpisodeInfo(
        source="calvin",
        instruction=part.instruction,
        length=length,
        control_hz=CONTROL_HZ,
        views=views,
        depth_origin=_METRIC[0] if depth else None,
        depth_scale=_METRIC[1] if depth else None,
        has_exact_flow=False,
        outcome="success" if part.task and length == part.length else None,
        action_space=ACTION_SPACE if acts else None,
        task=part.task,
        notes=() if problem is None else (f"ends at step {length} of {part.length}: {problem}",),
    )


def _cameras(
    steps: StepFiles, shapes: Mapping[str, tuple[int, ...]], known: Mapping[str, CalvinCamera]
) -> tuple[dict[View, Camera], dict[str, Camera]]:
    """The policy's two views, and the two halves of the tactile images where there are some."""
    cameras: dict[View, Camera] = {}
    for view, name in _CAMERAS.items():
        if f"rgb_{name}" in shapes:
            cameras[view] = _camera(steps, shapes, name, known.get(name))
    if not cameras:
        raise EpisodeError(f"{steps.paths[0]}: fields 'rgb_static' and 'rgb_gripper' are missing")
    others: dict[str, Camera] = {}
    shape = shapes.get(_TACTILE, ())
    if len(shape) == 3 and shape[2] == 6:
        for half in range(2):
            read = partial(_tactile, steps, shape, half)
            others[f"{_TACTILE}.{half}"] = Camera(source_name=_TACTILE, size=(shape[0], shape[1]), rgb=read)
    return cameras, others


def _camera(steps: StepFiles, shapes: Mapping[str, tuple[int, ...]], name: str, known: CalvinCamera | None) -> Camera:
    shape = shapes[f"rgb_{name}"]
    if len(shape) != 3 or shape[2] != 3 or not 1 <= min(shape[:2]) <= max(shape[:2]) <= MAX_SIDE:
        raise EpisodeError(f"{steps.paths[0]}: field 'rgb_{name}' has shape {shape}, expected (height, width, 3)")
    size = (shape[0], shape[1])
    pose = None if known is None or known.T_world_camera is None else known.T_world_camera
    has_depth = shapes.get(f"depth_{name}") == size
    return Camera(
        source_name=f"rgb_{name}",
        size=size,
        rgb=partial(_rgb, steps, f"rgb_{name}", shape),
        depth=partial(_depth, steps, f"depth_{name}", size, known) if has_depth else None,
        K=None if known is None else known.intrinsics(size),
        T_world_camera=None if pose is None else np.broadcast_to(pose, (len(steps.paths), 4, 4)),
    )


def _rgb(steps: StepFiles, name: str, shape: tuple[int, ...], step: int) -> UInt8[np.ndarray, "h w 3"]:
    return steps.image(step, name, shape)


def _tactile(steps: StepFiles, shape: tuple[int, ...], half: int, step: int) -> UInt8[np.ndarray, "h w 3"]:
    return steps.image(step, _TACTILE, shape)[..., 3 * half : 3 * half + 3]


def _depth(steps: StepFiles, name: str, size: tuple[int, int], known: CalvinCamera | None, step: int) -> np.ndarray:
    depth = steps.depth(step, name, size)
    return depth if known is None else known.valid(depth)


def _known(numbers: Numbers) -> Numbers:
    return numbers


def _all_numbers(steps: StepFiles, names: Sequence[str]) -> Numbers:
    try:
        return steps.numbers(names, stop_at_damage=False)[0]
    except WorkbenchError as error:  # its length is told already: a step in its middle cannot be left out any more
        raise type(error)(f"{error}; move this file away, and the recording opens up to the step before it") from None


def _length(numbers: Numbers, default: int) -> int:
    return next((len(values) for values in numbers.features.values()), default)


READER: Reader = CalvinReader()

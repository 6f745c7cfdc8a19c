"""Writes a CALVIN split: one npz a step, language windows, the simulator's camera configuration.

What the source does not have is left out of the step files, apart from one thing: `auto_lang_ann.npy` has an empty
embedding for each sentence, because CALVIN's own loader asks for one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import EpisodeError

from ..episode import View
from ..readers.calvin_camera import CONFIG
from ..readers.calvin_units import CONTROL_HZ, absolute_actions_of, rel_actions_of, robot_obs_of
from .trajectory import (
    EXACT_FLOW,
    MOVING_POSE,
    WRIST_POSE,
    Trajectory,
    centred_field_of_view,
    name_losses,
    name_lost_fields,
    same_cameras,
)

log = logging.getLogger(__name__)

_NAMES: dict[View, str] = {"static": "static", "wrist": "gripper"}
_NEAR, _FAR = 0.01, 100.0  # metres


def write_calvin(trajectories: Sequence[Trajectory], folder: Path) -> None:
    """Fills an empty folder with a split.

    Args:
        trajectories: The episodes, one recording each; every one gets a language window over all its steps if it has an
            instruction.
        folder: The split.

    Raises:
        EpisodeError: Nothing to write, or an episode cannot be read.
    """
    if not trajectories:
        raise EpisodeError("export: nothing to write")
    name_losses(trajectories, "CALVIN", hz=CONTROL_HZ, outcomes=frozenset({"success"}))  # of what has a task
    name_lost_fields(trajectories, "CALVIN", [WRIST_POSE, MOVING_POSE, EXACT_FLOW])
    _name_lost_actions(trajectories)
    bounds: list[tuple[int, int]] = []
    start = 0
    for one in trajectories:
        numbers = _numbers(one)
        for row, step in enumerate(one.steps):
            arrays = {name: values[row] for name, values in numbers.items()}
            for view in one.episode.info.views:
                arrays |= _images(one, view, step)
            np.savez_compressed(folder / f"episode_{start + row:07d}.npz", **arrays)  # pyright: ignore[reportArgumentType]
        bounds.append((start, start + len(one.steps) - 1))
        start += len(one.steps)
    np.save(folder / "ep_start_end_ids.npy", np.array(bounds))
    np.save(folder / "ep_lens.npy", np.array([end - first + 1 for first, end in bounds]))
    _write_language(trajectories, bounds, folder / "lang_annotations")
    _write_config(trajectories, folder / CONFIG)


def _name_lost_actions(trajectories: Sequence[Trajectory]) -> None:
    """Warns of commands beyond the end of CALVIN's scale; its own episodes are written as they are."""
    foreign = [one for one in trajectories if one.feature("rel_actions", 7) is None]
    ends = [np.abs(_numbers(one).get("rel_actions", np.zeros((1, 7)))[:, :6]).max() >= 1 for one in foreign]
    if any(ends):
        log.warning("CALVIN's actions end at 2 cm and 0.05 rad a step: larger ones are cut, in %d episodes", sum(ends))


def _numbers(one: Trajectory) -> dict[str, np.ndarray]:
    """The low-dimensional arrays of all steps; CALVIN's own where the source is CALVIN."""
    numbers = {
        name: values
        for name, width in (("robot_obs", 15), ("scene_obs", 24), ("rel_actions", 7), ("actions", 7))
        if (values := one.feature(name, width)) is not None
    }
    space = one.episode.info.action_space
    if one.state is not None and one.action is not None and space is not None:
        numbers.setdefault("robot_obs", robot_obs_of(one.state, one.action))
        numbers.setdefault("rel_actions", rel_actions_of(one.action, space, numbers["robot_obs"]))
        numbers.setdefault("actions", absolute_actions_of(numbers["rel_actions"], numbers["robot_obs"]))
    return numbers


def _images(one: Trajectory, view: View, step: int) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {f"rgb_{_NAMES[view]}": one.episode.rgb(view, step)}
    if one.episode.has("depth", view):
        depth = one.episode.depth(view, step)
        arrays[f"depth_{_NAMES[view]}"] = np.where(np.isfinite(depth), depth, 0).astype(np.float32)  # 0: none
    return arrays


def _write_language(trajectories: Sequence[Trajectory], bounds: Sequence[tuple[int, int]], folder: Path) -> None:
    spoken = [
        (one.episode.info, at) for one, at in zip(trajectories, bounds, strict=True) if one.episode.info.instruction
    ]
    if not spoken:
        return
    content: dict[str, Any] = {
        "language": {
            "ann": [info.instruction for info, _ in spoken],
            "task": [info.task or "" for info, _ in spoken],
            "emb": np.zeros((len(spoken), 1, 0), np.float32),
        },
        "info": {"episodes": [], "indx": [at for _, at in spoken]},
    }
    folder.mkdir()
    box = np.empty((), object)
    box[()] = content
    np.save(folder / "auto_lang_ann.npy", box)


def _write_config(trajectories: Sequence[Trajectory], path: Path) -> None:
    """The cameras that all episodes share; one that differs between them cannot be written, and is said."""
    import yaml

    cameras: dict[str, Any] = {}
    for view, name in _NAMES.items():
        with_view = [one for one in trajectories if view in one.episode.info.views]
        K = same_cameras([one.episode.intrinsics(view) if one.episode.has("K", view) else None for one in with_view])
        size = with_view[0].episode.image_size(view) if with_view else (0, 0)
        field = None if K is None else centred_field_of_view(K, size)
        if with_view and field is None:
            log.warning("%s camera: its intrinsics are unknown, differ, or are not centred; left out", view)
        if field is None:
            continue
        fov, aspect = field
        cameras[name] = {
            "name": name,
            "fov": float(np.degrees(fov)),
            "aspect": aspect,
            "nearval": _NEAR,
            "farval": _FAR,
        }
        cameras[name] |= {"width": size[1], "height": size[0]}
        pose = same_cameras([one.still_camera(view) for one in with_view])
        if pose is not None and view == "static":
            eye, ahead, down = pose[:3, 3], pose[:3, 2], pose[:3, 1]
            vectors = {"look_at": eye + ahead, "look_from": eye, "up_vector": -down}
            cameras[name] |= {key: [float(value) for value in vector] for key, vector in vectors.items()}
    if cameras:
        path.parent.mkdir()
        path.write_text(yaml.safe_dump({"cameras": cameras}, sort_keys=False), encoding="utf-8")

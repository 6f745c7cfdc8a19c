"""Writes LIBERO's HDF5 files: one a task, one group a demonstration, with the format's three habits.

Images lowest row first, depth as OpenGL's buffer, and observation i taken after action i. The last of these costs a
step: row 0 has no action before it that the source knows (it says "stay"), and the action of the last row, which no
observation follows, is lost. The model text holds what the cameras need and nothing else.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax.saxutils import quoteattr

import numpy as np
from jaxtyping import Float

from model.errors import EpisodeError

from ..episode import View
from ..readers.libero_demo import ACTION_SPACE, CONTROL_HZ, DEPTH, FINGER_SPAN, RGB
from ..readers.libero_model import CAMERAS, Planes
from ..rotations import axis_angle, from_axis_angle, quaternion, rotation_matrix
from .hdf5_file import new_hdf5
from .trajectory import (
    EXACT_FLOW,
    MOVING_POSE,
    OWN_NUMBERS,
    Trajectory,
    centred_field_of_view,
    name_losses,
    name_lost_fields,
)

if TYPE_CHECKING:
    import h5py

PLANES = Planes(near=0.02, far=100.0)
_TO_MUJOCO = np.diag([1.0, -1.0, -1.0])


def write_libero(trajectories: Sequence[Trajectory], folder: Path) -> None:
    """Fills an empty folder with one file a task.

    Raises:
        EpisodeError: Nothing to write, or an episode cannot be read.
        OSError: The disk is full.
    """
    if not trajectories:
        raise EpisodeError("export: nothing to write")
    name_losses(trajectories, "LIBERO", hz=CONTROL_HZ, outcomes=frozenset({"success"}))
    name_lost_fields(trajectories, "LIBERO", [MOVING_POSE, EXACT_FLOW, OWN_NUMBERS])
    tasks: dict[tuple[str, str], list[Trajectory]] = defaultdict(list)
    for one in trajectories:
        info = one.episode.info
        tasks[_file_name(info.task or info.instruction), info.instruction].append(one)
    for number, ((name, instruction), members) in enumerate(tasks.items()):
        path = folder / f"{name}_demo.hdf5"
        with new_hdf5(path if not path.exists() else folder / f"{name}_{number}_demo.hdf5") as file:
            data = file.create_group("data")
            for index, one in enumerate(members):
                _write_demo(one, data.create_group(f"demo_{index}"))
            data.attrs["num_demos"] = len(members)
            data.attrs["total"] = sum(len(one.steps) for one in members)
            data.attrs["macros_image_convention"] = "opengl"
            data.attrs["problem_info"] = json.dumps({"problem_name": name, "language_instruction": instruction})


def _write_demo(one: Trajectory, demo: h5py.Group) -> None:
    episode, rows = one.episode, len(one.steps)
    obs = demo.create_group("obs")
    for view in episode.info.views:
        images = (episode.rgb(view, step)[::-1] for step in one.steps)
        _write_images(obs, RGB[view], images, (rows, *episode.image_size(view), 3), "u1")
        if episode.has("depth", view):
            buffers = (PLANES.buffer(episode.depth(view, step)[::-1, :, None]) for step in one.steps)
            _write_images(obs, DEPTH[view], buffers, (rows, *episode.image_size(view), 1), "f4")
    if one.state is not None:
        pose = np.concatenate([one.state[:, :3], axis_angle(rotation_matrix(one.state[:, 3:7]))], 1)
        fingers = one.state[:, 7:] * FINGER_SPAN / 2
        obs["ee_states"], obs["ee_pos"], obs["ee_ori"] = pose, pose[:, :3], pose[:, 3:]
        obs["gripper_states"] = np.concatenate([fingers, -fingers], 1)
    if one.action is not None:
        demo["actions"] = _actions(one)
    done = np.zeros(rows, np.uint8)
    done[-1] = episode.info.outcome == "success"
    demo["dones"], demo["rewards"] = done, done
    demo.attrs["num_samples"] = rows
    demo.attrs["model_file"] = _model_text(one)


def _write_images(obs: h5py.Group, name: str, images: object, shape: tuple[int, ...], dtype: str) -> None:
    stored = obs.create_dataset(name, shape, dtype, chunks=(1, *shape[1:]), compression="gzip", compression_opts=4)
    for row, image in enumerate(images):  # pyright: ignore[reportArgumentType] - a generator
        stored[row] = image


def _actions(one: Trajectory) -> Float[np.ndarray, "n 7"]:
    """Row i is what was commanded before observation i; in LIBERO's units and axes, gripper -1 open .. 1 shut."""
    space = one.episode.info.action_space
    if space is None or one.action is None:
        raise EpisodeError(f"{one.episode.name}: has no actions in known units")
    move = one.action[:, :3] * space.metres_per_unit
    turn = from_axis_angle(one.action[:, 3:6] * space.radians_per_unit)
    if space.frame == "tool":
        if one.state is None:
            raise EpisodeError(f"{one.episode.name}: its actions are in the tool's axes and its state is absent")
        R = rotation_matrix(one.state[:, 3:7])
        move, turn = (R @ move[..., None])[..., 0], R @ turn @ R.swapaxes(1, 2)
    deltas = [move / ACTION_SPACE.metres_per_unit, axis_angle(turn) / ACTION_SPACE.radians_per_unit]
    followed = np.concatenate([*deltas, 1 - 2 * one.action[:, 6:]], 1)
    stay = np.zeros((1, 7))
    stay[0, 6] = followed[0, 6]
    return np.concatenate([stay, followed[:-1]])


def _model_text(one: Trajectory) -> str:
    """A MuJoCo model with nothing but cameras; one whose K a field of view cannot describe is left out."""
    cameras: dict[View, str] = {}
    for view in one.episode.info.views:
        field = None
        if one.episode.has("K", view):
            field = centred_field_of_view(one.episode.intrinsics(view), one.episode.image_size(view))
        if (
            field is not None
            and abs(field[1] * one.episode.image_size(view)[0] / one.episode.image_size(view)[1] - 1) < 1e-3
        ):
            place = _place(one.still_camera(view))
            cameras[view] = (
                f"<camera name={quoteattr(CAMERAS[view])} fovy={quoteattr(repr(np.degrees(field[0]).item()))}{place}/>"
            )
    world = "".join(
        text if one.still_camera(view) is not None else f'<body name="{view}">{text}</body>'
        for view, text in cameras.items()
    )
    planes = f'<statistic extent="1"/><visual><map znear="{PLANES.near}" zfar="{PLANES.far}"/></visual>'
    return f'<mujoco model="cameras">{planes}<worldbody>{world}</worldbody></mujoco>'


def _place(pose: Float[np.ndarray, "4 4"] | None) -> str:
    if pose is None:
        return ""
    position, orientation = pose[:3, 3], quaternion(pose[:3, :3] @ _TO_MUJOCO)
    return "".join(
        f" {name}={quoteattr(' '.join(repr(float(value)) for value in values))}"
        for name, values in (("pos", position), ("quat", orientation))
    )


def _file_name(task: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", task).strip("_")[:120] or "task"

"""One demonstration in a LIBERO HDF5 file, whose names and shapes are looked up once.

Dimensions: t step of the episode, h w pixels, n entries of a feature.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from model.errors import EpisodeError, WorkbenchError

from .. import safe_hdf5
from ..episode import ACTION_NAMES, ActionSpace, View
from ..lazy import Numbers
from ..rotations import from_axis_angle, quaternion
from .libero_model import Planes

ACTION_SPACE = ActionSpace(metres_per_unit=0.05, radians_per_unit=0.5, frame="base")
CONTROL_HZ = 20.0
RGB: dict[View, str] = {"static": "agentview_rgb", "wrist": "eye_in_hand_rgb"}
DEPTH: dict[View, str] = {"static": "agentview_depth", "wrist": "eye_in_hand_depth"}
FINGER_SPAN = 0.08  # metres between the two fingers' joints when open
# An observation was taken after the action of the same index: what the policy sees before action i + 1.
LAG = 1
_TURN = ("rx", "ry", "rz")
NAMES: Mapping[str, tuple[str, ...]] = {
    "actions": ACTION_NAMES,
    "robot_states": ("finger 1", "finger 2", "x", "y", "z", "qx", "qy", "qz", "qw"),
    "obs/ee_states": ("x", "y", "z", *_TURN),
    "obs/ee_pos": ("x", "y", "z"),
    "obs/ee_ori": _TURN,
    "obs/gripper_states": ("finger 1", "finger 2"),
    "obs/joint_states": tuple(f"joint {joint}" for joint in range(1, 8)),
}
"""After LIBERO's `scripts/create_dataset.py` and `get_robot_state_vector`."""
_LANGUAGE = re.compile(r"\(:language\s+([^)]{1,500})\)")
_MAX_ROWS_WIDTH = 512


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Reads `data/NAME` of a file; `upright` says whether images are stored as they are looked at."""

    path: Path
    name: str
    upright: bool

    @property
    def streams(self) -> dict[str, tuple[int, ...]]:
        """Shape of every image stream that is there, by its name in `obs`."""
        return {name: dataset.shape for name, dataset in self._datasets.items()}

    def holds_floats(self, name: str) -> bool:
        """Whether an image stream that is there holds floats, as a depth buffer does."""
        return self._datasets[name].dtype.kind == "f"

    def rgb(self, view: View, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The upright image of an observation."""
        image = self._frame(RGB[view], index)
        if image.dtype != np.uint8:
            raise EpisodeError(f"{self.path}: {self.name}/obs/{RGB[view]} is {image.dtype}, expected uint8")
        return self._turned(image)

    def depth(self, view: View, planes: Planes, index: int) -> Float[np.ndarray, "h w"]:
        """Metres along the axis."""
        buffer = self._frame(DEPTH[view], index)
        if buffer.dtype.kind != "f":
            raise EpisodeError(f"{self.path}: {self.name}/obs/{DEPTH[view]} is {buffer.dtype}, expected floats")
        return planes.metres(self._turned(buffer.reshape(buffer.shape[:2])))

    def numbers(self, length: int) -> tuple[Numbers, tuple[str, ...]]:
        """Everything low-dimensional of `length` steps, observations paired with the action that followed, and notes.

        Labs keep more beside the steps (intrinsics, a seed, the first state of the simulator): what has not one row
        for each step is left out, and a note names it. What LIBERO itself writes must fit.
        """
        features: dict[str, np.ndarray] = {}
        for name in safe_hdf5.children(self._obs):
            if name not in self._datasets and (rows := _rows(self._obs, name)) is not None:
                features[f"obs/{name}"] = rows
        for name in safe_hdf5.children(self._group):
            if name != "obs" and (rows := _rows(self._group, name)) is not None:
                features[name] = rows[LAG:]
        others: list[str] = []
        most = self._most_rows
        for name, rows in list(features.items()):
            if length <= len(rows) <= most:
                features[name] = rows[:length]
            elif name in NAMES and not self._group.complaint:  # of one that was cut off the reader is told
                raise EpisodeError(f"{self.path}: field '{name}' has {len(rows)} rows, {length} are needed")
            else:
                del features[name]
                others += [] if self._group.complaint else [f"'{name}'"]
        named = {
            name: names for name, names in NAMES.items() if name in features and features[name].shape[1] == len(names)
        }
        notes = (f"left out, for it has not one row a step: {', '.join(others)[:200]}",) if others else ()
        return Numbers(state=_state(features), action=_action(features), features=features, names=named), notes

    def model_text(self) -> str:
        """The simulator's model, "" where the file has none."""
        return _text(self._group, "model_file")

    @cached_property
    def _group(self) -> safe_hdf5.Group:
        """Looked up once, with `obs` in it, so that a frame is one question."""
        with safe_hdf5.open_hdf5(self.path) as file:
            return safe_hdf5.group(safe_hdf5.group(file, "data"), self.name, depth=2)

    @property
    def _most_rows(self) -> int:
        """Rows that a table of this demonstration can have: those of its longest part, and a state after the end."""
        actions = self._group.entries.get("actions", {}).get("shape")
        lengths = [shape[0] for shape in self.streams.values()]
        if isinstance(actions, list) and actions:
            lengths.append(int(actions[0]))
        return max(lengths, default=0) + LAG

    @property
    def _obs(self) -> safe_hdf5.Group:
        return safe_hdf5.group(self._group, "obs")

    @cached_property
    def _datasets(self) -> dict[str, safe_hdf5.Dataset]:
        """The image streams."""
        return _images(self._obs, cut=bool(self._group.complaint))

    def _frame(self, name: str, index: int) -> np.ndarray:
        if name not in self._datasets:
            raise EpisodeError(f"{self.path}: {self.name}/obs/{name}: missing")
        return safe_hdf5.frame(self._datasets[name], index)

    def _turned(self, image: np.ndarray) -> np.ndarray:
        """OpenGL keeps the lowest row first."""
        return image if self.upright else np.ascontiguousarray(image[::-1])


_NOTHING_LEFT = "no demonstration can be read: copy the file again, or export it again"


@dataclass(frozen=True, kw_only=True)
class DemoFacts:
    """What the list says of a demonstration."""

    name: str
    length: int
    succeeded: bool
    views: tuple[View, ...]
    has_depth: bool
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What a file says of all its demonstrations; `complaint` is "" unless it was cut off."""

    instruction: str
    upright: bool
    complaint: str = ""
    demos: tuple[DemoFacts, ...] = field(default=())


def read_facts(path: Path) -> FileFacts:
    """Lists the demonstrations of a file without reading an image.

    Raises:
        EpisodeError: Not a LIBERO file, or damaged.
        UnsafeFileError: Something in it leads outside, or claims more than it holds.
    """
    with safe_hdf5.open_hdf5(path) as file:
        if _is_lost(file, "data"):
            why = file.complaint or file.entries["data"].get("problem", "")
            raise EpisodeError(f"{path}: damaged or truncated, {why!s:.200}; {_NOTHING_LEFT}")
        data = safe_hdf5.group(file, "data")
        names = sorted((name for name in safe_hdf5.children(data) if _number(name) >= 0), key=_number)
        cut = bool(data.complaint)
        demos = tuple(facts for name in names if (facts := _facts_of(data, name, cut=cut)) is not None)
        if cut and not demos:
            raise EpisodeError(f"{path}: damaged or truncated, {data.complaint}; {_NOTHING_LEFT}")
        complaint = f"{data.complaint}; {len(demos)} of {len(names)} demonstrations can be read" if cut else ""
        upright = _text(data, "macros_image_convention") == "opencv"
        return FileFacts(instruction=_instruction(data), upright=upright, complaint=complaint, demos=demos)


def has_demos(path: Path) -> bool:
    """Whether an HDF5 file has the groups of a LIBERO one, or lost what would tell; never raises."""
    try:
        with safe_hdf5.open_hdf5(path) as file:
            if _is_lost(file, "data"):
                return True
            data = safe_hdf5.group(file, "data")
            first = next((name for name in safe_hdf5.children(data) if _number(name) >= 0), None)
            if first is None or _is_lost(data, first):
                return bool(data.complaint)
            return "obs" in safe_hdf5.group(data, first)
    except (WorkbenchError, OSError, RuntimeError, ValueError, KeyError, ImportError):
        return False


def _is_lost(parent: safe_hdf5.Group, name: str) -> bool:
    """Whether what lies under a name is damaged, or was never reached before the file was cut off."""
    kind = parent.entries[name].get("kind") if name in parent else None
    return kind == "damaged" or (kind is None and bool(parent.complaint))


def _facts_of(data: safe_hdf5.Group, name: str, *, cut: bool) -> DemoFacts | None:
    """What is known of a demonstration; None where the file was cut off before anything of it that can be shown."""
    try:
        facts = _facts(safe_hdf5.group(data, name, depth=2), name, cut=cut)
    except EpisodeError:
        if not cut:
            raise
        return None
    return facts if (facts.length and facts.views) or not cut else None


def _images(obs: safe_hdf5.Group, *, cut: bool) -> dict[str, safe_hdf5.Dataset]:
    """The image streams that are there; of a file that was cut off, those of which something is left."""
    found: dict[str, safe_hdf5.Dataset] = {}
    for name in (*RGB.values(), *DEPTH.values()):
        if name in obs and not (cut and obs.entries[name].get("kind") == "damaged"):
            dataset = safe_hdf5.numbers_dataset(obs, name)
            if dataset.rows or not cut:
                found[name] = dataset
    return found


def _facts(demo: safe_hdf5.Group, name: str, *, cut: bool) -> DemoFacts:
    there = _images(safe_hdf5.group(demo, "obs"), cut=cut)
    lengths = {entry: dataset.rows for entry, dataset in there.items()}
    if "actions" in demo:
        lengths["actions"] = safe_hdf5.numbers_dataset(demo, "actions").rows
    views: tuple[View, ...] = tuple(view for view, entry in RGB.items() if entry in there)
    length = max(min(lengths.values(), default=0) - LAG, 0)
    uneven = ", ".join(f"{entry} {count}" for entry, count in lengths.items())
    problem = f"ends at step {length}: its parts have different lengths ({uneven})"
    dones = _rows(demo, "dones")
    return DemoFacts(
        name=name,
        length=length,
        succeeded=dones is not None and len(dones) > 0 and bool(dones[-1, 0]),
        views=views,
        has_depth=any(DEPTH[view] in there for view in views),
        problem=problem if len(set(lengths.values())) > 1 else None,
    )


def _rows(parent: safe_hdf5.Group, name: str) -> np.ndarray | None:
    """A small table of numbers, one row a step; None for anything else."""
    entry = parent.entries.get(name, {})
    shape = entry.get("shape")
    if entry.get("kind") != "dataset" or not entry.get("numbers") or not isinstance(shape, list):
        return None  # a link too: nobody asked for what it leads to
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] > _MAX_ROWS_WIDTH):
        return None
    rows = safe_hdf5.array(parent, name, cut=True)
    return rows[:, None] if rows.ndim == 1 else rows


def _state(features: dict[str, np.ndarray]) -> Float[np.ndarray, "t 8"] | None:
    pose, fingers = features.get("obs/ee_states"), features.get("obs/gripper_states")
    if pose is None and {"obs/ee_pos", "obs/ee_ori"} <= features.keys():
        pose = np.concatenate([features["obs/ee_pos"], features["obs/ee_ori"]], 1)
    if pose is None or fingers is None or pose.shape[1] != 6 or fingers.shape[1] != 2:
        return None
    opening = np.clip((fingers[:, :1] - fingers[:, 1:]) / FINGER_SPAN, 0, 1)
    return np.concatenate([pose[:, :3], quaternion(from_axis_angle(pose[:, 3:])), opening], 1)


def _action(features: dict[str, np.ndarray]) -> Float[np.ndarray, "t 7"] | None:
    actions = features.get("actions")
    if actions is None or actions.shape[1] != 7:
        return None
    return np.concatenate([actions[:, :6], (1 - np.clip(actions[:, 6:], -1, 1)) / 2], 1)


def _instruction(data: safe_hdf5.Group) -> str:
    """From the problem's description, else from the task's own text."""
    try:
        problem: Any = json.loads(_text(data, "problem_info") or "{}")
    except (ValueError, RecursionError):
        problem = {}
    spoken = problem.get("language_instruction") if isinstance(problem, dict) else None
    if isinstance(spoken, list):
        spoken = "".join(part for part in spoken if isinstance(part, str))
    if not isinstance(spoken, str) or not spoken.strip():
        match = _LANGUAGE.search(_text(data, "bddl_file_content"))
        spoken = match[1] if match else ""
    return spoken.strip().strip('"').strip()[:500].encode("utf-8", "replace").decode()


def _text(parent: safe_hdf5.Group, name: str) -> str:
    try:
        return safe_hdf5.text(parent, name)
    except EpisodeError:
        return ""


def _number(name: str) -> int:
    """The number of a demonstration, -1 for what is none."""
    number = name.removeprefix("demo_")
    is_demo = name.startswith("demo_") and number.isascii() and number.isdigit() and len(number) < 10
    return int(number) if is_demo else -1

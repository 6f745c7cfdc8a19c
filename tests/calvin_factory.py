"""A CALVIN split of the exact scene, written here by hand in CALVIN's layout: no code of the project's writer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.factories import make_recording
from trainer.episodes.recording import Recording

FIRST_STEP = 358482
FAR = {"static": 10.0, "gripper": 2.0}
EYE, TARGET = (0.9, 0.1, 0.7), (0.0, 0.0, 0.05)  # of the exact scene's static camera


def calvin_numbers(length: int, seed: int = 0) -> dict[str, np.ndarray]:
    """robot_obs, scene_obs, actions, rel_actions (t, n) of a tool that wanders and turns, as CALVIN relates them."""
    rng = np.random.default_rng(seed)
    robot = np.zeros((length + 1, 15))
    robot[:, :3] = np.cumsum(rng.uniform(-0.015, 0.015, (length + 1, 3)), 0)
    robot[:, 3:6] = np.array([3.1, -0.05, 1.5]) + np.cumsum(rng.uniform(-0.04, 0.04, (length + 1, 3)), 0)
    robot[:, 6] = rng.uniform(0, 0.08, length + 1)
    robot[:, 7:14] = rng.normal(size=(length + 1, 7))
    robot[:, 14] = np.where(np.arange(length + 1) < length // 2, 1, -1)
    delta = np.diff(robot[:, :6], axis=0)
    gripper = robot[:-1, 14:]
    return {
        "robot_obs": robot[:-1],
        "scene_obs": rng.normal(size=(length, 24)),
        "actions": np.concatenate([robot[1:, :6], gripper], 1),
        "rel_actions": np.concatenate([delta[:, :3] / 0.02, delta[:, 3:] / 0.05, gripper], 1),
    }


def calvin_config(recording: Recording) -> str:
    """The part of merged_config.yaml that describes the cameras, with one of Hydra's references as in the real file."""
    lines = ["cameras:"]
    for name, view in (("static", "static"), ("gripper", "wrist")):
        K, (_, height, width, _) = recording.views[view].K, recording.views[view].rgb.shape  # type: ignore[index]
        assert K is not None
        lines += [f"  {name}:", f"    name: {name}", f"    fov: {np.degrees(2 * np.arctan(height / 2 / K[1, 1]))}"]
        lines += [f"    aspect: {width / height}", "    nearval: 0.01", f"    farval: {FAR[name]}"]
        if name == "static":
            for key, vector in (("look_at", TARGET), ("look_from", EYE), ("up_vector", (0, 0, 1))):
                lines += [f"    {key}:", *(f"    - {value}" for value in vector)]
    return "\n".join([*lines, "env:", "  cameras: ${cameras}", ""])


def write_calvin_split(
    folder: Path,
    *,
    length: int = 12,
    windows: tuple[tuple[int, int], ...] = ((2, 9),),
    size: tuple[int, int] = (24, 32),
) -> Recording:
    """Writes one recording of `length` steps with language windows (first and last step, counted from its start)."""
    recording = make_recording(length=length, frame_stride=1, size=size)
    numbers = calvin_numbers(length)
    folder.mkdir(parents=True)
    for step in range(length):
        np.savez_compressed(folder / f"episode_{FIRST_STEP + step:07d}.npz", **calvin_step(recording, numbers, step))
    np.save(folder / "ep_start_end_ids.npy", np.array([[FIRST_STEP, FIRST_STEP + length - 1]]))
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "merged_config.yaml").write_text(calvin_config(recording))
    sentences = [f"move the box {number}" for number in range(len(windows))]
    bounds = [(FIRST_STEP + first, FIRST_STEP + last) for first, last in windows]
    write_language(folder, bounds, sentences, ["move_box"] * len(windows))
    return recording


def write_language(
    split: Path, windows: Sequence[tuple[int, int]], sentences: Sequence[str], tasks: Sequence[str]
) -> None:
    """Writes auto_lang_ann.npy: windows by first and last step, CALVIN's numbering."""
    language: dict[str, Any] = {
        "language": {
            "ann": list(sentences),
            "task": list(tasks),
            "emb": np.zeros((len(windows), 1, 384), np.float32),
        },
        "info": {"episodes": [], "indx": list(windows)},
    }
    (split / "lang_annotations").mkdir()
    np.save(split / "lang_annotations" / "auto_lang_ann.npy", language)  # type: ignore[arg-type]


def calvin_step(recording: Recording, numbers: dict[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    """What the file of one step holds."""
    arrays = {name: values[step] for name, values in numbers.items()}
    for name, view in (("static", "static"), ("gripper", "wrist")):
        streams = recording.views[view]  # type: ignore[index]
        assert streams.depth is not None
        arrays[f"rgb_{name}"] = streams.rgb[step]
        arrays[f"depth_{name}"] = np.nan_to_num(streams.depth[step], nan=FAR[name]).astype(np.float32)
    arrays["rgb_tactile"] = np.full((16, 12, 6), step, np.uint8)
    return arrays

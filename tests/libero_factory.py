"""A LIBERO HDF5 file of the exact scene, written here by hand in LIBERO's layout: no code of the project's writer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.factories import make_recording
from trainer.episodes.recording import Recording

NEAR, FAR = 0.01, 50.0  # of the renderer, metres: znear and zfar times the extent below
EXTENT = 5.0


def model_text(recording: Recording, *, extent: bool = True) -> str:
    """The cameras of the scene as a MuJoCo model; agentview stands in the world, the other hangs on a body."""
    T, K = recording.views["static"].T_world_camera, recording.views["static"].K
    assert T is not None
    assert K is not None
    R = T[0, :3, :3] @ np.diag([1, -1, -1])
    w = np.sqrt(1 + np.trace(R)) / 2
    quat = [w, (R[2, 1] - R[1, 2]) / 4 / w, (R[0, 2] - R[2, 0]) / 4 / w, (R[1, 0] - R[0, 1]) / 4 / w]
    height = recording.views["static"].rgb.shape[1]
    fovy = np.degrees(2 * np.arctan(height / 2 / K[1, 1]))
    numbers = [" ".join(map(str, values)) for values in (T[0, :3, 3], quat)]
    statistic = f'<statistic extent="{EXTENT}"/>' if extent else ""
    return (
        f'<mujoco>{statistic}<visual><map znear="{NEAR / EXTENT}" zfar="{FAR / EXTENT}"/></visual><worldbody>'
        f'<camera mode="fixed" name="agentview" pos="{numbers[0]}" quat="{numbers[1]}" fovy="{fovy}"/>'
        '<body name="hand"><camera name="robot0_eye_in_hand" pos="0.05 0 0" fovy="75"/></body></worldbody></mujoco>'
    )


def write_libero_file(path: Path, *, length: int = 8, demos: int = 2, extent: bool = True) -> list[Recording]:
    """Writes `demos` demonstrations; observation i is frame i of its recording, and action i came before it."""
    import h5py

    recordings = [make_recording(length=length, frame_stride=1, size=(32, 32), seed=seed) for seed in range(demos)]
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["macros_image_convention"] = "opengl"
        data.attrs["problem_info"] = json.dumps({"problem_name": "p", "language_instruction": "put the box down"})
        data.attrs["bddl_file_content"] = "(define (problem p) (:language Lift the box) )"
        for index, recording in enumerate(recordings):
            fill_demo(data.create_group(f"demo_{index}"), recording, extent=extent)
    return recordings


def fill_demo(demo: Any, recording: Recording, *, extent: bool) -> None:
    """One demonstration: numbers as LIBERO names them."""
    length = len(recording.frame_steps)
    rng = np.random.default_rng(length)
    obs = demo.create_group("obs")
    for name, view in (("agentview", "static"), ("eye_in_hand", "wrist")):
        streams = recording.views[view]  # type: ignore[index]
        assert streams.depth is not None
        obs.create_dataset(f"{name}_rgb", data=streams.rgb[:, ::-1], compression="gzip")
        z = np.nan_to_num(streams.depth.astype(np.float64), nan=FAR)
        buffer = (1 / NEAR - 1 / z) / (1 / NEAR - 1 / FAR)
        obs.create_dataset(f"{name}_depth", data=buffer[:, ::-1, :, None].astype(np.float32))
    obs["ee_states"] = np.concatenate([rng.normal(size=(length, 3)), rng.uniform(-1, 1, (length, 3))], 1)
    obs["gripper_states"] = np.linspace(0, 0.04, length)[:, None] * [1, -1]
    obs["joint_states"] = rng.normal(size=(length, 7))
    actions = rng.uniform(-1, 1, (length, 7))
    actions[:, 6] = np.where(np.arange(length) < length // 2, -1, 1)
    demo["actions"], demo["states"] = actions, rng.normal(size=(length, 20))
    done = (np.arange(length) == length - 1).astype(np.uint8)
    demo["dones"], demo["rewards"] = done, done
    demo.attrs["num_samples"] = length
    demo.attrs["model_file"] = model_text(recording, extent=extent)

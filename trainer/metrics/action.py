"""Errors of an action chunk in physical units, averaged over the steps of the chunk that exist.

An action is a translation, an axis-angle rotation (both in units of `ActionSpace`) and the gripper, 0 shut .. 1 open.
Baselines: hold-still commands no motion and repeats the gripper command of the step before; dataset mean commands the
mean action of the training episodes at every step.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from model.config import Statistics
from trainer.episodes.episode import ActionSpace


def action_errors(
    predicted: Float[np.ndarray, "k 7"], true: Float[np.ndarray, "k 7"], space: ActionSpace
) -> dict[str, float]:
    """Compares two chunks. Rows of `true` that are NaN lie beyond the end of the episode and do not count.

    `predicted[:, 6]` is the probability that the gripper is told to open.

    Returns:
        `translation_mm`, distance between the commanded translations; `rotation_deg`, angle between the commanded
        rotations; `gripper_accuracy`, share of steps with the command on the right side of 0.5. All NaN when no step of
        the chunk exists.
    """
    exists = np.isfinite(true).all(axis=-1)
    if not exists.any():
        return {"translation_mm": np.nan, "rotation_deg": np.nan, "gripper_accuracy": np.nan}
    guess, truth = predicted[exists].astype(np.float64), true[exists].astype(np.float64)
    translation = np.linalg.norm(guess[:, :3] - truth[:, :3], axis=-1) * space.metres_per_unit * 1000.0
    rotation = rotation_between_deg(guess[:, 3:6] * space.radians_per_unit, truth[:, 3:6] * space.radians_per_unit)
    return {
        "translation_mm": float(translation.mean()),
        "rotation_deg": float(rotation.mean()),
        "gripper_accuracy": float(np.mean((guess[:, 6] > 0.5) == (truth[:, 6] > 0.5))),
    }


def in_units_of(chunk: Float[np.ndarray, "k 7"], stats: Statistics, space: ActionSpace) -> Float[np.ndarray, "k 7"]:
    """A chunk in the units of a policy's training data, as entries of another episode's action space."""
    move, turn = (
        stats.action_metres_per_unit / space.metres_per_unit,
        stats.action_radians_per_unit / space.radians_per_unit,
    )
    return chunk * np.array([move] * 3 + [turn] * 3 + [1.0])


def hold_still(gripper: float, chunk_size: int) -> Float[np.ndarray, "k 7"]:
    """The baseline that does nothing: zero motion, the gripper command left at `gripper` (0 shut .. 1 open)."""
    chunk = np.zeros((chunk_size, 7))
    chunk[:, 6] = gripper
    return chunk


def rotation_between_deg(a: Float[np.ndarray, "k 3"], b: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, " k"]:
    """Angle in degrees of the rotation that takes `a` to `b`, both axis-angle in radians."""
    real = np.sum(_quaternion(a) * _quaternion(b), axis=-1)
    return np.degrees(2.0 * np.arccos(np.clip(np.abs(real), 0.0, 1.0)))


def _quaternion(axis_angle: Float[np.ndarray, "k 3"]) -> Float[np.ndarray, "k 4"]:
    angle = np.linalg.norm(axis_angle, axis=-1, keepdims=True)
    # sinc keeps the axis finite at angle 0.
    return np.concatenate([np.cos(angle / 2), axis_angle * np.sinc(angle / (2 * np.pi)) / 2], axis=-1)

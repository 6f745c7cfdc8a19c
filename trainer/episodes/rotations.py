"""Rotations in the forms that formats use. Quaternions wxyz, angles in radians, matrices act on columns."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def rotation_matrix(wxyz: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 3 3"]:
    """Quaternions to matrices; the length does not matter."""
    w, x, y, z = np.moveaxis(wxyz / np.linalg.norm(wxyz, axis=-1, keepdims=True), -1, 0)
    entries = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in entries], -2)


def quaternion(R: Float[np.ndarray, "*n 3 3"]) -> Float[np.ndarray, "*n 4"]:
    """Matrices to unit quaternions with w >= 0, by the largest of the four candidates (Shepperd's method)."""
    m = np.moveaxis(R, (-2, -1), (0, 1))
    w = np.stack([1 + m[0, 0] + m[1, 1] + m[2, 2], m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]], -1)
    x = np.stack([w[..., 1], 1 + m[0, 0] - m[1, 1] - m[2, 2], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0]], -1)
    y = np.stack([w[..., 2], x[..., 2], 1 - m[0, 0] + m[1, 1] - m[2, 2], m[1, 2] + m[2, 1]], -1)
    z = np.stack([w[..., 3], x[..., 3], y[..., 3], 1 - m[0, 0] - m[1, 1] + m[2, 2]], -1)
    candidates = np.stack([w, x, y, z], -2)
    best = np.argmax(np.diagonal(candidates, axis1=-2, axis2=-1), axis=-1)
    chosen = np.take_along_axis(candidates, best[..., None, None], axis=-2)[..., 0, :]
    chosen = chosen / np.linalg.norm(chosen, axis=-1, keepdims=True)
    return np.where(chosen[..., :1] < 0, -chosen, chosen)


def euler_xyz(R: Float[np.ndarray, "*n 3 3"]) -> Float[np.ndarray, "*n 3"]:
    """Angles (a, b, c) with R = Rz(c) Ry(b) Rx(a); b lies within a quarter turn."""
    b = np.arcsin(np.clip(-R[..., 2, 0], -1, 1))
    a = np.arctan2(R[..., 2, 1], R[..., 2, 2])
    c = np.arctan2(R[..., 1, 0], R[..., 0, 0])
    return np.stack([a, b, c], -1)


def from_euler_xyz(angles: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3 3"]:
    """Inverse of `euler_xyz`: Rz(c) Ry(b) Rx(a), the convention of PyBullet and URDF (roll, pitch, yaw)."""
    (sa, sb, sc), (ca, cb, cc) = (np.moveaxis(f(angles), -1, 0) for f in (np.sin, np.cos))
    rows = [
        [cc * cb, cc * sb * sa - sc * ca, cc * sb * ca + sc * sa],
        [sc * cb, sc * sb * sa + cc * ca, sc * sb * ca - cc * sa],
        [-sb, cb * sa, cb * ca],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def axis_angle(R: Float[np.ndarray, "*n 3 3"]) -> Float[np.ndarray, "*n 3"]:
    """Matrices to axis times angle, the angle within half a turn."""
    wxyz = quaternion(R)
    sine = np.linalg.norm(wxyz[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, wxyz[..., :1])
    return wxyz[..., 1:] * np.where(sine > 1e-12, angle / np.maximum(sine, 1e-12), 2.0)


def from_axis_angle(vector: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3 3"]:
    """Axis times angle to matrices."""
    half = np.linalg.norm(vector, axis=-1, keepdims=True) / 2
    # sinc keeps the axis finite at angle 0
    return rotation_matrix(np.concatenate([np.cos(half), vector * np.sinc(half / np.pi) / 2], -1))

"""Cameras and rigid motion, in float32 or float64 whatever autocast says (in bfloat16 a pixel is off by one).

Pixels are continuous, u right and v down; the centre of pixel (0, 0) is (0.5, 0.5), so x = (u - cx) z / fx with
u = column + 0.5. Depth is z along the optical axis in metres. `T_a_b` maps points in frame b to frame a. Rotations are
radians. Leading dimensions broadcast.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

import torch
from jaxtyping import Float
from torch import Tensor

P = ParamSpec("P")
_NEAREST = 1e-3  # metres


def _full_precision(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Runs a function outside autocast, half-precision arguments raised to float32."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        def raised(value: object) -> object:
            if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
                return value.float()
            return value

        device = next((a.device.type for a in (*args, *kwargs.values()) if isinstance(a, Tensor)), "cpu")
        with torch.autocast(device, enabled=False):
            return function(
                *(raised(a) for a in args),  # pyright: ignore[reportCallIssue]
                **{key: raised(value) for key, value in kwargs.items()},  # pyright: ignore[reportCallIssue]
            )

    return wrapped


@_full_precision
def unproject(uvz: Float[Tensor, "*#n 3"], K: Float[Tensor, "*#n 3 3"]) -> Float[Tensor, "... 3"]:
    """Pixels and depth to camera points in metres. `K` needs as many dimensions as the points, or size 1 there."""
    z = uvz[..., 2]
    x = (uvz[..., 0] - K[..., 0, 2]) * z / K[..., 0, 0]
    y = (uvz[..., 1] - K[..., 1, 2]) * z / K[..., 1, 1]
    return torch.stack([x, y, z], -1)


@_full_precision
def project(points: Float[Tensor, "*#n 3"], K: Float[Tensor, "*#n 3 3"]) -> Float[Tensor, "... 3"]:
    """Camera points to (u, v, z). A point at or behind the camera (z <= 0) gets NaN pixels."""
    z = points[..., 2]
    safe = torch.where(z > 0, z, torch.nan)
    u = K[..., 0, 0] * points[..., 0] / safe + K[..., 0, 2]
    v = K[..., 1, 1] * points[..., 1] / safe + K[..., 1, 2]
    return torch.stack([u, v, z], -1)


@_full_precision
def invert(T: Float[Tensor, "*#n 4 4"]) -> Float[Tensor, "... 4 4"]:
    """The inverse of a rigid transform: its rotation is transposed, never inverted numerically."""
    R = T[..., :3, :3].transpose(-1, -2)
    return rigid(R, -(R @ T[..., :3, 3:])[..., 0])


@_full_precision
def rigid(R: Float[Tensor, "*#n 3 3"], t: Float[Tensor, "*#n 3"]) -> Float[Tensor, "... 4 4"]:
    """Rotation and translation as one 4 x 4 transform."""
    top = torch.cat([R, t[..., None]], -1)
    bottom = torch.zeros_like(top[..., :1, :])
    bottom[..., 3] = 1
    return torch.cat([top, bottom], -2)


@_full_precision
def matrix_to_euler(R: Float[Tensor, "*#n 3 3"]) -> Float[Tensor, "... 3"]:
    """Angles in (-pi, pi] about fixed x, y, z, y within +-pi/2. At gimbal lock x is 0 and z takes the rest."""
    cos_y = torch.hypot(R[..., 0, 0], R[..., 1, 0])
    locked = cos_y < 8 * torch.finfo(R.dtype).eps ** 0.5
    x = torch.where(locked, torch.zeros_like(cos_y), torch.atan2(R[..., 2, 1], R[..., 2, 2]))
    y = torch.atan2(-R[..., 2, 0], cos_y)
    z = torch.where(locked, torch.atan2(-R[..., 0, 1], R[..., 1, 1]), torch.atan2(R[..., 1, 0], R[..., 0, 0]))
    return torch.stack([x, y, z], -1)


@_full_precision
def flow_in_camera(
    start: Float[Tensor, "b a p 3"], delta: Float[Tensor, "b a p l 3"], K: Float[Tensor, "b f 3 3"]
) -> Float[Tensor, "b a p l 3"]:
    """Displacements in the image and in depth as metres along the camera's axes.

    Args:
        start: x, y as fractions of the image side, then depth in metres; as many points of each view, view by view.
        delta: What is added to them after each flow step.
        K: Intrinsics of each view (f), image width and height being 1.
    """
    each = _of_points(K, start.shape[2])
    return unproject(start[..., None, :] + delta, each[..., None, :, :]) - unproject(start, each)[..., None, :]


@_full_precision
def flow_in_image(
    start: Float[Tensor, "b a p 3"], moved: Float[Tensor, "b a p l 3"], K: Float[Tensor, "b f 3 3"]
) -> Float[Tensor, "b a p l 3"]:
    """The inverse of `flow_in_camera`; what would end at or behind the camera ends a millimetre before it."""
    each = _of_points(K, start.shape[2])
    end = unproject(start, each)[..., None, :] + moved
    end = torch.cat([end[..., :2], end[..., 2:].clamp(min=_NEAREST)], -1)
    return project(end, each[..., None, :, :]) - start[..., None, :]


def _of_points(K: Float[Tensor, "b f 3 3"], count: int) -> Float[Tensor, "b 1 p 3 3"]:
    return K.repeat_interleave(count // K.shape[1], 1)[:, None]

"""Cameras and rigid motion, in float32 or float64 whatever autocast says (in bfloat16 a pixel is off by one).

Pixels are continuous, u right and v down; the centre of pixel (0, 0) is (0.5, 0.5), so x = (u - cx) z / fx with
u = column + 0.5. Depth is z along the optical axis in metres. `T_a_b` maps points in frame b to frame a. Quaternions
are wxyz, rotations radians. Leading dimensions broadcast.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec

import torch
from jaxtyping import Float
from torch import Tensor

P = ParamSpec("P")


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


def pixel_centres(height: int, width: int, *, device: torch.device | str | None = None) -> Float[Tensor, "h w 2"]:
    """(u, v) of every pixel centre, float32."""
    v, u = torch.meshgrid(
        torch.arange(height, device=device) + 0.5, torch.arange(width, device=device) + 0.5, indexing="ij"
    )
    return torch.stack([u, v], -1)


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
def transform(T: Float[Tensor, "*#n 4 4"], points: Float[Tensor, "*#n 3"]) -> Float[Tensor, "... 3"]:
    """Points moved by a rigid transform."""
    return (T[..., :3, :3] @ points[..., None])[..., 0] + T[..., :3, 3]


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
def quaternion_to_matrix(wxyz: Float[Tensor, "*#n 4"]) -> Float[Tensor, "... 3 3"]:
    """Rotation of a quaternion of any length but zero."""
    w, x, y, z = (wxyz / wxyz.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], -1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1),
    ]
    return torch.stack(rows, -2)


@_full_precision
def euler_to_matrix(xyz: Float[Tensor, "*#n 3"]) -> Float[Tensor, "... 3 3"]:
    """R = Rz Ry Rx: angles about the fixed axes x, then y, then z (scipy's lower-case `xyz`)."""
    (sx, sy, sz), (cx, cy, cz) = xyz.sin().unbind(-1), xyz.cos().unbind(-1)
    rows = [
        torch.stack([cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx], -1),
        torch.stack([sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx], -1),
        torch.stack([-sy, cy * sx, cy * cx], -1),
    ]
    return torch.stack(rows, -2)


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
def rigid_flow(
    uvz: Float[Tensor, "*#n 3"],
    K: Float[Tensor, "*#n 3 3"],
    T_world_camera: Float[Tensor, "*#n 4 4"],
    T_world_body: Float[Tensor, "*#n 4 4"],
    T_world_body_later: Float[Tensor, "*#n 4 4"],
    T_world_camera_later: Float[Tensor, "*#n 4 4"],
) -> Float[Tensor, "... 3"]:
    """Exact 3D flow: where a surface point (pixel and depth) on a rigid body is seen later, as (u, v, z).

    The point keeps its place on the body while body and camera move.
    """
    world = transform(T_world_camera, unproject(uvz, K))
    world_later = transform(T_world_body_later, transform(invert(T_world_body), world))
    return project(transform(invert(T_world_camera_later), world_later), K)

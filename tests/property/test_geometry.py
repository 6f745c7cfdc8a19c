"""Cameras and rigid motion: round trips, group laws, and exactness under autocast."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.geometry import (
    euler_to_matrix,
    invert,
    matrix_to_euler,
    pixel_centres,
    project,
    quaternion_to_matrix,
    rigid,
    rigid_flow,
    transform,
    unproject,
)

SEEDS = st.integers(0, 2**31 - 1)
DTYPES = st.sampled_from([torch.float32, torch.float64])
many = settings(max_examples=40, deadline=None)


def _camera(rng: torch.Generator, dtype: torch.dtype) -> Tensor:
    f = 50 + 500 * torch.rand(2, generator=rng, dtype=torch.float64)
    c = 64 + 20 * torch.rand(2, generator=rng, dtype=torch.float64)
    K = torch.tensor([[f[0], 0, c[0]], [0, f[1], c[1]], [0, 0, 1.0]], dtype=torch.float64)
    return K.to(dtype)


def _pose(rng: torch.Generator, dtype: torch.dtype, *shape: int) -> Tensor:
    q = torch.randn(*shape, 4, generator=rng, dtype=torch.float64)
    t = torch.randn(*shape, 3, generator=rng, dtype=torch.float64)
    return rigid(quaternion_to_matrix(q), t).to(dtype)


def _pixels(rng: torch.Generator, dtype: torch.dtype, count: int = 50) -> Tensor:
    uv = 128 * torch.rand(count, 2, generator=rng, dtype=torch.float64)
    z = 0.1 + 4 * torch.rand(count, 1, generator=rng, dtype=torch.float64)
    return torch.cat([uv, z], 1).to(dtype)


@many
@given(SEEDS, DTYPES)
def test_project_undoes_unproject(seed: int, dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(seed)
    uvz, K = _pixels(rng, dtype), _camera(rng, dtype)
    again = project(unproject(uvz, K), K)
    assert again.dtype == dtype
    assert (again - uvz).abs().max() <= (1e-3 if dtype == torch.float32 else 1e-9)


@many
@given(SEEDS)
def test_camera_moved_with_the_body_sees_no_flow(seed: int) -> None:
    """If camera and body move by the same rigid motion, the point stays where it was in the image."""
    rng = torch.Generator().manual_seed(seed)
    uvz, K = _pixels(rng, torch.float64), _camera(rng, torch.float64)
    camera, body, motion = (_pose(rng, torch.float64) for _ in range(3))
    seen = rigid_flow(uvz, K, camera, body, motion @ body, motion @ camera)
    assert torch.allclose(seen, uvz, atol=1e-7)


@many
@given(SEEDS)
def test_flow_composes_over_time(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    K = _camera(rng, torch.float64)
    camera, body0 = _pose(rng, torch.float64), _pose(rng, torch.float64)
    steps = [0.02 * torch.randn(3, generator=rng, dtype=torch.float64) for _ in range(2)]
    body1, body2 = body0.clone(), body0.clone()
    body1[:3, 3] += steps[0]
    body2[:3, 3] += steps[0] + steps[1]
    uvz = _pixels(rng, torch.float64)
    uvz[:, 2] += 1
    once = rigid_flow(uvz, K, camera, body0, body2, camera)
    twice = rigid_flow(rigid_flow(uvz, K, camera, body0, body1, camera), K, camera, body1, body2, camera)
    assert torch.allclose(once, twice, atol=1e-7)


@many
@given(SEEDS, DTYPES)
def test_rigid_transforms_form_a_group(seed: int, dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(seed)
    a, b, c = (_pose(rng, dtype, 4) for _ in range(3))
    points = torch.randn(4, 3, generator=rng, dtype=torch.float64).to(dtype)
    eps = 2e-5 if dtype == torch.float32 else 1e-12
    identity = torch.eye(4, dtype=dtype).expand(4, 4, 4)
    assert torch.allclose(a @ invert(a), identity, atol=eps)
    assert torch.allclose(invert(invert(a)), a, atol=eps)
    assert torch.allclose(invert(a @ b), invert(b) @ invert(a), atol=eps)
    assert torch.allclose(transform(a @ b, points), transform(a, transform(b, points)), atol=eps)
    assert torch.allclose((a @ b) @ c, a @ (b @ c), atol=eps)
    distance = (transform(a, points) - transform(a, points.flip(0))).norm(dim=-1)
    assert torch.allclose(distance, (points - points.flip(0)).norm(dim=-1), atol=10 * eps)


@many
@given(SEEDS)
def test_euler_angles_and_matrices_agree(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    angles = (torch.rand(20, 3, generator=rng, dtype=torch.float64) - 0.5) * torch.tensor([2, 0.98, 2]) * math.pi
    assert torch.allclose(matrix_to_euler(euler_to_matrix(angles)), angles, atol=1e-9)
    R = quaternion_to_matrix(torch.randn(20, 4, generator=rng, dtype=torch.float64))
    assert torch.allclose(euler_to_matrix(matrix_to_euler(R)), R, atol=1e-9)
    assert torch.allclose(torch.linalg.det(R), torch.ones(20, dtype=torch.float64))


def test_euler_order_is_fixed_x_then_y_then_z() -> None:
    quarter = math.pi / 2
    x_then_z = euler_to_matrix(torch.tensor([quarter, 0.0, quarter]))
    y_axis = x_then_z @ torch.tensor([0.0, 1.0, 0.0])
    assert torch.allclose(y_axis, torch.tensor([0.0, 0.0, 1.0]), atol=1e-6)  # y -> z by the turn about x; z stays


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_gimbal_lock_still_gives_the_rotation(sign: float) -> None:
    R = euler_to_matrix(torch.tensor([0.3, sign * math.pi / 2, -0.4], dtype=torch.float64))
    assert torch.allclose(euler_to_matrix(matrix_to_euler(R)), R, atol=1e-6)


def test_pixel_centres_and_the_half_pixel() -> None:
    grid = pixel_centres(2, 3)
    assert grid.shape == (2, 3, 2)
    assert grid[0, 0].tolist() == [0.5, 0.5]
    assert grid[1, 2].tolist() == [2.5, 1.5]
    K = torch.tensor([[10.0, 0, 1.5], [0, 20.0, 1.0], [0, 0, 1]])
    assert unproject(torch.tensor([2.5, 1.5, 2.0]), K).tolist() == pytest.approx([0.2, 0.05, 2.0])


def test_points_behind_the_camera_have_no_pixel() -> None:
    K = torch.eye(3)
    seen = project(torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), K)
    assert seen[:2, :2].isnan().all()
    assert seen[2].tolist() == [1.0, 1.0, 1.0]


def test_autocast_does_not_reach_geometry() -> None:
    rng = torch.Generator().manual_seed(0)
    K, body, later = _camera(rng, torch.float32), _pose(rng, torch.float32), _pose(rng, torch.float32)
    later[:3, 3] = body[:3, 3] + 0.01
    uvz = _pixels(rng, torch.float32)
    plain = rigid_flow(uvz, K, torch.eye(4), body, later, torch.eye(4))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(rigid_flow(uvz, K, torch.eye(4), body, later, torch.eye(4)).nan_to_num(), plain.nan_to_num())
        assert project(unproject(uvz.bfloat16(), K), K).dtype == torch.float32


def test_gradients_are_right() -> None:
    rng = torch.Generator().manual_seed(0)
    K, camera, body = _camera(rng, torch.float64), _pose(rng, torch.float64), _pose(rng, torch.float64)
    later = body.clone()
    later[:3, 3] += 0.05
    uvz = _pixels(rng, torch.float64, 4)
    uvz[:, 2] += 1
    uvz.requires_grad_()
    torch.autograd.gradcheck(lambda x: unproject(x, K), (uvz,))
    torch.autograd.gradcheck(lambda x: project(unproject(x, K), K), (uvz,))
    torch.autograd.gradcheck(lambda x: rigid_flow(x, K, camera, body, later, camera), (uvz,))
    angles = torch.randn(3, 3, generator=rng, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x: matrix_to_euler(euler_to_matrix(0.3 * x)), (angles,))
    quaternion = torch.randn(3, 4, generator=rng, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(quaternion_to_matrix, (quaternion,))

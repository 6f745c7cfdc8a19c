"""Cameras and rigid motion: round trips, group laws, and exactness under autocast.

The rotations that are compared with come from `trainer.episodes.rotations`, which numpy computes by itself.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.geometry import flow_in_camera, flow_in_image, invert, matrix_to_euler, project, rigid, unproject
from trainer.episodes.rotations import from_euler_xyz, rotation_matrix

SEEDS = st.integers(0, 2**31 - 1)
DTYPES = st.sampled_from([torch.float32, torch.float64])
many = settings(max_examples=40, deadline=None)


def _camera(rng: torch.Generator, dtype: torch.dtype) -> Tensor:
    f = 50 + 500 * torch.rand(2, generator=rng, dtype=torch.float64)
    c = 64 + 20 * torch.rand(2, generator=rng, dtype=torch.float64)
    K = torch.tensor([[f[0], 0, c[0]], [0, f[1], c[1]], [0, 0, 1.0]], dtype=torch.float64)
    return K.to(dtype)


def _rotation(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rotation_matrix(torch.randn(*shape, 4, generator=rng, dtype=torch.float64).numpy()))


def _pose(rng: torch.Generator, dtype: torch.dtype, *shape: int) -> Tensor:
    return rigid(_rotation(rng, *shape), torch.randn(*shape, 3, generator=rng, dtype=torch.float64)).to(dtype)


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


def _flow_case(rng: torch.Generator, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Start points of two views in image fractions, where they go, and both cameras."""
    cameras = torch.stack([_camera(rng, torch.float64) / torch.tensor([[128.0], [128.0], [1.0]]) for _ in range(2)])
    start = torch.rand(2, 3, 10, 3, generator=rng, dtype=torch.float64) + torch.tensor([0.0, 0.0, 0.3])
    delta = 0.1 * torch.randn(2, 3, 10, 4, 3, generator=rng, dtype=torch.float64)
    return start.to(dtype), delta.to(dtype), cameras.expand(2, -1, -1, -1).to(dtype)


@many
@given(SEEDS, DTYPES)
def test_flow_in_the_image_undoes_flow_in_the_camera(seed: int, dtype: torch.dtype) -> None:
    start, delta, K = _flow_case(torch.Generator().manual_seed(seed), dtype)
    delta[..., 2].clamp_(min=-0.2)  # 10 cm before the camera at least
    again = flow_in_image(start, flow_in_camera(start, delta, K), K)
    assert (again - delta).abs().max() <= (1e-4 if dtype == torch.float32 else 1e-12)


@many
@given(SEEDS)
def test_flow_in_the_camera_is_metres_between_the_two_places_of_each_view(seed: int) -> None:
    start, delta, K = _flow_case(torch.Generator().manual_seed(seed), torch.float64)
    moved = flow_in_camera(start, delta, K)
    for point, view in ((2, 0), (7, 1)):  # half of the points belong to each view
        end = unproject(start[1, 2, point] + delta[1, 2, point, 3], K[1, view])
        assert torch.allclose(moved[1, 2, point, 3], end - unproject(start[1, 2, point], K[1, view]))


def test_a_point_that_would_pass_the_camera_stays_before_it() -> None:
    start, moved = torch.tensor([[[[0.5, 0.5, 1.0]]]]), torch.tensor([[[[[0.0, 0.0, -3.0]]]]])
    end = start[..., None, :] + flow_in_image(start, moved, torch.eye(3)[None, None])
    assert end.isfinite().all()
    assert end[..., 2].item() == pytest.approx(1e-3, rel=1e-4)


@many
@given(SEEDS, DTYPES)
def test_rigid_transforms_form_a_group(seed: int, dtype: torch.dtype) -> None:
    rng = torch.Generator().manual_seed(seed)
    a, b, c = (_pose(rng, dtype, 4) for _ in range(3))
    eps = 2e-5 if dtype == torch.float32 else 1e-12
    identity = torch.eye(4, dtype=dtype).expand(4, 4, 4)
    assert torch.allclose(a @ invert(a), identity, atol=eps)
    assert torch.allclose(invert(invert(a)), a, atol=eps)
    assert torch.allclose(invert(a @ b), invert(b) @ invert(a), atol=eps)
    assert torch.allclose((a @ b) @ c, a @ (b @ c), atol=eps)


@many
@given(SEEDS)
def test_euler_angles_and_matrices_agree(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    angles = (torch.rand(20, 3, generator=rng, dtype=torch.float64) - 0.5) * torch.tensor([2, 0.98, 2]) * math.pi
    assert torch.allclose(matrix_to_euler(_turned(angles)), angles, atol=1e-9)
    R = _rotation(rng, 20)
    assert torch.allclose(_turned(matrix_to_euler(R)), R, atol=1e-9)


def _turned(angles: Tensor) -> Tensor:
    return torch.from_numpy(from_euler_xyz(angles.numpy()))


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_gimbal_lock_still_gives_the_rotation(sign: float) -> None:
    R = _turned(torch.tensor([[0.3, sign * math.pi / 2, -0.4]], dtype=torch.float64))
    assert torch.allclose(_turned(matrix_to_euler(R)), R, atol=1e-6)


def test_the_centre_of_a_pixel_is_half_a_pixel_in() -> None:
    K = torch.tensor([[10.0, 0, 1.5], [0, 20.0, 1.0], [0, 0, 1]])
    assert unproject(torch.tensor([2.5, 1.5, 2.0]), K).tolist() == pytest.approx([0.2, 0.05, 2.0])


def test_points_behind_the_camera_have_no_pixel() -> None:
    K = torch.eye(3)
    seen = project(torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), K)
    assert seen[:2, :2].isnan().all()
    assert seen[2].tolist() == [1.0, 1.0, 1.0]


def test_autocast_does_not_reach_geometry() -> None:
    rng = torch.Generator().manual_seed(0)
    start, delta, K = _flow_case(rng, torch.float32)
    pose, plain = _pose(rng, torch.float32), flow_in_camera(start, delta, K)
    inverse = invert(pose)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(flow_in_camera(start, delta, K), plain)
        assert torch.equal(invert(pose), inverse)
        assert project(unproject(start.bfloat16(), torch.eye(3)), torch.eye(3)).dtype == torch.float32

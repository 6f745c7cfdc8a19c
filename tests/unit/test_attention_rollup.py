"""Roll-ups conserve weight: what the action puts on tokens is what arrives at points and pixels."""

from __future__ import annotations

import numpy as np
import pytest

from workbench.attention import group_mass, latents_on_pixels, nearest_point, points_on_pixels, share_out, uniform_share


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_share_out_is_the_stated_rule(rng: np.random.Generator) -> None:
    mass, given = rng.dirichlet(np.ones(3)), rng.uniform(size=(5, 3))
    by_hand = [sum(mass[j] * given[p, j] / given[:, j].sum() for j in range(3)) for p in range(5)]
    np.testing.assert_allclose(share_out(mass, given), by_hand, rtol=1e-12)
    assert share_out(mass, given).sum() == pytest.approx(mass.sum())


def test_a_token_that_nobody_attends_to_loses_no_weight() -> None:
    given = np.array([[0.2, 0.0], [0.6, 0.0]])
    np.testing.assert_allclose(share_out(np.array([0.3, 0.7]), given), [0.3 * 0.25 + 0.35, 0.3 * 0.75 + 0.35])


def test_group_mass_and_uniform_share() -> None:
    rows = np.array([[[0.1, 0.2, 0.3, 0.4]]])
    groups = {"FLOW": np.array([1, 2]), "rest": np.array([0, 3])}
    np.testing.assert_allclose(group_mass(rows, groups), [[[0.5, 0.5]]])
    allowed = np.array([True, True, False, True])
    assert uniform_share(allowed, groups["FLOW"]) == pytest.approx(1 / 3)


def test_nearest_point_agrees_with_distances(rng: np.random.Generator) -> None:
    uv = np.floor(rng.uniform((0, 0), (24, 16), (9, 2))) + 0.5
    found = nearest_point(uv, (16, 24))
    rows, columns = np.mgrid[:16, :24] + 0.5
    distance = np.hypot(columns[..., None] - uv[:, 0], rows[..., None] - uv[:, 1])
    chosen = np.take_along_axis(distance, found[..., None], axis=-1)[..., 0]
    assert (chosen <= distance.min(axis=-1) + 0.25).all()  # the transform is a 5 x 5 chamfer
    assert (found[uv[:, 1].astype(int), uv[:, 0].astype(int)] < len(uv)).all()


def test_pixels_of_points_conserve_mass_whatever_the_density(rng: np.random.Generator) -> None:
    crowd = np.array([[2.5, 2.5]] + [[12.5 + i / 8, 12.5] for i in range(8)])
    equal = np.ones((9, 1))
    even = points_on_pixels(np.array([1.0]), equal, crowd, (16, 16))
    assert even.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(even, 1 / 256)  # equal attention is even, though most points lie in one corner
    mass = np.array([0.2, 0.5])
    given = rng.uniform(size=(9, 2))
    assert points_on_pixels(mass, given, crowd, (16, 16)).sum() == pytest.approx(0.7)


def test_latents_reach_their_patch_only() -> None:
    patches = np.zeros((2, 4))
    patches[0, 1], patches[1] = 0.4, 0.1  # latent 0 looks at patch 1 (top right), latent 1 everywhere
    image = latents_on_pixels(np.array([0.6, 0.4]), patches, (4, 4))
    assert image.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(image[:2, 2:], (0.6 + 0.1) / 4)
    np.testing.assert_allclose(image[2:, :2], 0.1 / 4)


def test_a_pixel_has_the_attention_of_its_nearest_point() -> None:
    uv = np.array([[2.5, 8.5], [13.5, 8.5]])  # left and right
    image = points_on_pixels(np.array([1.0]), np.array([[0.75], [0.25]]), uv, (16, 16))
    assert image[:, :7].sum() == pytest.approx(3 * image[:, 9:].sum())
    assert image.sum() == pytest.approx(1.0)

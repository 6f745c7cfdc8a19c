"""Every metric against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainer.episodes.episode import ActionSpace
from trainer.metrics.action import action_errors, hold_still, rotation_between_deg
from trainer.metrics.catalog import BASELINE, METRICS, metric_of, skill
from trainer.metrics.depth import depth_errors
from trainer.metrics.flow import track_errors, visibility_accuracy
from trainer.metrics.image import PSNR_CEILING_DB, mean_ssim, moving_pixels, psnr_db, ssim_map
from trainer.metrics.interval import bootstrap_mean
from trainer.metrics.step import (
    action_scores,
    depth_scores,
    flow_scores,
    future_scores,
    progress_scores,
    visibility_scores,
)

SPACE = ActionSpace(metres_per_unit=0.05, radians_per_unit=0.5, frame="base")
K = np.array([[100.0, 0.0, 64.0], [0.0, 100.0, 64.0], [0.0, 0.0, 1.0]])


def test_depth_errors_of_four_pixels() -> None:
    true = np.array([[1.0, 2.0], [np.nan, 4.0]])
    predicted = np.array([[1.1, 1.0], [9.0, 4.0]])
    errors = depth_errors(predicted, true)
    assert errors["abs_rel"] == pytest.approx((0.1 + 0.5 + 0.0) / 3)
    assert errors["rmse_m"] == pytest.approx(math.sqrt((0.01 + 1.0) / 3))
    assert errors["delta1"] == pytest.approx(2 / 3)


def test_depth_errors_use_only_the_chosen_pixels_and_are_nan_without_any() -> None:
    true, predicted = np.full((2, 2), 2.0), np.array([[2.0, 3.0], [3.0, 3.0]])
    where = np.array([[True, False], [False, False]])
    assert depth_errors(predicted, true, where) == {"abs_rel": 0.0, "rmse_m": 0.0, "delta1": 1.0}
    assert all(math.isnan(value) for value in depth_errors(predicted, true, np.zeros_like(where)).values())
    assert all(math.isnan(value) for value in depth_errors(predicted, np.full((2, 2), np.nan)).values())


def test_a_negative_depth_is_never_within_a_quarter() -> None:
    assert depth_errors(np.full((1, 1), -1.0), np.full((1, 1), 1.0))["delta1"] == 0.0


def test_psnr_of_a_known_difference() -> None:
    true = np.full((4, 4, 3), 100, np.uint8)
    predicted = np.full((4, 4, 3), 151, np.uint8)  # 51 / 255 = 0.2
    assert psnr_db(predicted, true) == pytest.approx(-20 * math.log10(0.2))
    assert psnr_db(true, true) == PSNR_CEILING_DB
    assert math.isnan(psnr_db(predicted, true, np.zeros((4, 4), bool)))


def test_psnr_does_not_wrap_around_in_uint8() -> None:
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert psnr_db(black, white) == pytest.approx(0.0)


def test_ssim_of_constant_images_is_the_luminance_term() -> None:
    a, b = np.full((16, 16, 3), 51, np.uint8), np.full((16, 16, 3), 102, np.uint8)
    expected = (2 * 0.2 * 0.4 + 1e-4) / (0.2**2 + 0.4**2 + 1e-4)
    assert mean_ssim(ssim_map(a, b)) == pytest.approx(expected, rel=1e-9)


def test_ssim_is_one_for_equal_images_and_falls_with_noise() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    noisy = np.clip(image + rng.normal(0, 40, image.shape), 0, 255).astype(np.uint8)
    assert mean_ssim(ssim_map(image, image)) == pytest.approx(1.0)
    assert 0.2 < mean_ssim(ssim_map(noisy, image)) < 0.95


def ssim_at(a: np.ndarray, b: np.ndarray, row: int, column: int) -> float:
    """SSIM at one pixel, straight from its definition: weighted moments of the 11 x 11 window around it."""
    offsets = np.arange(-5, 6)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    weights /= weights.sum()
    x, y = (image[row - 5 : row + 6, column - 5 : column + 6] @ (0.299, 0.587, 0.114) / 255 for image in (a, b))
    mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
    var_x, var_y = (weights * (x - mean_x) ** 2).sum(), (weights * (y - mean_y) ** 2).sum()
    covariance = (weights * (x - mean_x) * (y - mean_y)).sum()
    return ((2 * mean_x * mean_y + 1e-4) * (2 * covariance + 9e-4)) / (
        (mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4)
    )


def test_ssim_of_all_and_of_moving_pixels_is_the_mean_of_its_definition() -> None:
    rng = np.random.default_rng(3)
    now = rng.integers(0, 256, (20, 24, 3)).astype(np.uint8)
    true = now.copy()
    true[:9, :14] = rng.integers(0, 256, (9, 14, 3))  # reaches into the border, where there is no figure
    guess = np.clip(true + rng.normal(0, 30, true.shape), 0, 255).astype(np.uint8)
    moving, inner = moving_pixels(now, true), [(row, column) for row in range(5, 15) for column in range(5, 19)]
    depth = np.ones((20, 24))
    scores = future_scores(rgb=guess, rgb_true=true, rgb_now=now, depth=depth, depth_true=None, depth_now_true=None)
    for name, image in (("", guess), (BASELINE, now)):
        everywhere = [ssim_at(image, true, *pixel) for pixel in inner]
        where = [ssim_at(image, true, *pixel) for pixel in inner if moving[pixel]]
        assert scores[f"future_rgb.ssim{name}"] == pytest.approx(np.mean(everywhere), rel=1e-9)
        assert scores[f"future_rgb.ssim_moving{name}"] == pytest.approx(np.mean(where), rel=1e-9)
    border = np.zeros((20, 24), bool)
    border[:5] = True
    assert math.isnan(mean_ssim(ssim_map(guess, true), border))


def test_moving_pixels_are_those_that_change_and_too_few_are_none() -> None:
    now = np.full((16, 16, 3), 100, np.uint8)
    future = now.copy()
    future[:4, :4, 1] = 121
    future[8, 8] = 120  # exactly the threshold: not above it
    assert moving_pixels(now, future).sum() == 16
    future[0, 0] = 100
    assert not moving_pixels(now, future).any()


def test_an_error_along_the_ray_is_all_along_and_none_lateral() -> None:
    true = np.array([[[94.0, 24.0, 2.0]]])  # ray (0.3, -0.4, 1)
    far = true + np.array([0.0, 0.0, 0.1])
    errors = track_errors(far, true, K)
    length = 100.0 * math.sqrt(0.3**2 + 0.4**2 + 1.0)
    assert errors.along_mm[0, 0] == pytest.approx(length)
    assert errors.lateral_mm[0, 0] == pytest.approx(0.0, abs=1e-6)
    assert errors.lateral_px[0, 0] == 0.0
    assert track_errors(true - np.array([0.0, 0.0, 0.1]), true, K).along_mm[0, 0] == pytest.approx(-length)


def test_an_error_of_one_pixel_at_the_centre_is_all_lateral() -> None:
    true = np.array([[[64.0, 64.0, 2.0]]])
    errors = track_errors(true + np.array([1.0, 0.0, 0.0]), true, K)
    assert errors.lateral_mm[0, 0] == pytest.approx(20.0)  # 1 px * 2 m / 100 px
    assert errors.along_mm[0, 0] == pytest.approx(0.0, abs=1e-9)
    assert errors.lateral_px[0, 0] == pytest.approx(1.0)


def test_along_and_lateral_are_the_legs_of_the_whole_error() -> None:
    rng = np.random.default_rng(1)
    true = np.stack([rng.uniform(0, 128, (20, 5)), rng.uniform(0, 128, (20, 5)), rng.uniform(0.3, 3, (20, 5))], -1)
    errors = track_errors(true + rng.normal(0, 0.1, true.shape), true, K)
    np.testing.assert_allclose(errors.along_mm**2 + errors.lateral_mm**2, errors.epe_mm**2, rtol=1e-9)


def test_flow_scores_keep_moving_and_still_points_apart_and_ignore_unknown_steps() -> None:
    start = np.array([[64.0, 64.0, 2.0], [64.0, 64.0, 2.0]])
    true = np.repeat(start[:, None], 2, axis=1)
    true[0, :, 2] += 0.2  # the moving point recedes by 200 mm along the optical axis
    predicted = true.copy()
    predicted[0, :, 2] -= 0.05
    known = np.array([[True, False], [True, True]])
    true[0, 1] = np.nan
    scores = flow_scores(
        uvz=predicted, uvz_true=true, start_uvz=start, known=known, moving=np.array([True, False]), K=K
    )
    assert scores["flow.moving.epe_mm"] == pytest.approx(50.0)
    assert scores["flow.moving.along_mm"] == pytest.approx(-50.0)
    assert scores["flow.moving.along_mm.baseline"] == pytest.approx(-200.0)
    assert scores["flow.moving.along_abs_mm.baseline"] == pytest.approx(200.0)
    assert scores["flow.still.epe_mm"] == scores["flow.still.epe_mm.baseline"] == 0.0


def test_flow_from_predicted_start_depth_has_names_of_its_own() -> None:
    point = np.array([[[64.0, 64.0, 2.0]]])
    yes = np.ones((1, 1), bool)
    scores = flow_scores(
        uvz=point, uvz_true=point, start_uvz=point[0], known=yes, moving=yes[0], K=K, start_depth="predicted"
    )
    assert all(name.startswith("flow_predicted_start.") for name in scores)


def test_visibility_counts_agreement_at_one_half() -> None:
    probability = np.array([[0.9, 0.1, 0.6]])
    visible = np.array([[True, True, True]])
    assert visibility_accuracy(probability, visible, np.array([[True, True, False]])) == pytest.approx(0.5)
    assert math.isnan(visibility_accuracy(probability, visible, np.zeros_like(visible)))
    scores = visibility_scores(probability, ~visible, visible, np.array([True]))
    assert scores["flow.visibility_accuracy"] == pytest.approx(1 / 3)
    assert scores["flow.visibility_accuracy.baseline"] == 0.0


def test_action_errors_in_millimetres_and_degrees() -> None:
    true = np.zeros((2, 7))
    true[1] = np.nan
    predicted = np.zeros((2, 7))
    predicted[:, :3] = [0.6, 0.8, 0.0]  # one unit = 50 mm
    predicted[:, 5] = 1.0  # half a radian
    predicted[:, 6] = 0.7
    errors = action_errors(predicted, true, SPACE)
    assert errors["translation_mm"] == pytest.approx(50.0)
    assert errors["rotation_deg"] == pytest.approx(math.degrees(0.5))
    assert errors["gripper_accuracy"] == 0.0


def test_rotation_between_takes_the_short_way_and_composes() -> None:
    a = np.array([[0.0, 0.0, 3.0], [np.pi / 2, 0.0, 0.0], [0.0, 0.0, 0.0]])
    b = np.array([[0.0, 0.0, -3.0], [0.0, np.pi / 2, 0.0], [0.0, 0.0, 0.0]])
    expected = [math.degrees(2 * np.pi - 6.0), 120.0, 0.0]
    # Quarter turns about x and y differ by a rotation of 2 acos(cos(45)^2) = 120 degrees.
    np.testing.assert_allclose(rotation_between_deg(a, b), expected, atol=1e-5)


def test_action_scores_name_both_baselines() -> None:
    true = hold_still(1.0, 3)
    scores = action_scores(true, true, space=SPACE, gripper_before=0.0, mean_action=np.full(7, 0.1))
    assert scores["action.translation_mm"] == scores["action.translation_mm.baseline"] == 0.0
    assert scores["action.gripper_accuracy.baseline"] == 0.0
    assert scores["action.translation_mm.dataset_mean"] == pytest.approx(50 * 0.1 * math.sqrt(3))


def test_future_scores_against_copy_last() -> None:
    now = np.full((16, 16, 3), 50, np.uint8)
    future = now.copy()
    future[:8] = 200
    depth_now, depth_future = np.full((16, 16), 1.0), np.full((16, 16), 1.0)
    depth_future[:8] = 1.5
    scores = future_scores(
        rgb=future, rgb_true=future, rgb_now=now, depth=depth_future, depth_true=depth_future, depth_now_true=depth_now
    )
    assert scores["future_rgb.psnr_moving_db"] == PSNR_CEILING_DB
    assert scores["future_rgb.psnr_moving_db.baseline"] == pytest.approx(-20 * math.log10(150 / 255))
    assert scores["future_rgb.psnr_db.baseline"] == pytest.approx(-20 * math.log10(150 / 255) + 10 * math.log10(2))
    assert scores["future_depth.rmse_moving_m.baseline"] == pytest.approx(0.5)
    assert scores["future_depth.rmse_m.baseline"] == pytest.approx(0.5 / math.sqrt(2))
    assert scores["future_depth.rmse_m"] == 0.0
    without = future_scores(
        rgb=future, rgb_true=future, rgb_now=now, depth=depth_now, depth_true=None, depth_now_true=None
    )
    assert not any(name.startswith("future_depth") for name in without)


def test_depth_scores_against_the_mean() -> None:
    scores = depth_scores(np.full((2, 2), 1.0), np.full((2, 2), 1.0), 2.0)
    assert scores["depth.abs_rel"] == 0.0
    assert scores["depth.abs_rel.baseline"] == pytest.approx(1.0)


def test_skill_by_direction() -> None:
    assert skill("static.depth.rmse_m", 1.0, 4.0) == pytest.approx(0.75)
    assert skill("action.gripper_accuracy", 0.9, 0.8) == pytest.approx(0.5)
    assert skill("static.future_rgb.psnr_db", 30.0, 20.0) == pytest.approx(0.9)
    assert math.isnan(skill("flow.moving.along_mm", 1.0, 2.0))
    assert math.isnan(skill("flow.still.epe_mm", 1.0, 0.0))


def test_every_score_is_in_the_catalogue() -> None:
    image, depth = np.zeros((16, 16, 3), np.uint8), np.ones((16, 16))
    track, yes = np.ones((1, 1, 3)), np.ones((1, 1), bool)
    names = {f"static.{name}" for name in depth_scores(depth, depth, 1.0)}
    names |= {
        f"wrist.{name}"
        for name in future_scores(
            rgb=image, rgb_true=image, rgb_now=image, depth=depth, depth_true=depth, depth_now_true=depth
        )
    }
    for start in ("true", "predicted"):
        names |= set(
            flow_scores(uvz=track, uvz_true=track, start_uvz=track[0], known=yes, moving=yes[0], K=K, start_depth=start)
        )
    names |= set(progress_scores(0.4, 0.5))
    names |= set(visibility_scores(np.ones((1, 1)), yes, yes, yes[0]))
    names |= set(
        action_scores(np.zeros((1, 7)), np.zeros((1, 7)), space=SPACE, gripper_before=1.0, mean_action=np.zeros(7))
    )
    assert {id(metric_of(name)) for name in names} == {id(metric) for metric in METRICS.values()}


def test_bootstrap_mean_covers_and_counts_episodes() -> None:
    values = np.array([1.0, 2.0, 3.0, np.nan, 4.0])
    interval = bootstrap_mean(values)
    assert interval.mean == pytest.approx(2.5)
    assert interval.n == 4
    assert 1.0 <= interval.low < 2.5 < interval.high <= 4.0
    assert bootstrap_mean(values) == interval
    single = bootstrap_mean(np.array([5.0]))
    assert (single.mean, single.n) == (5.0, 1)
    assert math.isnan(single.low)

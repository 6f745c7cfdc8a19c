"""Nearest pixel: values of the image itself, taken where the centres lie."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.episodes.media.resize import nearest


@pytest.mark.parametrize("size", [(32, 24), (96, 64), (7, 5), (1, 1)])
def test_centres_and_nothing_made_up(size: tuple[int, int]) -> None:
    image = np.arange(48 * 32, dtype=np.float32).reshape(48, 32)
    image[3, 4] = np.nan
    resized = nearest(image, size)
    assert resized.shape == size
    for row, column in np.ndindex(size):
        old = image[int((row + 0.5) * 48 / size[0]), int((column + 0.5) * 32 / size[1])]
        np.testing.assert_equal(resized[row, column], old)


def test_every_image_of_a_clip_and_the_size_it_has() -> None:
    clip = np.random.default_rng(0).random((3, 8, 6))
    np.testing.assert_array_equal(nearest(clip, (5, 9))[1], nearest(clip[1], (5, 9)))
    np.testing.assert_array_equal(nearest(clip, (8, 6)), clip)

"""Lossless means lossless, for any frames whatever."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from model.errors import EpisodeError
from trainer.episodes.codecs import decode_chunk, encode_chunk, metres, quantise_depth


@st.composite
def frames(draw: st.DrawFn) -> np.ndarray:
    dtype = draw(st.sampled_from([np.uint8, np.uint16]))
    return draw(arrays(dtype, array_shapes(min_dims=3, max_dims=4, max_side=5)))


@settings(deadline=None)
@given(frames())
def test_chunks_come_back(chunk: np.ndarray) -> None:
    back = decode_chunk(encode_chunk(chunk), chunk.shape, chunk.dtype)
    assert back.dtype == chunk.dtype
    np.testing.assert_array_equal(back, chunk)


@settings(deadline=None)
@given(frames(), st.integers(1, 3), st.sampled_from([0, 1, 2]))
def test_another_amount_of_data_is_refused(chunk: np.ndarray, more: int, axis: int) -> None:
    shape = list(chunk.shape)
    shape[axis] += more
    with pytest.raises(EpisodeError):
        decode_chunk(encode_chunk(chunk), tuple(shape), chunk.dtype)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_rubbish_is_refused(data: bytes) -> None:
    with pytest.raises(EpisodeError):
        decode_chunk(data, (16, 8, 8, 3), np.dtype(np.uint8))


@given(arrays(np.float32, (6,), elements=st.floats(0.0078125, 6.5, width=32)))
def test_depth_is_rounded_to_the_nearest_tenth_of_a_millimetre(depth: np.ndarray) -> None:
    assert np.abs(metres(quantise_depth(depth)).astype(np.float64) - depth).max() <= 0.5e-4 + 1e-6

"""Whatever a method gives to the tokens arrives in the pictures or is named: no weight is lost, none is made."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.factories import make_attention_maps
from workbench.attention import entropy, share_out
from workbench.attention.measures import group_rows
from workbench.attention.spatial import flow_points, spread
from workbench.attention.weights import Weights, raw_weights, relevance, relevance_shares, rollout

SEEDS = st.integers(0, 2**32 - 1)


@given(seed=SEEDS, age=st.sampled_from([0, 1]), query=st.sampled_from(["ACT", "FLOW"]), signed=st.booleans())
@settings(max_examples=60, deadline=None)
def test_pictures_and_the_rest_add_up_to_the_whole(seed: int, age: int, query: str, signed: bool) -> None:
    rng = np.random.default_rng(seed)
    maps = make_attention_maps(seed=seed)
    tokens = rng.normal(size=len(maps.group)) * maps.allowed[query]
    weights = Weights(method="tokens", query=query, unit="mm", tokens=tokens) if signed else raw_weights(maps, query)
    uv = rng.uniform(0, 32, (30, 2))
    found = spread(weights, maps, size=(32, 32), age=age, uv=uv)
    assert sum(item.mass for item in found.pictures) + sum(found.elsewhere.values()) == pytest.approx(weights.total)
    assert all(item.pixels.sum() == pytest.approx(item.mass) for item in found.pictures)
    assert sum(row.mass for row in group_rows(weights.tokens, maps, query)) == pytest.approx(weights.total)
    assert flow_points(weights, maps).sum() == pytest.approx(weights.tokens[maps.keys("FLOW")].sum())


@given(seed=SEEDS, points=st.integers(1, 40), tokens=st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_sharing_out_conserves_every_weight_and_is_linear(seed: int, points: int, tokens: int) -> None:
    rng = np.random.default_rng(seed)
    given_ = rng.uniform(size=(points, tokens)) * (rng.uniform(size=(points, tokens)) > 0.3)
    one, other = rng.normal(size=(2, tokens))
    assert share_out(one, given_).sum() == pytest.approx(one.sum())
    np.testing.assert_allclose(
        share_out(one + 2 * other, given_), share_out(one, given_) + 2 * share_out(other, given_), atol=1e-12
    )


@given(seed=SEEDS, layers=st.integers(1, 4), size=st.integers(2, 7))
@settings(max_examples=60, deadline=None)
def test_rollout_stays_a_distribution_within_the_reach_of_the_mask(seed: int, layers: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.tril(rng.uniform(size=(size, size)) > 0.4) | np.eye(size, dtype=bool)
    attention = rng.uniform(0.1, 1.0, (layers, size, size)) * mask
    result = rollout(attention / attention.sum(-1, keepdims=True))
    np.testing.assert_allclose(result.sum(-1), 1.0)
    reach = np.linalg.matrix_power(mask.astype(float), layers) > 0
    np.testing.assert_array_equal(result > 0, reach)


@given(seed=SEEDS, size=st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_relevance_shares_are_a_distribution_without_the_row_itself(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    attention, slope = rng.uniform(size=(2, 3, size, size)), rng.normal(size=(2, 3, size, size))
    shares = relevance_shares(relevance(attention, slope), [size - 1])
    assert (shares >= 0).all()
    assert shares.sum() == pytest.approx(1.0)


@given(seed=SEEDS, size=st.integers(2, 30))
@settings(max_examples=40, deadline=None)
def test_entropy_is_between_one_key_and_all_alike(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    allowed = rng.uniform(size=size) > 0.3
    allowed[:2] = True
    row = rng.uniform(size=size) * allowed
    assert 0 <= float(entropy(row / row.sum(), allowed)) <= 1 + 1e-12
    assert float(entropy(allowed / allowed.sum(), allowed)) == pytest.approx(1.0)
    assert float(entropy(np.eye(size)[0], allowed)) == 0.0

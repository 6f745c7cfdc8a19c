"""Methods that follow attention through layers, and attributions: known answers on small cases, parts of a whole."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
import pytest
import torch

from model.config import preset
from model.errors import ConfigError
from tests.factories import make_attention_maps, make_checkpoint, make_recording
from tests.policy_factories import make_observation, make_policy
from trainer.episodes.memory import MemoryEpisode
from workbench.attention.explain import Explainer, Question
from workbench.attention.forward import chunk_from, enter, score_of
from workbench.attention.gradients import attention_gradients, full_attention
from workbench.attention.integrated import integrate
from workbench.attention.maps import AttentionMaps
from workbench.attention.measures import group_rows
from workbench.attention.spatial import flow_points, spread
from workbench.attention.weights import raw_weights, relevance, rollout
from workbench.predict import CancelledError, Predictor


@pytest.fixture(scope="module")
def explainer(tmp_path_factory: pytest.TempPathFactory) -> Explainer:
    return Explainer(Predictor(make_checkpoint(tmp_path_factory.mktemp("run") / "final")))


@pytest.fixture(scope="module")
def episode() -> MemoryEpisode:
    return MemoryEpisode(make_recording(length=14, frame_stride=1, size=(32, 32)))


def hand_built(rows: dict[str, float]) -> AttentionMaps:
    """Maps whose ACT row has the given masses on groups of the newest frame ("STATE") or the one before ("STATE-")."""
    maps = make_attention_maps()
    row = np.zeros(len(maps.group))
    for name, mass in rows.items():
        keys = maps.keys(name.rstrip("-"), 1 if name.endswith("-") else 0)
        row[keys] = mass / len(keys)
    return dataclasses.replace(maps, rows={"ACT": np.broadcast_to(row, (2, 4, len(row)))})


def test_what_has_no_place_in_an_image_is_named_and_nothing_is_smeared() -> None:
    maps = hand_built({"LANG": 0.2, "STATE": 0.1, "S_PATCH": 0.3, "W_CLS": 0.05, "FLOW": 0.15, "S_PATCH-": 0.2})
    found = spread(raw_weights(maps), maps, size=(32, 32), uv=np.random.default_rng(0).uniform(0, 32, (30, 2)))
    masses = {(item.path, item.view): item.mass for item in found.pictures}
    assert masses == pytest.approx({("flow", "static"): 0.15, ("resampler", "static"): 0.3, ("resampler", "wrist"): 0})
    assert found.elsewhere == pytest.approx({"LANG": 0.2, "STATE": 0.1, "W_CLS": 0.05, "earlier frames": 0.2})
    before = spread(raw_weights(maps), maps, size=(32, 32), age=1)
    assert {(item.path, item.view): item.mass for item in before.pictures} == pytest.approx(
        {("resampler", "static"): 0.2, ("resampler", "wrist"): 0}
    )
    assert before.elsewhere["S_PATCH"] == pytest.approx(0.3)  # of the newest frame: not in this picture
    with pytest.raises(ConfigError, match="no frame 2 before"):
        spread(raw_weights(maps), maps, size=(32, 32), age=2)


def test_a_latent_s_weight_lands_on_the_patches_it_looks_at() -> None:
    maps = hand_built({"S_PATCH": 1.0})
    looks = np.zeros((2, 3, 16))
    looks[0, :, 5] = 0.4  # every latent of the newest frame looks at patch 5 and, for the rest, at other latents
    maps = dataclasses.replace(maps, patches={"static": looks})
    picture = spread(raw_weights(maps), maps, size=(32, 32)).pictures[0]
    assert picture.pixels[8:16, 8:16].sum() == pytest.approx(1.0)
    assert picture.pixels.sum() == pytest.approx(1.0)


def test_lift_is_mass_over_the_even_share() -> None:
    maps = hand_built({"STATE": 0.5, "LANG-": 0.5})
    rows = {(row.name, row.age): row for row in group_rows(raw_weights(maps).tokens, maps, "ACT")}
    keys = int(maps.allowed["ACT"].sum())  # 10 inputs in two frames, 2 FLOW and 1 ACT of the newest
    assert keys == 23
    assert rows["STATE", 0].lift == pytest.approx(0.5 * keys)
    assert rows["LANG", 1].mass == 0.5
    assert ("FLOW", 1) not in rows  # hidden by the mask: not a group of zero weight


def test_layer_and_head_are_selected_and_checked() -> None:
    maps = make_attention_maps()
    np.testing.assert_array_equal(raw_weights(maps, "FLOW", 1, 2).tokens, maps.rows["FLOW"][1, 2])
    np.testing.assert_allclose(raw_weights(maps, layer=0).tokens, maps.rows["ACT"][0].mean(0))
    with pytest.raises(ConfigError, match="no layer 3"):
        raw_weights(maps, layer=2)


def test_a_policy_without_flow_says_so() -> None:
    maps = make_attention_maps(points=None)
    maps = dataclasses.replace(maps, rows={"ACT": maps.rows["ACT"]})
    with pytest.raises(ConfigError, match="predicts no flow"):
        flow_points(raw_weights(maps), maps)
    with pytest.raises(ConfigError, match="no FLOW queries"):
        raw_weights(maps, "FLOW")
    uv = np.zeros((0, 2))
    assert "FLOW" in spread(raw_weights(maps), maps, size=(32, 32), uv=uv).elsewhere


def test_rollout_of_two_known_layers() -> None:
    first = np.array([[1.0, 0.0], [0.4, 0.6]])
    second = np.array([[1.0, 0.0], [1.0, 0.0]])
    # Ã1 = [[1, 0], [.2, .8]], Ã2 = [[1, 0], [.5, .5]]: R = Ã2 Ã1
    np.testing.assert_allclose(rollout(np.stack([first, second])), [[1.0, 0.0], [0.6, 0.4]])


def test_relevance_takes_the_mean_over_heads_of_positive_products() -> None:
    attention = np.array([[[[0.5, 0.5], [0.2, 0.8]], [[1.0, 0.0], [0.6, 0.4]]]])
    slope = np.array([[[[0.0, 0.0], [1.0, -1.0]], [[0.0, 0.0], [2.0, 0.5]]]])
    # row 1: heads (0.2, 0) and (1.2, 0.2), mean (0.7, 0.1)
    np.testing.assert_allclose(relevance(attention, slope), [[1.0, 0.0], [0.7, 1.1]])


def test_the_gradient_by_attention_is_the_one_of_attention_written_out() -> None:
    """dy/dA from the fused pass against autograd through the eager formula of the last layer."""
    config = preset("tiny")
    policy, observation = make_policy(config), make_observation(config, batch=1)
    entry = enter(policy, observation)
    score = score_of("translation", chunk_from(policy, entry.tokens, entry)[0], config.stats)
    attention, gradient = attention_gradients(policy, entry, score)
    np.testing.assert_allclose(attention, full_attention(policy, entry), atol=1e-6)

    block, last = policy.trunk.blocks[1], torch.from_numpy(attention[1])[None].requires_grad_()
    with torch.no_grad():
        x, _ = policy.trunk.blocks[0](entry.tokens, entry.allowed)
        v = block.attention.key_value(block.attention_norm(x)).chunk(2, -1)[1].unflatten(-1, (4, -1)).transpose(1, 2)
    x = x + block.attention.out((last @ v).transpose(1, 2).flatten(2))
    hidden = policy.trunk.norm(x + block.mlp(block.mlp_norm(x)))
    (expected,) = torch.autograd.grad(score(policy.action(hidden[:, entry.rows]))[0], last)
    np.testing.assert_allclose(gradient[1], expected[0].numpy(), rtol=1e-3, atol=1e-6)


def test_integrated_gradients_of_a_linear_score_are_weight_times_difference() -> None:
    weight = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    x, blank = torch.tensor([[[2.0, 1.0], [4.0, -1.0]]]), torch.ones(1, 2, 2)
    seen: list[tuple[int, int]] = []
    found = integrate(lambda y: (y * weight).sum((-1, -2)), (x,), (blank,), tick=lambda *done: seen.append(done))
    torch.testing.assert_close(found.parts[0], (weight * (x - blank)[0]).sum(-1))
    assert found.delta == pytest.approx(0.0, abs=1e-5)
    assert (found.value, found.baseline) == (-1.0, pytest.approx(2.5))
    assert seen[0][0] == 0
    assert seen[-1][0] < seen[-1][1]


def test_integrated_gradients_over_two_inputs_are_complete_for_a_product() -> None:
    """y = a b: each gets half of the difference when both rise together from 0."""
    a, b = torch.full((1, 1), 3.0), torch.full((1, 1), 2.0)
    found = integrate(lambda p, q: (p * q).sum(-1), (a, b), (torch.zeros(1, 1), torch.zeros(1, 1)))
    assert [float(part) for part in found.parts] == pytest.approx([3.0, 3.0], rel=1e-4)
    assert found.delta == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("method", ["rollout", "relevance", "tokens", "patches"])
def test_every_method_gives_weight_only_to_what_the_action_may_reach(
    explainer: Explainer, episode: MemoryEpisode, method: str
) -> None:
    foresight, weights = explainer.explain(episode, 5, Question(method))  # pyright: ignore[reportArgumentType]
    maps = foresight.attention.maps
    assert not weights.tokens[~maps.allowed["ACT"]].any()  # reach and mask are the same for inputs of this mask
    if method in ("rollout", "relevance"):
        assert weights.total == pytest.approx(1.0)
    else:
        assert weights.value is not None
        assert weights.baseline is not None
        assert weights.delta == pytest.approx(weights.value - weights.baseline - weights.total, abs=1e-4)
        assert abs(weights.delta) < 0.05 * max(abs(weights.value - weights.baseline), 1e-3)
    assert (weights.patches is not None) == (method == "patches")
    uv = foresight.flow.uvz[:, 0, :2]
    for age in (0, 2):
        found = spread(weights, maps, size=(32, 32), age=age, uv=uv)
        whole = sum(item.mass for item in found.pictures) + sum(found.elsewhere.values())
        assert whole == pytest.approx(weights.total, abs=1e-5)


def test_targets_have_the_units_of_the_action(explainer: Explainer, episode: MemoryEpisode) -> None:
    foresight, moved = explainer.explain(episode, 5, Question("relevance", target="translation"))
    length = np.linalg.norm(foresight.action[:, :3].sum(0)) * 1000 * 0.05
    assert moved.value == pytest.approx(length, rel=1e-4)
    _, turned = explainer.explain(episode, 5, Question("relevance", target="rotation"))
    assert turned.value == pytest.approx(np.degrees(np.linalg.norm(foresight.action[:, 3:6].sum(0)) * 0.5), rel=1e-4)


def test_answers_are_kept_by_what_was_asked_and_can_be_cancelled(explainer: Explainer, episode: MemoryEpisode) -> None:
    question = Question("tokens", target="gripper")
    assert explainer.known(episode, 4, question) is None
    gone = threading.Event()

    def leave(done: int, total: int) -> None:
        if done >= 2:
            gone.set()

    with pytest.raises(CancelledError):
        explainer.explain(episode, 4, question, cancel=gone, tick=leave)
    assert explainer.known(episode, 4, question) is None
    _, weights = explainer.explain(episode, 4, question)
    assert explainer.known(episode, 4, question) is weights
    assert explainer.known(episode, 4, question._replace(layer=1)) is weights  # it takes no layer
    assert explainer.known(episode, 4, Question("tokens", target="rotation")) is None
    with pytest.raises(ConfigError, match="can be asked about ACT"):
        explainer.explain(episode, 4, Question("tokens", "FLOW"))

"""What the flow may be instead: of both views, in metres of the camera. Each from tokens to numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.batch import Frame
from model.config import PolicyConfig, from_json, preset, to_json
from model.errors import ConfigError
from model.geometry import flow_in_camera, flow_in_image
from model.inference import Engine
from model.losses import loss_terms
from model.policy import Policy
from model.tokens import token_layout
from tests.factories import make_recording
from tests.policy_factories import make_observation, make_policy, make_targets
from trainer.data.augment import shift
from trainer.data.statistics import measure_statistics
from trainer.data.windows import observation_at, targets_at
from trainer.episodes.memory import MemoryEpisode
from trainer.loop.checkpoint import load_checkpoint, save_inference_checkpoint
from trainer.metrics.window import Window, predict_window, score_window
from workbench.proof.declared import declared_by
from workbench.proof.policy import PolicySubject, random_policy
from workbench.proof.prove import prove
from workbench.proof.sequence import Relation


def both() -> PolicyConfig:
    return replace(preset("tiny"), flow_view="both")


def metres() -> PolicyConfig:
    tiny = preset("tiny")
    return replace(tiny, flow=replace(tiny.flow, coordinates="camera"))


def all_of_it() -> PolicyConfig:
    """Both views, in metres, and a future depth with queries of its own."""
    return replace(metres(), flow_view="both", future_depth_trunk="own_queries")


CHOICES = {"both": both, "metres": metres, "all": all_of_it}


@pytest.fixture(scope="module")
def episode() -> MemoryEpisode:
    return MemoryEpisode(make_recording(length=20, frame_stride=1, size=(32, 32)))


def test_each_view_has_queries_of_its_own_where_it_is_followed() -> None:
    names = [group.name for group in token_layout(all_of_it()).groups if group.role.name in ("FLOW", "FUTURE")]
    assert names == ["FLOW", "FLOW_W", "FUT_S", "FUT_W", "FUTD_S", "FUTD_W"]
    stats = replace(preset("tiny").stats, depth_mean=(1.0,), depth_std=(1.0,))
    with pytest.raises(ConfigError, match="flow_view must be one of views"):
        replace(both(), views=("static",), stats=stats)


@pytest.mark.parametrize("change", [{"predict_depth": False}, {"readout": "absolute"}])
def test_metres_need_a_depth_and_a_displacement(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"flow\.coordinates = camera needs"):
        replace(metres().flow, **change)  # pyright: ignore[reportArgumentType]


def test_points_of_a_view_read_the_queries_of_that_view() -> None:
    """Gradient of each half of the points on the trunk outputs of each group."""
    policy, observation = make_policy(both()), make_observation(both(), batch=1)
    with torch.no_grad():
        hidden, seen, _ = policy.trunk_outputs(observation, frames=torch.tensor([2]))
    hidden.requires_grad_()
    start = torch.rand(1, 1, 8, 3)
    delta = policy.decode(hidden, seen, frames=torch.tensor([2]), flow_start=start).flow_delta
    assert delta is not None
    for half, own, other in ((slice(4), "FLOW", "FLOW_W"), (slice(4, 8), "FLOW_W", "FLOW")):
        (gradient,) = torch.autograd.grad(delta[:, :, half].sum(), hidden, retain_graph=True)
        assert gradient[:, 2, policy.layout.within_frame(own)].any()
        assert not gradient[:, 2, policy.layout.within_frame(other)].any()
    with pytest.raises(ValueError, match="same number in each"):
        policy.decode(hidden, seen, frames=torch.tensor([2]), flow_start=start[:, :, :5])


@pytest.mark.parametrize("name", CHOICES)
def test_the_mask_is_the_declared_one(name: str) -> None:
    config = CHOICES[name]()
    report = prove(PolicySubject(random_policy(config), name), declared_by(config), modes=("sdpa",))
    assert report.holds, [cell.name for cell in report.cells if cell.verdict != "OK"]
    if name != "metres":
        assert report.cell("ACT", "FLOW_W", Relation.SAME).reach.name == "ALL"
        assert {"flow", "flow, wrist"} <= {cell.attender for cell in report.decoders}


def test_a_mask_that_hides_the_flow_of_the_wrist_is_found() -> None:
    policy = random_policy(both())
    rows, columns = policy.layout.indices("ACT"), policy.layout.indices("FLOW_W")
    policy.mask[rows[:, None], columns] = False
    assert not prove(PolicySubject(policy, "blind"), declared_by(both()), modes=("sdpa",)).holds


@pytest.mark.parametrize("name", CHOICES)
def test_the_true_displacement_costs_nothing(name: str, episode: MemoryEpisode) -> None:
    config = CHOICES[name]()
    observation = observation_at(episode, 8, config, Policy(config).tokenize)
    targets = targets_at(episode, 8, config, frames=[2], points=40)
    assert targets.flow_start.shape[2] == 40 * len(config.flow_views)
    assert targets.flow_weight[0, 0, -40:].any()  # of the last view
    true = targets.flow_delta
    if targets.flow_camera is not None:
        true = flow_in_camera(targets.flow_start, true, targets.flow_camera)
    with torch.no_grad():
        prediction = Policy(config)(observation, frames=targets.frames, flow_start=targets.flow_start)
    prediction = replace(prediction, flow_delta=true)
    assert loss_terms(prediction, targets, observation, config)["flow"].item() == pytest.approx(0, abs=1e-9)
    wrong = replace(prediction, flow_delta=true + torch.tensor(config.flow_scale))
    off = loss_terms(wrong, targets, observation, config)["flow"].item()
    assert off == pytest.approx(1 - config.loss.flow_beta / 2, rel=1e-4)  # one unit of each coordinate
    scores = score_window(
        Window(episode=episode, step=8, observation=observation, targets=targets, prediction=prediction), config
    )
    figures = ["flow.moving.epe_mm", *(["wrist.flow.moving.epe_mm"] if len(config.flow_views) > 1 else [])]
    for figure in figures:
        assert scores[figure] == pytest.approx(0, abs=0.01)
        assert scores[f"{figure}.baseline"] > 1.0


def test_a_hidden_point_weighs_what_the_configuration_says(episode: MemoryEpisode) -> None:
    tiny = preset("tiny")
    config = replace(tiny, loss=replace(tiny.loss, flow_occluded=0.25))
    weights = [targets_at(episode, step, config, frames=[2], points=400).flow_weight for step in (4, 8, 12)]
    assert torch.stack(weights).unique().tolist() == [0.25, 1.0]


def test_metres_without_intrinsics_in_the_targets_are_refused() -> None:
    config = metres()
    observation, targets = make_observation(config), replace(make_targets(config), flow_camera=None)
    prediction = make_policy(config)(observation, frames=targets.frames, flow_start=targets.flow_start)
    with pytest.raises(ConfigError, match="flow_camera"):
        loss_terms(prediction, targets, observation, config)


def test_a_shift_of_the_image_does_not_move_the_point_in_space(episode: MemoryEpisode) -> None:
    config = all_of_it()
    observation = observation_at(episode, 8, config, Policy(config).tokenize)
    targets = targets_at(episode, 8, config, frames=[2], points=40)
    _, moved = shift(observation, targets, config, torch.tensor([[3, -2], [-1, 4]]))
    assert targets.flow_camera is not None
    assert moved.flow_camera is not None
    for point, offset in ((0, (3, -2)), (-1, (-1, 4))):  # of the static view, of the wrist
        went = (moved.flow_start - targets.flow_start)[0, 0, point] * 32
        assert went[:2].tolist() == pytest.approx(offset, abs=1e-4)
    before = flow_in_camera(targets.flow_start, targets.flow_delta, targets.flow_camera)
    after = flow_in_camera(moved.flow_start, moved.flow_delta, moved.flow_camera)
    assert torch.allclose(before, after, atol=1e-5)
    back = flow_in_image(moved.flow_start, after, moved.flow_camera)
    seen = moved.flow_weight > 0
    assert torch.allclose(back[seen], moved.flow_delta[seen], atol=1e-5)


def test_one_unit_across_is_measured_in_metres(episode: MemoryEpisode) -> None:
    config = all_of_it()
    stats = measure_statistics([episode], config)
    targets = targets_at(episode, 8, config, frames=[2], points=400)
    assert targets.flow_camera is not None
    true = flow_in_camera(targets.flow_start, targets.flow_delta, targets.flow_camera)
    here = true[(targets.flow_visible & targets.flow_moving[..., None])][:, :2].square().mean().sqrt()
    assert stats.flow_scale_lateral == pytest.approx(float(here), rel=0.5)  # one frame against all of them
    assert stats.flow_scale_lateral != config.stats.flow_scale_lateral


def test_a_camera_that_is_not_there_has_no_points_that_count() -> None:
    alone = MemoryEpisode(make_recording(length=12, frame_stride=1, size=(32, 32), views=("static",)))
    policy = make_policy(all_of_it())
    window = predict_window(policy, alone, 6, points=20)
    assert window.targets.flow_weight[0, 0, :20].any()
    assert not window.targets.flow_weight[0, 0, 20:].any()
    scores = score_window(window, policy.config)
    assert np.isfinite(scores["flow.still.epe_mm"])
    assert not any(name.startswith("wrist.") for name in scores)
    alone_targets = window.targets
    terms = loss_terms(window.prediction, alone_targets, window.observation, policy.config)
    assert all(torch.isfinite(value) for value in terms.values())


@pytest.mark.parametrize("name", CHOICES)
def test_acting_gives_the_flow_of_the_full_pass(name: str) -> None:
    config = CHOICES[name]()
    policy, observation = make_policy(config), make_observation(config, batch=1)
    first = replace(observation, frame_mask=torch.tensor([[True, False, False]]), state_arm=torch.zeros(1, 3, 6))
    start, engine = torch.rand(1, 6, 3), Engine(policy)
    engine.reset(observation.text)
    frame = Frame(
        rgb=observation.rgb[:, 0], T_base_tool=torch.eye(4)[None].double(), gripper=observation.state_gripper[:, 0]
    )
    decision = engine.act_with_flow(frame, start)
    with torch.no_grad():
        full = policy(first, frames=torch.tensor([0]), flow_start=start[:, None])
    assert torch.allclose(decision.flow_delta, full.flow_delta[:, 0], atol=1e-5)
    assert torch.allclose(decision.action[..., :6], full.action[:, 0, :, :6], atol=1e-5)


@pytest.mark.parametrize("name", CHOICES)
def test_a_checkpoint_brings_the_choice_back(name: str, tmp_path: Path) -> None:
    config = CHOICES[name]()
    assert from_json(to_json(config)) == config
    save_inference_checkpoint(tmp_path / "c", make_policy(config), config, {"weights": "EMA"})
    loaded = load_checkpoint(tmp_path / "c")
    assert loaded.config == config
    observation, start = make_observation(config), torch.rand(2, 1, 4, 3)
    policy = make_policy(config)
    with torch.no_grad():
        one, two = (p(observation, frames=torch.tensor([2]), flow_start=start) for p in (policy, loaded.policy))
    assert torch.equal(one.flow_delta, two.flow_delta)


def test_a_gradient_step_brings_a_policy_with_all_of_it_closer(episode: MemoryEpisode) -> None:
    torch.manual_seed(0)
    config = all_of_it()
    policy = Policy(config).train()
    observation = observation_at(episode, 8, config, policy.tokenize)
    targets = targets_at(episode, 8, config, frames=[2], points=40)
    optimizer = torch.optim.Adam(policy.parameters(), 3e-3)
    losses: list[float] = []
    for _ in range(25):
        out = policy(observation, frames=targets.frames, flow_start=targets.flow_start)
        terms = loss_terms(out, targets, observation, config)
        optimizer.zero_grad()
        (terms["flow"] + terms["future_depth"]).backward()
        optimizer.step()
        losses.append(float(terms["flow"].detach()))
    assert losses[-1] < 0.5 * losses[0]

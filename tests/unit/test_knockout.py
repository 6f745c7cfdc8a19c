"""Knock-outs on policies whose truth is known: blocked, the only path, ignored, used."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.config import PolicyConfig, preset
from model.errors import ConfigError, EpisodeError
from model.policy import Policy
from tests.factories import make_recording
from tests.policy_factories import make_policy
from trainer.episodes.memory import MemoryEpisode
from trainer.episodes.packed import save_packed
from trainer.loop.checkpoint import LoadedCheckpoint, save_inference_checkpoint
from workbench.knockout import Options, main, run, table
from workbench.proof.comparison import compare_checkpoints, config_differences
from workbench.proof.knockout import action_change, action_space, knock_out, observe_all, sample_steps, targets_of
from workbench.proof.knockout_report import (
    Knockout,
    KnockoutReport,
    Replacement,
    ranked,
    report_from_json,
    report_json,
)
from workbench.proof.patching import ActionProbe


def loaded(policy: Policy, name: str = "policy") -> LoadedCheckpoint:
    return LoadedCheckpoint(policy=policy, config=policy.config, metadata={}, content_hash="c0ffee", path=Path(name))


@pytest.fixture(scope="module")
def episode() -> MemoryEpisode:
    return MemoryEpisode(make_recording(length=16, frame_stride=1, size=(32, 32)))


@pytest.fixture(scope="module")
def other() -> MemoryEpisode:
    recording = make_recording(length=12, frame_stride=1, size=(32, 32), seed=3, instruction="open the drawer")
    return MemoryEpisode(recording)


def strong_policy(config: PolicyConfig | None = None, seed: int = 0) -> Policy:
    """Random weights large enough that every allowed path is felt."""
    policy = make_policy(config or preset("tiny"), seed)
    with torch.no_grad():
        for parameter in policy.trunk.parameters():
            parameter.mul_(4.0)
    return policy


def row_of(report: KnockoutReport, target: str, replacement: Replacement) -> Knockout:
    (row,) = [row for row in report.rows if (row.target, row.replacement) == (target, replacement)]
    return row


def only_sees(policy: Policy, group: str) -> Policy:
    """ACT sees nothing but itself and one group of its frame; that group sees nothing but itself and the inputs."""
    for frame in range(policy.layout.n_frames):
        act = policy.layout.indices("ACT", [frame])
        policy.mask[act] = False
        policy.mask[act[:, None], torch.cat([act, policy.layout.indices(group, [frame])])] = True
    return policy


@pytest.fixture(scope="module")
def report(episode: MemoryEpisode, other: MemoryEpisode) -> KnockoutReport:
    return knock_out(loaded(strong_policy()), episode, other=other, times=4, draws=2)


def test_without_a_knock_out_the_probe_is_act(episode: MemoryEpisode) -> None:
    policy = strong_policy()
    observation = observe_all(policy, episode, sample_steps(episode, policy.config, 4))
    torch.testing.assert_close(ActionProbe(policy, observation).action(), policy.act(observation))


def test_everything_allowed_is_measured_and_what_the_mask_hides_is_blocked(report: KnockoutReport) -> None:
    for target in ("language", "state", "static camera", "wrist camera", "FLOW"):
        assert row_of(report, target, "zero").status == "measured"
    for target in ("FUT_S", "FUT_W"):
        row = row_of(report, target, "time")
        assert (row.status, row.tokens, row.effects) == ("blocked", 0, ())


def test_a_policy_whose_action_cannot_see_the_flow_is_blocked_not_unused(episode: MemoryEpisode) -> None:
    policy = only_sees(strong_policy(), "STATE")
    result = knock_out(loaded(policy), episode, times=3, draws=1)
    assert {row_of(result, "FLOW", name).status for name in ("zero", "mean", "time")} == {"blocked"}
    assert row_of(result, "state", "zero").status == "measured"


def test_where_the_flow_is_the_only_path_knocking_it_out_leaves_nothing_to_the_inputs(episode: MemoryEpisode) -> None:
    policy = only_sees(strong_policy(), "FLOW")
    observation = observe_all(policy, episode, sample_steps(episode, policy.config, 5))
    probe = ActionProbe(policy, observation)
    constant = [torch.zeros_like(x[:1]) for x in probe.states]
    action = probe.replaced(probe.where(policy.layout.indices("FLOW")), constant)
    assert (probe.action() - probe.action()[:1]).abs().max() > 1e-3
    torch.testing.assert_close(action, action[:1].expand_as(action))  # the same at all times: no input gets through


def test_a_swap_of_the_only_path_is_the_action_of_the_other_time(episode: MemoryEpisode) -> None:
    policy = only_sees(strong_policy(), "FLOW")
    observation = observe_all(policy, episode, sample_steps(episode, policy.config, 4))
    probe = ActionProbe(policy, observation)
    swapped = probe.replaced(probe.where(policy.layout.indices("FLOW")), [x.roll(2, 0) for x in probe.states])
    torch.testing.assert_close(swapped, probe.action().roll(2, 0), atol=1e-5, rtol=1e-4)


def test_a_group_that_is_allowed_and_ignored_has_no_effect(episode: MemoryEpisode) -> None:
    policy = strong_policy()
    with torch.no_grad():
        for block in policy.trunk.blocks:
            block.attention.out.weight.zero_()
            block.attention.out.bias.zero_()
    result = knock_out(loaded(policy), episode, times=3, draws=1)
    # Nothing is attended to, so the flow is the same at every time as well.
    assert row_of(result, "FLOW", "time").status == "constant"
    row = row_of(result, "FLOW", "zero")
    assert [effect.verdict for effect in row.effects] == ["no effect"] * 3


def test_language_at_another_time_is_constant_and_in_another_episode_measured(report: KnockoutReport) -> None:
    assert row_of(report, "language", "time").status == "constant"
    assert row_of(report, "language", "mean").status == "constant"
    assert row_of(report, "language", "episode").status == "measured"


def test_an_absent_camera_is_absent(other: MemoryEpisode) -> None:
    recording = make_recording(length=12, frame_stride=1, size=(32, 32), views=("static",))
    result = knock_out(loaded(strong_policy()), MemoryEpisode(recording), other=other, times=3, draws=1)
    assert row_of(result, "wrist camera", "zero").status == "absent"
    result = knock_out(loaded(strong_policy()), other, other=MemoryEpisode(recording), times=3, draws=1)
    assert row_of(result, "wrist camera", "zero").status == "measured"
    assert row_of(result, "wrist camera", "episode").status == "absent"


def test_attention_and_random_sets_stand_beside_the_effect(report: KnockoutReport) -> None:
    rows = [row for row in report.rows if row.replacement == "zero" and row.attention is not None]
    assert 0.5 < sum(row.attention.mean for row in rows if row.attention) <= 1.0
    for row in rows:
        assert 0 < row.uniform < 1
        for effect in row.effects:
            assert effect.change.n == len(report.steps) == 4
            assert effect.excess.mean == pytest.approx(effect.change.mean - effect.random.mean)
    order = [row.effects[0].change.mean for row in ranked(report, "translation_mm", "zero") if row.effects]
    assert order == sorted(order, reverse=True)


def test_zeros_agree_with_captum_s_feature_ablation(episode: MemoryEpisode) -> None:
    from captum.attr import FeatureAblation

    policy = strong_policy()
    observation = observe_all(policy, episode, sample_steps(episode, policy.config, 3))
    space, action = action_space(policy.config), policy.act(observation).numpy()
    tokens = policy.embedding(observation).tokens.detach()
    names = ["language", "state", "static camera", "wrist camera"]
    groups = torch.zeros(tokens.shape[1], dtype=torch.int64)
    for index, name in enumerate(names, start=1):
        groups[targets_of(policy)[name]] = index

    def change(tokens: torch.Tensor) -> torch.Tensor:
        hidden = policy.trunk(tokens, policy.mask[None, None])[0]
        chunk = policy.action(hidden[:, policy.layout.indices("ACT", [policy.layout.n_frames - 1])])
        chunk = torch.cat([chunk[..., :6], chunk[..., 6:].sigmoid()], -1).numpy()
        return torch.from_numpy(action_change(chunk, action, space)["translation_mm"])

    with torch.no_grad():
        mask = groups[None, :, None].expand_as(tokens)
        found = FeatureAblation(change).attribute(tokens, baselines=0.0, feature_mask=mask)
    probe = ActionProbe(policy, observation)
    zero = [torch.zeros_like(x[:1]) for x in probe.states]
    for index, name in enumerate(names, start=1):
        ours = action_change(probe.replaced(probe.where(targets_of(policy)[name]), zero).numpy(), action, space)[
            "translation_mm"
        ]
        captum = -found[:, groups == index][:, 0, 0].numpy()
        np.testing.assert_allclose(ours, captum, atol=2e-3)
        assert ours.max() > 0.1


def test_changes_are_in_mm_degrees_and_flips() -> None:
    space = action_space(preset("tiny"))
    one, two = np.zeros((1, 2, 7)), np.zeros((1, 2, 7))
    one[0, 0, :3] = (3.0, 4.0, 0.0)  # 5 units of 50 mm
    one[0, 1, 3] = np.pi / 2 / space.radians_per_unit
    one[0, 0, 6] = 0.9
    change = action_change(one, two, space)
    assert change["translation_mm"] == pytest.approx([125.0])
    assert change["rotation_deg"] == pytest.approx([45.0])
    assert change["gripper_flips"] == pytest.approx([50.0])


def test_steps_beyond_the_end_do_not_count() -> None:
    one, two = np.zeros((1, 2, 7)), np.full((1, 2, 7), np.nan)
    two[0, 0] = 0.0
    change = action_change(one, two, action_space(preset("tiny")))
    assert [change[name].item() for name in change] == [0.0, 0.0, 0.0]


def test_a_short_episode_is_one_line() -> None:
    short = MemoryEpisode(make_recording(length=3, frame_stride=1, size=(32, 32)))
    with pytest.raises(EpisodeError, match="too short for knock-outs"):
        knock_out(loaded(strong_policy()), short)


def test_the_json_comes_back(report: KnockoutReport) -> None:
    assert report_from_json(report_json(report)) == report
    record = json.loads(report_json(report))
    record["rows"][0].pop("tokens")
    with pytest.raises(ConfigError, match="tokens"):
        report_from_json(json.dumps(record))


def test_what_acts_in_training_only_is_compared_between_checkpoints(episode: MemoryEpisode) -> None:
    config = preset("tiny")
    blind = replace(config, loss=replace(config.loss, depth=0.0))
    one, two = loaded(strong_policy()), loaded(strong_policy(blind, seed=1), "no-depth")
    compared = compare_checkpoints(one, two, episode, [4, 6, 8])
    assert compared.differences == ("loss.depth: 0.05 -> 0.0",)
    assert compared.change[0].value.mean > 0
    assert len(compared.error) == len(compared.error_against) == 3
    assert compare_checkpoints(one, one, episode, [4, 6, 8]).change[0].value.mean == 0
    assert config_differences(config, config) == ()
    longer = replace(config, window=replace(config.window, chunk_size=4))
    with pytest.raises(ConfigError, match="chunk size"):
        compare_checkpoints(one, loaded(strong_policy(longer)), episode, [4, 6])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("knockout")
    save_packed(make_recording(length=12, frame_stride=1, size=(32, 32)), root / "episode")
    config = preset("tiny")
    save_inference_checkpoint(root / "checkpoint", strong_policy(), config, {})
    save_inference_checkpoint(root / "against", strong_policy(seed=1), config, {})
    return root


def test_the_command_prints_a_ranked_table_and_writes_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "knockout.json"
    arguments = [str(folder / "episode"), "--checkpoint", str(folder / "checkpoint"), "--json", str(out)]
    arguments += ["--against", str(folder / "against"), "--times", "4", "--draws", "2"]
    assert main(arguments) == 0
    printed = capsys.readouterr()
    assert "blocked: the mask lets no path" in printed.out
    assert "action differs by" in printed.out
    assert "] FLOW by zero" in printed.err
    written = report_from_json(out.read_text())
    assert table(written) == printed.out
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("change", [{"times": 1}, {"draws": 0}])
def test_settings_out_of_range_are_named(folder: Path, change: dict[str, int]) -> None:
    options = Options(episode=str(folder / "episode"), checkpoint=folder / "checkpoint")
    with pytest.raises(ConfigError, match="--times"):
        run(dataclasses.replace(options, **change))


def test_one_checkpoint_cannot_answer_for_training(report: KnockoutReport) -> None:
    assert report.training_only == ("current depth supervision", "future RGB-D supervision", "3D flow supervision")
    assert "not answerable from one checkpoint" in table(report)

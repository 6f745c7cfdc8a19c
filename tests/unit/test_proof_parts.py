"""The parts of a proof: layout, specification files, closure, and that it does not disturb what it proves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from model.attention import attention_mask
from model.config import preset
from model.errors import ConfigError
from model.tokens import token_layout
from tests.proof_faults import correct_configs
from workbench.proof.declared import declared_by
from workbench.proof.perturbation import covering_frames, forbidden_trials
from workbench.proof.policy import PolicySubject, proof_config, random_policy
from workbench.proof.prove import prove
from workbench.proof.reach import Paths, hops, reach
from workbench.proof.report import Extent, Group, Verdict
from workbench.proof.sequence import TokenTable, extent
from workbench.proof.spec_file import parse_spec, read_spec

GROUPS = [{"name": "GOAL", "count": 2, "prefix": True}, {"name": "IMG", "count": 2}, {"name": "ACT", "count": 1}]
SPEC: dict[str, Any] = {
    "name": "mine",
    "groups": GROUPS,
    "frames": 3,
    "sets": {"INPUTS": ["GOAL", "IMG"]},
    "rules": [
        {"attender": ["IMG", "ACT"], "attended": "INPUTS", "earlier": "all", "same": "causal"},
        {"attender": "*", "attended": ["ACT"], "same": "self"},
    ],
}


def test_specification_becomes_a_mask() -> None:
    spec = parse_spec(SPEC)
    table = TokenTable(groups=(Group(name="GOAL", count=2, prefix=True), *spec.groups[1:]), n_frames=3)  # type: ignore
    mask = spec.mask(table)
    assert table.length == 11
    assert not mask[:2].any()
    assert mask[2, :3].all()
    assert not mask[2, 3]
    assert mask[10].tolist() == [True, True, True, True, False, True, True, False, True, True, True]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("rules", 0, "same"), "some", r"rules\[0\]\.same must be one of none, all, causal, self"),
        (("rules", 0, "sooner"), "all", r"rules\[0\] has an unknown field 'sooner'"),
        (("rules", 0, "attender"), [], r"rules\[0\]\.attender must be a list with something in it"),
        (("groups", 1, "count"), 0, r"groups\[1\]\.count must be a whole number >= 1"),
        (("groups", 1, "count"), True, r"groups\[1\]\.count must be a whole number >= 1"),
        (("groups", 2, "name"), "IMG", r"groups\[2\]\.name repeats 'IMG'"),
        (("groups", 2, "prefix"), True, r"groups\[2\]: prefix groups stand before the others"),
        (("frames",), 10**9, "frames must be a whole number >= 1"),
        (("name",), None, "name must be a name, got null"),
        (("rules",), [], "rules must be a list with something in it"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, path: tuple[Any, ...], value: object, message: str) -> None:
    data = json.loads(json.dumps(SPEC))
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=message):
        read_spec(file)


def test_files_that_are_no_specification(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_spec(tmp_path / "absent.json")
    file = tmp_path / "spec.json"
    for text, message in (("{", "is not JSON"), ("[" * 100_000, "is not JSON"), ("3", "must be an object")):
        file.write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_spec(file)


def test_a_specification_for_another_layout_is_refused() -> None:
    table = TokenTable(groups=(Group(name="IMG", count=3), Group(name="ACT", count=1)), n_frames=3)
    with pytest.raises(ConfigError, match="has prefix GOAL x 2 where the model has IMG x 3"):
        parse_spec(SPEC).mask(table)
    unknown = parse_spec({"name": "x", "rules": [{"attender": "IMG", "attended": "FLOW", "same": "all"}]})
    with pytest.raises(ConfigError, match=r"rules\[0\]\.attended names FLOW; the groups are IMG, ACT"):
        unknown.mask(table)


@pytest.mark.parametrize("name", [*correct_configs(), "compact", "foresight", "foresight_2d", "gr_mg"])
def test_configuration_declares_the_mask_of_the_model(name: str) -> None:
    """Written twice, independently, token by token."""
    config = correct_configs().get(name) or preset(name)
    layout, spec = token_layout(config), declared_by(config)
    assert spec.groups is not None
    table = TokenTable(groups=spec.groups, n_frames=layout.n_frames)
    assert [table.groups[group].name for group in table.group] == [group.name for group in layout.tokens]
    assert table.frame.tolist() == layout.frames.tolist()
    assert torch.equal(spec.mask(table), attention_mask(layout, config.tokens))


def test_reach_grows_with_layers_and_paths_say_how() -> None:
    """0 <- 1 <- 2 <- 3: a chain is not visible at once."""
    mask = torch.zeros(4, 4, dtype=torch.bool)
    mask[0, 1] = mask[1, 2] = mask[2, 3] = True
    assert reach([mask])[0].tolist() == [True, True, False, False]
    assert reach([mask] * 2)[0].tolist() == [True, True, True, False]
    assert hops([mask] * 3)[0].tolist() == [0, 1, 2, 3]
    assert Paths([mask] * 3).shortest(0, 2) == [(1, 2, 1), (2, 1, 0)]
    assert Paths([mask]).shortest(0, 2) == []
    order = [mask, torch.zeros_like(mask)]
    assert hops(order)[0].tolist() == [0, 1, -1, -1]


def test_extents() -> None:
    yes, no = torch.ones(2, dtype=torch.bool), torch.zeros(2, dtype=torch.bool)
    assert [extent(x) for x in (no, yes, torch.cat([yes, no]), yes[:0])] == [
        Extent.NONE,
        Extent.ALL,
        Extent.SOME,
        Extent.NONE,
    ]


@pytest.mark.parametrize(("frames", "outputs", "chosen"), [(10, (0, 5, 9), [5]), (2, (0, 1), [0, 1]), (1, (0,), [0])])
def test_few_frames_cover_every_time_relation(frames: int, outputs: tuple[int, ...], chosen: list[int]) -> None:
    assert covering_frames(frames, outputs) == chosen


@pytest.mark.parametrize("name", ["foresight", "default", "token causal", "backbone"])
def test_few_replacements_cover_every_forbidden_pair_and_no_other(name: str) -> None:
    config = correct_configs().get(name) or preset(name)
    expected = reach([attention_mask(token_layout(config), config.tokens)] * config.trunk.layers)
    rows = torch.arange(0, len(expected), 3)
    trials = forbidden_trials(expected, rows)
    covered = torch.zeros_like(expected)
    for trial in trials:
        spared = ~expected[:, trial.keys].any(1)
        covered[spared.nonzero(), trial.keys] = True
    assert torch.equal(covered[rows], ~expected[rows])
    assert len(trials) <= len(torch.unique(expected[rows], dim=0))


def test_the_policy_is_as_it_was_after_its_proof() -> None:
    config = correct_configs()["one frame, future blind to flow"]
    policy = random_policy(config)
    policy.train()
    with torch.no_grad():
        policy.flow.head.weight.zero_()  # type: ignore[union-attr]
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    report = prove(PolicySubject(policy, "x"), declared_by(config), modes=("sdpa", "eager", "autocast", "train"))
    assert report.holds, [item for item in (*report.cells, *report.audits, *report.modes) if item.verdict != "OK"]
    assert policy.training
    assert policy.trunk.training
    assert all(parameter.requires_grad for parameter in policy.trunk.parameters())
    assert before.keys() == policy.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())


def test_bad_questions_are_refused() -> None:
    config = correct_configs()["one frame, future blind to flow"]
    subject = PolicySubject(random_policy(config), "x")
    with pytest.raises(ConfigError, match="has no mode 'flash'"):
        prove(subject, declared_by(config), modes=("flash",))
    with pytest.raises(ConfigError, match=r"output frames must lie in 0..0, got \[3\]"):
        prove(subject, declared_by(config), frames=(3,))


def test_nan_in_padding_is_reported_where_it_spreads(monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.proof.hygiene import audit_nan

    policy = random_policy(correct_configs()["default"])
    assert audit_nan(policy).verdict is Verdict.OK
    monkeypatch.setattr(torch.Tensor, "masked_fill", lambda tensor, mask, value: tensor)
    assert audit_nan(policy).verdict is Verdict.LEAK


def test_presets_are_proved_without_their_encoders() -> None:
    config = proof_config(preset("foresight"))
    assert (config.image.kind, config.text.kind) == ("stub", "compact")
    assert (config.trunk, config.tokens, config.window) == tuple(
        getattr(preset("foresight"), name) for name in ("trunk", "tokens", "window")
    )

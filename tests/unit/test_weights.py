"""Weights: the same policy comes back, and a file that does not fit is refused with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.config import preset
from model.errors import CheckpointError
from model.policy import Policy
from model.weights import compare_weights, load_weights, save_weights
from tests.policy_factories import make_observation, make_policy


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_weights(make_policy(preset("tiny"), seed=1), path)
    return path


def test_round_trip_gives_the_same_actions(saved: Path) -> None:
    original, loaded = make_policy(preset("tiny"), seed=1), make_policy(preset("tiny"), seed=2)
    observation = make_observation(preset("tiny"))
    assert not torch.equal(original.act(observation), loaded.act(observation))
    report = load_weights(loaded, saved)
    assert report.ok
    assert report.loaded == len(loaded.state_dict())
    assert torch.equal(original.act(observation), loaded.act(observation))


def test_nothing_but_learned_tensors_is_saved(saved: Path) -> None:
    names = {name for name, _ in Policy(preset("tiny")).named_parameters()}
    assert set(load_file(saved)) == names
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def _edit(path: Path, **changes: torch.Tensor | None) -> None:
    tensors = load_file(path)
    for name, value in changes.items():
        key = name.replace("__", ".")
        tensors.pop(key, None)
        if value is not None:
            tensors[key] = value
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trunk__norm__weight": None}, r"1 missing \(trunk\.norm\.weight\)"),
        ({"goal": torch.zeros(2)}, r"1 unexpected \(goal\)"),
        ({"trunk__norm__weight": torch.zeros(3)}, r"1 reshaped \(trunk\.norm\.weight: file \(3,\), policy \(64,\)\)"),
        ({"trunk__norm__weight": torch.full((64,), torch.nan)}, r"1 not finite \(trunk\.norm\.weight\)"),
    ],
)
def test_misfits_are_refused_by_name(saved: Path, change: dict[str, torch.Tensor | None], message: str) -> None:
    _edit(saved, **change)
    policy = make_policy(preset("tiny"), seed=2)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_weights(policy, saved)
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())


def test_weights_of_another_configuration_are_refused(saved: Path) -> None:
    config = replace(preset("tiny"), foresight=("depth", "flow"))
    with pytest.raises(CheckpointError, match=r"unexpected.*\.\.\."):
        load_weights(Policy(config), saved)


def test_missing_truncated_and_foreign_files(saved: Path) -> None:
    policy = Policy(preset("tiny"))
    with pytest.raises(CheckpointError, match="is missing"):
        load_weights(policy, saved.with_name("none.safetensors"))
    saved.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        load_weights(policy, saved)
    saved.write_bytes(b"\x80\x04pickle")
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        load_weights(policy, saved)


def test_a_failed_write_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = saved.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_weights(make_policy(preset("tiny"), seed=9), saved)
    assert saved.read_bytes() == before
    assert len(list(saved.parent.iterdir())) == 1


def test_report_counts_what_fits() -> None:
    policy = Policy(preset("tiny"))
    report = compare_weights(policy, {"trunk.norm.weight": torch.ones(64)})
    assert report.loaded == 1
    assert not report.ok
    assert str(report).startswith("1 tensors fit; ")

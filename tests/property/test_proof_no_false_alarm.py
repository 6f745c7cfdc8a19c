"""Policies without a fault are found to have none: ten configurations, three random weights each, and a trained one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proof_faults import correct_configs, say
from trainer.loop.checkpoint import load_checkpoint
from workbench.proof.declared import declared_by
from workbench.proof.modes import DEFAULT_MODES
from workbench.proof.policy import PolicySubject, random_policy
from workbench.proof.prove import prove
from workbench.proof.report import ProofReport

BUNDLED = Path(__file__).parents[2] / "assets" / "checkpoints" / "compact"


@pytest.fixture(scope="module")
def quiet(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Proofs without an alarm, by configuration; how many is said at the end."""
    names: list[str] = []
    yield names
    counted = f"{len(names)} proofs without an alarm, of {len(set(names))} configurations"
    say(request.config, f"{counted}: {len(correct_configs())} with three random weights each, one trained")


def _alarms(report: ProofReport) -> list[str]:
    found = [f"{cell.name}: {cell.detail}" for cell in (*report.cells, *report.decoders) if cell.verdict != "OK"]
    found += [f"{audit.name}: {audit.detail} {audit.places}" for audit in report.audits if audit.verdict != "OK"]
    return found + [f"{mode.mode}: {mode.detail}" for mode in report.modes if mode.verdict != "OK"]


@pytest.mark.slow
@pytest.mark.parametrize("name", correct_configs())
def test_correct_configuration_with_three_random_weights(name: str, quiet: list[str]) -> None:
    config = correct_configs()[name]
    for seed in range(3):
        # The other modes run the same code whatever the weights.
        modes = DEFAULT_MODES if seed == 0 else DEFAULT_MODES[:1]
        report = prove(PolicySubject(random_policy(config, seed), name), declared_by(config), modes=modes, seed=seed)
        assert report.holds, _alarms(report)
        assert not _alarms(report)
        quiet.append(name)


@pytest.mark.slow
def test_trained_checkpoint(quiet: list[str]) -> None:
    loaded = load_checkpoint(BUNDLED)
    report = prove(PolicySubject(loaded.policy, "bundled"), declared_by(loaded.config), modes=DEFAULT_MODES)
    assert report.holds, _alarms(report)
    quiet.append("trained")

"""The command fails on every planted fault and names the right cell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proof_faults import FAULTS, Fault, say
from workbench.proof.declared import declared_by
from workbench.proof.policy import PolicySubject
from workbench.proof.prove import prove
from workbench.proof.report import Cell, ProofReport, Relation, Verdict
from workbench.proof.report_json import report_from_json
from workbench.prove import main


def _cells(report: ProofReport, where: str) -> list[Cell]:
    if where == "cells":
        return list(report.cells)
    (mode,) = (mode for mode in report.modes if mode.mode == where)
    return list(mode.findings)


@pytest.fixture(scope="module")
def caught(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Names of the faults that were found; how many is said at the end."""
    names: list[str] = []
    yield names
    say(request.config, f"planted faults caught: {len(names)} of {len(FAULTS)}")


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_exits_with_1_and_is_named(
    name: str,
    caught: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fault, out = FAULTS[name](), tmp_path / "proof.json"
    monkeypatch.setattr("workbench.prove._subject", lambda _: PolicySubject(fault.policy, name))
    with fault.active():
        code = main(["--preset", "tiny", "--modes", *fault.modes, "--json", str(out)])
    assert code == 1
    _check_named(name, fault, report_from_json(out.read_text()), capsys.readouterr().out)
    caught.append(name)


def _check_named(name: str, fault: Fault, report: ProofReport, printed: str) -> None:
    assert printed.startswith(f"DOES NOT HOLD: {name}")
    verdict = Verdict(fault.verdict)
    if fault.where == "audits":
        kind, place = fault.named
        found = [audit for audit in report.audits if audit.name.startswith(kind) and audit.verdict is verdict]
        assert any(place in text for audit in found for text in audit.places), report.audits
        return
    attender, attended, relation = fault.named
    key = (attender, attended, Relation(relation))
    (cell,) = (c for c in _cells(report, fault.where) if (c.attender, c.attended, c.relation) == key)
    assert cell.verdict is verdict, cell
    assert attender in cell.example
    assert "pair_influence" in cell.reproducer
    if verdict is Verdict.LEAK and name != "dropped in recomputation":  # which only gradients end to end can show
        assert cell.first_layer == 1
        assert cell.path


def test_only_the_cells_of_the_fault_are_named() -> None:
    fault = FAULTS["off-by-one group"]()
    report = prove(PolicySubject(fault.policy, "fault"), declared_by(fault.policy.config), modes=("sdpa",))
    direct = {
        (cell.attender, cell.attended, cell.relation)
        for cell in report.cells
        if any(layer.verdict is not Verdict.OK for layer in cell.layers)
    }
    assert direct == {("W_CLS", "ACT", Relation.SAME)}

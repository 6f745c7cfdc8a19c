"""Every planted fault is found, and the right cell is named."""

from __future__ import annotations

import pytest

from tests.proof_faults import FAULTS
from workbench.proof.declared import declared_by
from workbench.proof.policy import PolicySubject
from workbench.proof.prove import prove
from workbench.proof.report import Cell, ProofReport, Relation, Verdict


def _cells(report: ProofReport, where: str) -> list[Cell]:
    if where == "cells":
        return list(report.cells)
    (mode,) = (mode for mode in report.modes if mode.mode == where)
    return list(mode.findings)


@pytest.mark.parametrize("name", FAULTS)
def test_planted_fault_is_found_and_named(name: str) -> None:
    fault = FAULTS[name]()
    subject = PolicySubject(fault.policy, name)
    with fault.active():
        report = prove(subject, declared_by(fault.policy.config), modes=fault.modes)
    assert not report.holds
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

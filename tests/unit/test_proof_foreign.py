"""Transformers that this project did not write, with random weights: GPT-2 and its own causal mask."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from transformers import GPT2Config, GPT2Model

from workbench.proof.adapter import ForeignSubject
from workbench.proof.declared import Rule, Spec
from workbench.proof.prove import prove
from workbench.proof.report import Group, Relation, Verdict
from workbench.proof.sequence import TokenTable

TABLE = TokenTable(groups=(Group(name="IMG", count=2), Group(name="ACT", count=1)), n_frames=3)
EVERY = ("IMG", "ACT")
CAUSAL = Spec(name="causal", rules=(Rule(attender=EVERY, attended=EVERY, earlier="all", same="causal"),))
BLIND = Spec(
    name="nobody sees earlier actions",
    rules=(
        Rule(attender=EVERY, attended=("IMG",), earlier="all", same="causal"),
        Rule(attender=EVERY, attended=("ACT",), same="causal"),
    ),
)


@pytest.fixture(scope="module")
def subject() -> ForeignSubject:
    torch.manual_seed(0)
    model = GPT2Model(GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=16, vocab_size=8))

    @contextmanager
    def eager() -> Iterator[None]:
        model.set_attn_implementation("eager")
        try:
            yield
        finally:
            model.set_attn_implementation("sdpa")

    return ForeignSubject(
        "GPT-2",
        model,
        lambda tokens: model(inputs_embeds=tokens, use_cache=False).last_hidden_state,
        table=TABLE,
        layers=list(model.h),
        width=32,
        modes={"eager": eager},
    )


def test_gpt2_is_causal_on_the_fused_kernel_and_in_training(subject: ForeignSubject) -> None:
    report = prove(subject, CAUSAL, modes=("sdpa", "eval", "train"))
    assert report.holds, [item for item in (*report.cells, *report.audits, *report.modes) if item.verdict != "OK"]


def test_a_wrong_claim_about_gpt2_is_refuted(subject: ForeignSubject) -> None:
    """Actions of earlier frames are claimed to be invisible: directly they are not, and so nowhere."""
    report = prove(subject, BLIND, modes=("sdpa",))
    assert not report.holds
    assert report.cell("IMG", "ACT", Relation.EARLIER).verdict is Verdict.LEAK
    assert report.cell("IMG", "IMG", Relation.LATER).verdict is Verdict.OK


def test_gpt2s_eager_mask_is_a_finite_constant(subject: ForeignSubject) -> None:
    """Its written-out attention adds the most negative number: no influence today, and still not a mask."""
    report = prove(subject, CAUSAL, modes=("sdpa", "eager"))
    (audit,) = (audit for audit in report.audits if audit.name == "mask structure (eager)")
    assert audit.verdict is Verdict.LEAK
    assert "finite score" in audit.places[0]
    assert not report.holds

"""Transformers that this project did not write, with random weights: GPT-2 and its causal mask, Perceiver's latents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2Model, PerceiverConfig, PerceiverModel

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


PERCEIVER = TokenTable(
    groups=(Group(name="INPUT", count=4), Group(name="PAD", count=2), Group(name="LATENT", count=3)), n_frames=1
)


def _reads(*attended: str) -> Spec:
    return Spec(name="latents read", rules=(Rule(attender=("LATENT",), attended=attended, same="all"),))


class _Perceive(torch.nn.Module):
    """One read of the inputs by latents, cross attention and then their own, as a layer of [inputs, latents]."""

    def __init__(self, encoder: torch.nn.Module):
        super().__init__()
        self.encoder = encoder
        self.register_buffer("hidden", torch.tensor([0.0] * 4 + [-torch.inf] * 2)[None, None, None])

    def forward(self, tokens: Tensor) -> Tensor:
        inputs = tokens[:, :6]
        read = self.encoder(tokens[:, 6:], inputs=inputs, inputs_mask=self.hidden)
        return torch.cat([inputs, read.last_hidden_state], 1)


@pytest.fixture(scope="module")
def perceiver() -> ForeignSubject:
    torch.manual_seed(0)
    config = PerceiverConfig(num_latents=3, d_latents=32, d_model=32, num_self_attends_per_block=2)
    config.num_self_attention_heads = config.num_cross_attention_heads = 2
    module = _Perceive(PerceiverModel(config).encoder)
    return ForeignSubject("Perceiver", module, module, table=PERCEIVER, layers=[module], width=32)


def test_perceivers_latents_read_inputs_and_one_another_but_no_padding(perceiver: ForeignSubject) -> None:
    report = prove(perceiver, _reads("INPUT", "LATENT"), modes=("sdpa", "train"))
    assert {cell.verdict for cell in report.cells} == {Verdict.OK}
    assert report.cell("LATENT", "PAD", Relation.SAME).magnitude == 0
    # Its attention is not over the whole sequence: that its mask could not be read is said, not passed over.
    (audit,) = (audit for audit in report.audits if audit.name == "mask structure (sdpa)")
    assert audit.verdict is Verdict.UNDECIDED
    assert not report.holds


@pytest.mark.parametrize(
    ("declared", "attended", "verdict"),
    [(("INPUT",), "LATENT", Verdict.LEAK), (("INPUT", "LATENT", "PAD"), "PAD", Verdict.DEAD)],
)
def test_wrong_claims_about_perceiver_are_refuted(
    perceiver: ForeignSubject, declared: tuple[str, ...], attended: str, verdict: Verdict
) -> None:
    report = prove(perceiver, _reads(*declared), modes=("sdpa",))
    wrong = {(cell.attender, cell.attended): cell.verdict for cell in report.cells if cell.verdict is not Verdict.OK}
    assert wrong == {("LATENT", attended): verdict}

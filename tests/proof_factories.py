"""Proofs as data, made by hand: what the surfaces of a proof are tested with, without running one."""

from __future__ import annotations

from dataclasses import replace

from workbench.proof.report import (
    Audit,
    Cell,
    Extent,
    Group,
    Influence,
    LayerResult,
    ModeResult,
    ProofReport,
    Relation,
    Verdict,
)

GROUPS = (Group(name="GOAL", count=2, prefix=True), Group(name="IMG", count=4), Group(name="FLOW", count=3))


def influence(magnitude: float, *, leaking: int = 0, dead: int = 0) -> Influence:
    """Of twelve measured pairs."""
    active = 12 if magnitude else 0
    some = Extent.ALL if magnitude else Extent.NONE
    return Influence(extent=some, measured=12, active=active, leaking=leaking, dead=dead, magnitude=magnitude)


def cell(
    attender: str,
    attended: str,
    relation: Relation,
    *,
    declared: Extent = Extent.NONE,
    reach: Extent = Extent.NONE,
    verdict: Verdict = Verdict.OK,
    magnitude: float = 0.0,
) -> Cell:
    """A cell with one layer."""
    bad = verdict is not Verdict.OK
    flows = (f"{attended}@1 -> {attender}@2 (layer 1)",) if magnitude else ()
    found = influence(magnitude, leaking=12 * (verdict is Verdict.LEAK), dead=12 * (verdict is Verdict.DEAD))
    return Cell(
        attender=attender,
        attended=attended,
        relation=relation,
        declared=declared,
        reach=reach,
        gradient=found,
        perturbation=None,
        layers=(LayerResult(layer=1, gradient=found, perturbation=None, verdict=verdict),),
        verdict=verdict,
        magnitude=magnitude,
        first_layer=1 if magnitude else None,
        path=flows,
        example=f"{attender}[0]@2 <- {attended}[1]@1" if bad else "",
        detail="More than declared <here>." if bad else "",
        reproducer=f"reproduce('{attender}', '{attended}')" if bad else "",
    )


def make_proof(*, fault: bool = False) -> ProofReport:
    """A proof of a small mask that holds, or one with a leak, a dead cell, a failed audit and a failed mode."""
    every = {"declared": Extent.ALL, "reach": Extent.ALL, "magnitude": 0.5}
    names = [group.name for group in GROUPS]
    cells = [
        cell(q, k, relation, **(every if k != "FLOW" or (q == k and relation is Relation.SAME) else {}))  # pyright: ignore[reportArgumentType]
        for q in names
        for k in names
        for relation in Relation
        if relation is not Relation.LATER or k != "GOAL"
    ]
    modes = [
        ModeResult(
            mode="sdpa", verdict=Verdict.OK, difference=0.0, tolerance=1e-4, findings=(), detail="all", seconds=1.0
        )
    ]
    audits = [Audit(name="mask structure", verdict=Verdict.OK, detail="boolean in every layer")]
    if fault:
        leak = cell("IMG", "FLOW", Relation.SAME, verdict=Verdict.LEAK, magnitude=0.031)
        dead = cell("FLOW", "IMG", Relation.SAME, declared=Extent.ALL, reach=Extent.ALL, verdict=Verdict.DEAD)
        names_of = {(item.attender, item.attended, item.relation): item for item in (leak, dead)}
        cells = [names_of.get((item.attender, item.attended, item.relation), item) for item in cells]
        audits.append(
            Audit(name="degenerate rows", verdict=Verdict.LEAK, detail="a row sees nothing", places=("IMG[0]@0",))
        )
        modes.append(replace(modes[0], mode="checkpointed", verdict=Verdict.LEAK, findings=(leak,), difference=0.7))
    return ProofReport(
        subject="preset <small>",
        spec="configuration small",
        level="group",
        groups=GROUPS,
        n_frames=3,
        n_layers=1,
        output_frames=(-1, 0, 2),
        reference="sdpa",
        dtype="float32",
        cells=tuple(cells),
        decoders=(cell("action decoder", "FLOW", Relation.SAME, **every),),  # pyright: ignore[reportArgumentType]
        audits=tuple(audits),
        modes=tuple(modes),
        versions={"torch": "2.13.0"},
        hashes={"mask": "aa" * 32, "weights": "bb" * 32},
        seed=0,
        seconds=1.5,
    )

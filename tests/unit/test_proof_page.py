"""The Proof tab's server side: what a browser may ask for, runs that only their visitor finds, what is drawn."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from model.errors import ConfigError
from tests.factories import make_checkpoint, make_recording
from tests.proof_factories import make_proof
from tests.waiting import wait_until
from trainer.episodes.packed import save_packed
from trainer.metrics.interval import Interval
from workbench.catalog import Catalog
from workbench.charts.knockout import knockout_figures, knockout_rows, training_rows
from workbench.proof.knockout_report import (
    FORMAT,
    MEASURES,
    Effect,
    Identity,
    Knockout,
    KnockoutReport,
    Measured,
    report_json,
)
from workbench.proof.report_json import report_json as proof_json
from workbench.ui.proof_api import make_proof_api, result_payload, wish_of
from workbench.ui.proving import ProofDesk, Wish

POPEN = subprocess.Popen


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    root = tmp_path_factory.mktemp("proof-page")
    make_checkpoint(root / "tiny")
    save_packed(make_recording(length=8, frame_stride=1, size=(32, 32)), root / "episodes" / "lift")
    return Catalog(episode_roots=[root / "episodes"], checkpoint_roots=[root / "tiny"])


@pytest.fixture
def desk(catalog: Catalog) -> Iterator[ProofDesk]:
    desk = ProofDesk(catalog)
    yield desk
    desk.close()


def fake_command(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Runs `code` in place of the workbench's own command; its first argument is the folder of the run."""

    def arguments(_self: ProofDesk, _wish: Wish, folder: Path) -> list[str]:
        script = folder.parent / "fake.py"
        script.write_text(f"import sys, time, pathlib\nout = pathlib.Path(sys.argv[-1])\n{code}\n")
        return ["--help", str(script), str(folder)]

    def popen(command: list[str], **keywords: Any) -> object:
        return POPEN([sys.executable, *command[4:]], **keywords)

    monkeypatch.setattr(ProofDesk, "_arguments", arguments)
    monkeypatch.setattr("workbench.ui.proving.subprocess.Popen", popen)


def wait(desk: ProofDesk, name: str) -> str:
    wait_until(lambda: desk.look(name).state != "running", "the run ends")
    return desk.look(name).state


WISH = Wish(kind="prove", subject="preset:tiny")


def test_a_run_says_how_far_it_is_and_then_has_a_result(desk: ProofDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "sys.stderr.write('[3/8] gradients\\n'); sys.stderr.flush()\n"
    code += "while not (out / 'go').exists(): time.sleep(0.02)\n(out / 'proof.json').write_text('{}'); sys.exit(1)"
    fake_command(monkeypatch, code)
    name = desk.start(WISH)
    wait_until(lambda: desk.look(name).done, "it says how far it is")
    view = desk.look(name)
    assert (view.state, view.done, view.total, view.what) == ("running", 3, 8, "gradients")
    with pytest.raises(ConfigError, match="no result"):
        desk.result(name)
    (desk._runs[name].folder / "go").touch()
    assert wait(desk, name) == "finished"  # a mask that does not hold is a result as well
    assert desk.result(name) == "{}"
    assert desk.file(name, "proof.json").name == "proof.json"
    for other in ("log", "../log", "proof.html"):
        with pytest.raises(ConfigError, match="no such file"):
            desk.file(name, other)


def test_a_run_is_cancelled_and_bad_input_is_its_last_line(desk: ProofDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_command(monkeypatch, "time.sleep(60)")
    name = desk.start(WISH)
    desk.cancel(name)
    assert desk.look(name).state == "cancelled"
    fake_command(monkeypatch, "sys.stderr.write(f'[1/8] a\\nerror: {out}/specification.json: x\\n'); sys.exit(2)")
    name = desk.start(WISH)
    assert wait(desk, name) == "failed"
    assert desk.look(name).message == "specification.json: x"


def test_a_run_that_is_cleared_away_while_it_is_looked_at(desk: ProofDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_command(monkeypatch, "(out / 'proof.json').write_text('{}')")
    name = desk.start(WISH)
    assert wait(desk, name) == "finished"
    run, poll = desk._runs[name], desk._runs[name].process.poll

    def cleared() -> int | None:
        shutil.rmtree(run.folder, ignore_errors=True)  # another visitor's start
        return poll()

    monkeypatch.setattr(run.process, "poll", cleared)
    for ask in (desk.look, desk.result):
        with pytest.raises(ConfigError, match="cleared away"):
            ask(name)


def test_two_runs_at_once_and_no_more(desk: ProofDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_command(monkeypatch, "time.sleep(60)")
    names = [desk.start(WISH), desk.start(WISH)]
    assert len(set(names)) == 2
    assert min(map(len, names)) == 32
    with pytest.raises(ConfigError, match="2 runs are under way"):
        desk.start(WISH)
    desk.cancel(names[0])
    desk.start(WISH)


@pytest.mark.parametrize(
    "wish",
    [
        Wish(kind="prove", subject="preset:../tiny"),
        Wish(kind="prove", subject="checkpoint:/etc"),
        Wish(kind="prove", subject="/etc/passwd"),
        Wish(kind="diff", subject="preset:tiny", against="spec.json"),
        Wish(kind="knockout", subject="preset:tiny", episode="x"),
        Wish(kind="prove", subject="preset:tiny", spec="x" * 2_000_000),
    ],
)
def test_what_is_not_in_the_lists_starts_nothing(desk: ProofDesk, wish: Wish) -> None:
    with pytest.raises(ConfigError):
        desk.start(wish)
    assert desk._folder is not None
    assert not list(desk._folder.iterdir())


def test_names_and_ids_become_the_command_s_arguments(desk: ProofDesk, catalog: Catalog, tmp_path: Path) -> None:
    checkpoint, episode = catalog.checkpoints()[0], catalog.episodes()[0]
    subject = f"checkpoint:{checkpoint.id}"
    words = desk._arguments(Wish(kind="knockout", subject=subject, episode=episode.id, against=subject), tmp_path)
    path = str(checkpoint.path.absolute())
    assert words == [
        *["knockout", episode.name, "--checkpoint", path, "--json", str(tmp_path / "knockout.json")],
        *["--against", path],
    ]
    wish = Wish(kind="prove", subject="preset:tiny", spec='{"name": "x"}', everything=True, level="token")
    words = desk._arguments(wish, tmp_path)
    assert words[:3] == ["prove", "--preset", "tiny"]
    assert (tmp_path / "specification.json").read_text() == '{"name": "x"}'
    assert words[-2:] == ["--modes", "all"]
    assert "token" in words


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"kind": "rm"}', b'{"kind": "prove", "subject": 3}'])
def test_a_request_that_makes_no_sense_is_one_line(body: bytes) -> None:
    with pytest.raises(ConfigError):
        wish_of(body)


def test_the_routes_answer_in_one_line_and_name_no_folder(desk: ProofDesk, catalog: Catalog) -> None:
    app = FastAPI()
    app.include_router(make_proof_api(desk, catalog))
    with TestClient(app) as client:
        choices = client.get("/api/proof/choices")
        assert "tiny" in choices.json()["presets"]
        assert str(catalog.checkpoints()[0].path.parent) not in choices.text
        for answer in (
            client.get("/api/proof/runs/ffff"),
            client.get("/api/proof/runs/ffff/result"),
            client.get("/api/proof/runs/ffff/files/proof.json"),
            client.delete("/api/proof/runs/ffff"),
            client.post("/api/proof/runs", content=b"{"),
        ):
            assert answer.status_code == 422
            assert list(answer.json()) == ["error"]


def test_a_proof_is_drawn_with_its_matrix_and_details() -> None:
    payload = result_payload("prove", proof_json(make_proof(fault=True)))
    assert payload["holds"] is False
    assert 'class="pf-cell pf-leak"' in payload["markup"]
    assert "<small>" not in payload["markup"]


def interval(mean: float) -> Interval:
    return Interval(mean=float(mean), low=mean - 1.0, high=mean + 1.0, n=5)


def make_knockouts() -> KnockoutReport:
    def row(target: str, change: float) -> Knockout:
        effects = [
            Effect(measure=m, change=interval(change), random=interval(3), excess=interval(change - 3), verdict="alike")
            for m in MEASURES
        ]
        return Knockout(
            target=target,
            replacement="zero",
            tokens=4,
            status="measured",
            attention=interval(0.2),
            uniform=0.1,
            effects=tuple(effects),
        )

    blocked = Knockout(
        target="FUT", replacement="zero", tokens=0, status="blocked", attention=None, uniform=0.0, effects=()
    )
    some = Identity(name="a", about="lift", sha256="c0ffee")
    return KnockoutReport(
        format=FORMAT,
        checkpoint=some,
        episode=some,
        other_episode=None,
        steps=(1, 2, 3),
        action_size=(Measured(measure="translation_mm", value=interval(9)),),
        rows=(row("FLOW", 2.0), row("state", 8.0), blocked),
        draws=4,
        seed=0,
        training_only=("current depth supervision",),
        comparison=None,
        versions=("torch 2",),
        notes=("n",),
    )


def test_knock_outs_are_ranked_bars_beside_random_and_attention() -> None:
    report = make_knockouts()
    figure = knockout_figures(report)["rotation_deg"]["zero"]
    change, random, attention, uniform = figure["data"]
    assert change["y"] == random["y"] == attention["y"] == ["state", "FLOW"]
    assert change["x"] == [8.0, 2.0]
    assert random["x"] == [3.0, 3.0]
    assert attention["x"] == [20.0, 20.0]
    assert uniform["x"] == [10.0, 10.0]
    assert change["error_x"]["array"] == [1.0, 1.0]
    assert not knockout_figures(report)["rotation_deg"]["time"]["data"][0]["x"]


def test_the_table_twin_says_blocked_and_what_one_checkpoint_cannot_answer() -> None:
    report = make_knockouts()
    rows = knockout_rows(report)["zero"]
    assert [row[0] for row in rows] == ["state", "FLOW", "FUT"]
    assert {len(row) for row in rows} == {11}
    assert rows[2][-1].startswith("blocked: the mask")
    assert "not answerable from one checkpoint" in training_rows(report)[0][1]
    payload = result_payload("knockout", report_json(report))
    assert payload["replacements"] == [{"id": "zero", "label": "zeros"}]
    assert json.dumps(payload)

"""`python -m workbench prove`: exit codes, what it writes, and that the written lines do what they promise."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from model.config import PolicyConfig, preset
from model.errors import ConfigError
from tests.policy_factories import make_policy
from tests.proof_factories import make_proof
from trainer.loop.checkpoint import save_inference_checkpoint
from workbench.proof.report import Cell, ProofReport, Relation, Verdict
from workbench.proof.report_html import report_html
from workbench.proof.report_json import FORMAT, VERSION, report_from_json, report_json
from workbench.proof.report_text import report_text
from workbench.prove import main

ROOT = Path(__file__).resolve().parents[2]
HEAD = ["format", "version", "holds", "counts"]


def small() -> PolicyConfig:
    """Eleven tokens a frame, two frames, one layer."""
    config = preset("tiny")
    return replace(
        config,
        window=replace(config.window, n_obs_steps=2),
        tokens=replace(config.tokens, flow=2, future=1),
        resampler=replace(config.resampler, latents=1),
        trunk=replace(config.trunk, layers=1),
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prove") / "small"
    save_inference_checkpoint(folder, make_policy(small()), small(), {})
    return folder


@pytest.fixture(scope="module")
def without_flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A declaration that forbids what the policy does: the action looking at the flow."""
    path = tmp_path_factory.mktemp("spec") / "no-flow.json"
    inputs = ["LANG", "STATE", "S_PATCH", "S_CLS", "W_PATCH", "W_CLS"]
    queries = ["FLOW", "FUT_S", "FUT_W", "ACT"]
    rules = [{"attender": [*inputs, *queries], "attended": inputs, "earlier": "all", "same": "all"}]
    rules += [{"attender": [name], "attended": [name], "same": "all"} for name in queries]
    rules += [{"attender": ["FUT_S", "FUT_W"], "attended": ["FLOW"], "same": "all"}]
    path.write_text(json.dumps({"name": "the action is blind to the flow", "rules": rules}))
    return path


@pytest.fixture(scope="module")
def failed(checkpoint: Path, without_flow: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """Exit code and folder of a proof that does not hold."""
    out = tmp_path_factory.mktemp("failed")
    arguments = ["--checkpoint", str(checkpoint), "--spec", str(without_flow), "--modes", "sdpa"]
    arguments += ["--json", str(out / "proof.json"), "--html", str(out / "proof.html")]
    return main(arguments), out


def test_a_mask_that_is_as_declared_exits_with_0_and_pins_a_test_that_passes(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snippet, out = tmp_path / "test_mask.py", tmp_path / "proof.json"
    code = main(["--checkpoint", str(checkpoint), "--modes", "sdpa", "--pytest", str(snippet), "--json", str(out)])
    printed = capsys.readouterr()
    assert code == 0, printed.out
    assert printed.out.startswith("HOLDS: checkpoint small")
    assert re.search(r"^\[\d+/\d+\] ", printed.err, re.MULTILINE)
    record = json.loads(out.read_text())
    assert record["holds"]
    assert record["hashes"]["mask"] in snippet.read_text()
    environment = {**os.environ, "WORKBENCH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:dash", "-c", os.devnull]
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), str(snippet)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    snippet.write_text(snippet.read_text().replace(record["hashes"]["mask"], "0" * 64))
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), str(snippet)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert "mask is not the reviewed one" in done.stdout


def test_a_leak_exits_with_1_and_names_the_cell(failed: tuple[int, Path]) -> None:
    code, out = failed
    assert code == 1
    report = report_from_json((out / "proof.json").read_text())
    leaks = [cell.name for cell in report.cells if cell.verdict is Verdict.LEAK]
    assert leaks == ["ACT <- FLOW, same frame"]
    assert report_text(report).splitlines()[3].startswith("LEAK      ACT <- FLOW, same frame")


def test_the_reproducer_reproduces(failed: tuple[int, Path]) -> None:
    report = report_from_json((failed[1] / "proof.json").read_text())
    line = report.cell("ACT", "FLOW", Relation.SAME).reproducer
    done = subprocess.run([sys.executable, "-c", line], cwd=ROOT, capture_output=True, text=True, check=True)
    gradient, change = (float(number) for number in re.findall(r"[\d.]+(?:e-?\d+)?", done.stdout))
    assert gradient > 0
    assert change > 0


@pytest.mark.parametrize("make", [lambda out: (out / "proof.html").read_text(), None])
def test_the_page_opens_offline(failed: tuple[int, Path], make: object) -> None:
    html = (failed[1] / "proof.html").read_text() if make else report_html(make_proof(fault=True), "prove <x>")
    assert not re.findall(r"(?:src|href)=[\"'](?!#)", html)
    assert not re.search(r"https?:|//|@import|url\(|<script", html.replace("</", "<"))
    targets = set(re.findall(r'href="#([^"]+)"', html))
    assert targets
    assert targets <= set(re.findall(r' id="([^"]+)"', html))
    assert "LEAK" in html


def test_names_are_shown_and_not_obeyed() -> None:
    html = report_html(make_proof(fault=True), "prove '<b>'")
    assert "<small>" not in html
    assert "<here>" not in html
    assert "<b>'" not in html


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of --preset NAME and --checkpoint DIR"),
        (["--preset", "tiny", "--checkpoint", "x"], "one of --preset"),
        (["--preset", "huge"], "unknown preset 'huge'"),
        (["--preset", "tiny", "--modes", "magic"], "no mode 'magic'"),
        (["--preset", "tiny", "--json", "/nowhere/proof.json"], "--json /nowhere/proof.json: cannot be written"),
        (["--preset", "tiny", "--spec", "/nowhere/spec.json"], "spec.json cannot be read"),
    ],
)
def test_bad_input_is_one_error(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        main(arguments)


def test_bad_input_exits_with_2_through_the_command_line() -> None:
    command = [sys.executable, "-m", "workbench", "prove", "--preset", "huge"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_the_json_has_the_documented_fields_and_comes_back() -> None:
    report = make_proof(fault=True)
    record = json.loads(report_json(report))
    assert (record["format"], record["version"], record["holds"]) == (FORMAT, VERSION, False)
    assert list(record) == [*HEAD, *(item.name for item in dataclasses.fields(ProofReport))]
    assert list(record["cells"][0]) == [item.name for item in dataclasses.fields(Cell)]
    assert record["counts"] == {"OK": 23, "LEAK": 1, "DEAD": 1, "UNDECIDED": 0}
    assert report_from_json(report_json(report)) == report


def test_a_magnitude_that_is_no_number_is_null() -> None:
    report = make_proof()
    bad = replace(report, cells=(replace(report.cells[0], magnitude=math.nan), *report.cells[1:]))
    assert json.loads(report_json(bad))["cells"][0]["magnitude"] is None
    assert math.isnan(report_from_json(report_json(bad)).cells[0].magnitude)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "not a proof"),
        ({"version": 99}, "version 99"),
        ({"seed": "x"}, "field seed"),
        ({"cells": [{}]}, r"field cells\[0\]\.attender is missing"),
    ],
)
def test_json_of_something_else_is_refused(change: dict[str, object], message: str) -> None:
    record = json.loads(report_json(make_proof())) | change
    with pytest.raises(ConfigError, match=message):
        report_from_json(json.dumps(record))


def test_findings_come_first_with_path_and_reproducer() -> None:
    lines = report_text(make_proof(fault=True)).splitlines()
    assert lines[0] == "DOES NOT HOLD: preset <small> against configuration small"
    assert lines[3] == "LEAK      IMG <- FLOW, same frame"
    assert "          path: FLOW@1 -> IMG@2 (layer 1)" in lines
    assert "          reproduce: reproduce('IMG', 'FLOW')" in lines
    assert any(line.startswith("LEAK      IMG <- FLOW, same frame (mode checkpointed)") for line in lines)
    matrix = next(line for line in lines if line.strip().startswith("IMG "))
    assert matrix.split() == ["IMG", "d", "d", "d", "d", "d", "·", "L", "·"]


def test_presets_and_specifications_are_compared_cell_by_cell(
    checkpoint: Path, without_flow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--preset", "tiny", "--diff", "compact"]) == 0
    assert "0 cells differ" in capsys.readouterr().out
    out = tmp_path / "difference.json"
    assert main(["--checkpoint", str(checkpoint), "--diff", str(without_flow), "--json", str(out)]) == 1
    assert "  ACT <- FLOW, same: all of the pairs against none" in capsys.readouterr().out
    (cell,) = json.loads(out.read_text())["differences"]
    assert (cell["attender"], cell["attended"], cell["left"], cell["right"]) == ("ACT", "FLOW", "all", "none")
    assert main(["--preset", "foresight", "--diff", "gr_mg"]) == 1
    assert "S_PATCH <- S_PATCH, same: all of the pairs against some" in capsys.readouterr().out
    assert main(["--checkpoint", str(checkpoint), "--diff", str(checkpoint)]) == 0

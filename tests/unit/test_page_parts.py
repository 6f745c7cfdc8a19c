from __future__ import annotations

import dataclasses
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.config import preset_names
from model.errors import ConfigError, EpisodeError, WorkbenchError
from tests.factories import make_checkpoint, make_foresight, make_recording
from trainer.episodes.memory import MemoryEpisode
from trainer.episodes.packed import save_packed
from workbench.catalog import Catalog
from workbench.catalog_checkpoints import read_checkpoint_row
from workbench.charts.panels import clip_scales
from workbench.ui.launch import serve
from workbench.ui.options import AppOptions, parse_options
from workbench.ui.payload import frame_payload, plain, quantity, tracks
from workbench.ui.training import TrainingDesk, trainable_presets

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123456, "m", "0.0123 m"),
        (1234.5, "mm", "1234 mm"),
        (0.0, "mm", "0 mm"),
        (None, "mm", None),
        (float("nan"), "", None),
    ],
)
def test_quantities_have_three_digits_and_a_unit(value: float | None, unit: str, text: str | None) -> None:
    assert quantity(value, unit) == text


def test_json_gets_null_for_what_is_not_a_number() -> None:
    assert plain({"a": np.array([1.0, np.nan]), "b": np.float32(2), "c": float("inf")}) == {
        "a": [1.0, None],
        "b": 2.0,
        "c": None,
    }


def test_a_frame_s_payload_has_one_sheet_for_all_panels_and_the_tracks_of_moving_points() -> None:
    episode = MemoryEpisode(make_recording(length=20, frame_stride=1))
    foresight = make_foresight(episode, 6)
    payload = frame_payload(foresight, "static", clip_scales(episode, fallback={}), origin="live")
    places = [panel["at"] for panel in payload["panels"] if panel["at"] is not None]
    assert places == list(range(len(places)))
    assert payload["tracks"]["moving"] == int(foresight.flow.moving.sum())
    assert len(payload["tracks"]["predicted"]) == len(payload["tracks"]["true"]) <= 160
    assert payload["numbers"][0]["value"].endswith(" m")


def test_of_too_many_tracks_the_same_ones_are_drawn_at_every_time() -> None:
    episode = MemoryEpisode(make_recording(length=20, frame_stride=1))
    foresight = make_foresight(episode, 6, points=400)
    flow, size = foresight.flow, len(foresight.flow.uvz)
    moving = np.arange(size) % 2 == 0

    def drawn(moving: np.ndarray) -> set[tuple[float, ...]]:
        payload = tracks(dataclasses.replace(foresight, flow=dataclasses.replace(flow, moving=moving)))
        assert len(payload["predicted"]) == min(160, int(moving.sum()))
        return {tuple(track[0]) for track in payload["predicted"]}

    more = moving.copy()
    more[1] = True  # one point begins to move
    assert len(drawn(moving) - drawn(more)) <= 1


def test_flags_have_the_documented_names() -> None:
    options = parse_options(["--checkpoint", "a", "--checkpoint", "b", "--episodes", "c", "--port", "1234"])
    assert options.checkpoint == (Path("a"), Path("b"))
    assert options.episode_roots() == (Path("c"),)
    assert (options.host, options.port) == ("127.0.0.1", 1234)


def test_help_answers_without_torch_gradio_or_rerun() -> None:
    code = "import sys, app; sys.argv = ['app.py', '--help']\ntry: app.main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert not {'torch', 'gradio', 'rerun'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--episodes" in done.stdout


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "workbench.example"])  # noqa: S104
def test_an_address_others_can_reach_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="--host"):
        serve(AppOptions(host=host))


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"--port {port}"):
            serve(AppOptions(port=port))


@pytest.mark.parametrize("flag", ["checkpoint", "episodes"])
def test_what_was_named_must_exist(flag: str, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(WorkbenchError, match="no such"):
        serve(AppOptions(port=port, **{flag: (tmp_path / "absent",)}))


def _desk(folder: Path) -> TrainingDesk:
    return TrainingDesk(runs=folder / "runs", data_roots=[folder / "data"], catalog=Catalog())


@pytest.mark.parametrize("name", ["../x", "a/b", "", "A B", "-x", "x" * 41])
def test_run_names_cannot_leave_the_folder_of_runs(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        _desk(tmp_path).status(name)


@pytest.mark.parametrize(
    "change", [{"preset": "huge"}, {"data": 7}, {"data": -1}, {"hours": 0.0}, {"batch_size": 0}, {"name": "../up"}]
)
def test_bad_run_settings_start_nothing(tmp_path: Path, change: dict[str, object]) -> None:
    settings = {"name": "a", "preset": "tiny", "data": 0, "hours": 1.0, "batch_size": 2} | change
    with pytest.raises(ConfigError):
        _desk(tmp_path).start(**settings)  # pyright: ignore[reportArgumentType]
    assert not (tmp_path / "runs").exists()


def test_what_a_run_says_names_files_but_not_where_they_lie(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    elsewhere = Path("/mnt/lab/sets/calvin")  # of an earlier start of the app
    (run / "config.json").write_text(json.dumps({"training": {"data": [str(elsewhere)]}}))
    for message in (
        f"{tmp_path / 'data'}/x: is damaged",
        f"{elsewhere}/x: is damaged",
        f"{run}/config.json: is damaged",
    ):
        (run / "status.json").write_text(json.dumps({"state": "failed", "message": message}))
        said = _desk(tmp_path).status("a").message
        assert said in ("data/x: is damaged", "calvin/x: is damaged", "runs/a/config.json: is damaged")


def test_one_episode_is_not_several(tmp_path: Path) -> None:
    save_packed(make_recording(length=6, frame_stride=1), tmp_path / "data" / "one")
    assert _desk(tmp_path).data_choices() == [(f"{tmp_path.name}/data (1 episode)", 0)]
    save_packed(make_recording(length=6, frame_stride=1, seed=1), tmp_path / "data" / "two")
    assert _desk(tmp_path).data_choices() == [(f"{tmp_path.name}/data (2 episodes)", 0)]


def test_a_run_whose_process_is_gone_is_lost_and_says_its_last_words(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    (run / "status.json").write_text(json.dumps({"state": "running", "step": 5, "pid": os.getpid()}))  # not a trainer
    (tmp_path / "runs" / "a.log").write_text("step 5\nerror: no space left\n")
    (run / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"st')
    status = _desk(tmp_path).status("a")
    assert (status.state, status.step, status.message) == ("lost", 5, "error: no space left")
    assert [record["step"] for record in _desk(tmp_path).metrics("a")] == [1, 2]
    with pytest.raises(ConfigError, match="not running"):
        _desk(tmp_path).stop("a")


def test_a_run_is_stopped_by_the_signal_that_saves(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    code = "import time; print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, "trainer", str(run)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # from here on it carries its own command line
        (run / "status.json").write_text(json.dumps({"state": "running", "pid": process.pid}))
        desk = _desk(tmp_path)
        assert desk.status("a").state == "running"
        desk.stop("a")
        assert process.wait(20) == -signal.SIGTERM


def _ran(folder: Path) -> Path:
    run = folder / "runs" / "a"
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"training": {"preset": "tiny", "data": [str(folder / "data")]}}))
    return run


def test_who_presses_start_twice_gets_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exists, both, started = Path.exists, threading.Barrier(2), list[object]()

    def looked(path: Path) -> bool:
        found = exists(path)
        if path.name == "a":
            both.wait(20)  # both look before one acts
        return found

    monkeypatch.setattr(Path, "exists", looked)
    monkeypatch.setattr("workbench.ui.training.subprocess.Popen", lambda command, **_: started.append(command))
    desk = _desk(tmp_path)
    with ThreadPoolExecutor() as visitors:
        start = functools.partial(desk.start, name="a", preset="tiny", data=0, hours=1.0, batch_size=2)
        errors = [visit.exception() for visit in [visitors.submit(start) for _ in range(2)]]
    assert len(started) == 1
    assert [str(error) for error in errors if error] == ["a run called a exists; resume it, or choose another name"]


def test_who_presses_resume_twice_gets_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _ran(tmp_path)
    desk, popen, again = _desk(tmp_path), subprocess.Popen, list[Future[None]]()

    def start(_: object, **keywords: Any) -> object:
        if not again:
            again.append(visitors.submit(desk.resume, "a"))
            wait(again, 0.5)  # the second one either is done by then or waits for us
        return popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=keywords["stderr"])

    monkeypatch.setattr("workbench.ui.training.subprocess.Popen", start)
    with ThreadPoolExecutor() as visitors:
        desk.resume("a")
        first = desk._children["a"]
        assert str(again[0].exception()) == "a is running already"
    assert desk._children["a"] is first
    first.communicate(b"\n")


def test_a_run_that_has_said_its_last_word_is_not_starting_while_it_ends(tmp_path: Path) -> None:
    run = _ran(tmp_path)
    desk = _desk(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        desk._children["a"] = process
        for pid, state in ((process.pid, "stopped"), (process.pid + 1, "starting")):
            (run / "status.json").write_text(json.dumps({"state": "stopped", "pid": pid}))
            assert desk.status("a").state == state
            with pytest.raises(ConfigError, match="running already"):
                desk.resume("a")
        process.communicate(b"\n")


def test_a_run_that_ends_while_it_is_looked_at_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _ran(tmp_path)
    (run / "status.json").write_text(json.dumps({"state": "running", "pid": 1}))

    def ends(_: object, __: str) -> None:
        (run / "status.json").write_text(json.dumps({"state": "finished", "pid": 1}))

    monkeypatch.setattr(TrainingDesk, "_pid", ends)
    assert _desk(tmp_path).status("a").state == "finished"


def test_a_checkpoint_that_is_pruned_while_they_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = _ran(tmp_path) / "checkpoints"
    for step in (1, 2):
        make_checkpoint(checkpoints / f"step-{step:06d}")
    glob = Path.glob

    def listed(folder: Path, pattern: str) -> list[Path]:
        found = list(glob(folder, pattern))
        if pattern.startswith("checkpoints"):
            shutil.rmtree(checkpoints / "step-000001")
        return found

    monkeypatch.setattr(Path, "glob", listed)
    assert _desk(tmp_path).open_checkpoint("a") == read_checkpoint_row(checkpoints / "step-000002").id


def test_an_unknown_episode_is_the_input_s_fault() -> None:
    with pytest.raises((ConfigError, EpisodeError)):
        Catalog().open("ffffffffffff")


def test_the_train_tab_offers_what_needs_no_folder_of_weights() -> None:
    assert trainable_presets() == ("tiny", "compact")
    assert set(trainable_presets()) < set(preset_names())

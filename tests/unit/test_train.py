"""The loop: it learns, resumes bit for bit, stops when asked, and refuses what would lose something."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from model.config import PolicyConfig, preset, to_json
from model.errors import ConfigError, EpisodeError, TrainingError
from tests.factories import make_recording
from tests.policy_factories import make_observation, make_policy, make_targets
from tests.waiting import wait_until
from trainer.episodes.packed import save_packed
from trainer.loop.checkpoint import load_checkpoint
from trainer.loop.ema import Ema
from trainer.loop.optim import build_optimizer
from trainer.loop.options import TrainOptions
from trainer.loop.signals import stop_on_signals
from trainer.loop.step import Updater
from trainer.loop.train import main

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("episodes")
    for seed in range(2):
        recording = make_recording(length=20, size=(32, 32), frame_stride=1, seed=seed)
        save_packed(recording, folder / f"e{seed}", encoding="mapped")
    return folder


def arguments(data: Path, out: Path, *, steps: int = 6, **options: object) -> list[str]:
    given: dict[str, object] = {
        "preset": "tiny", "batch-size": 2, "warmup-steps": 2, "workers": 0, "threads": 1, "device": "cpu",
        "precision": "fp32", "flow-points": 8, "log-every": 1, "save-every": 100, "probe-every": 100,
    }  # fmt: skip
    given |= {name.replace("_", "-"): value for name, value in options.items()}
    flags = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    return ["--data", str(data), "--out", str(out), "--steps", str(steps), *flags]


def logged(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def losses(out: Path) -> list[tuple[int, float, float]]:
    return [(line["step"], line["loss"], line["grad_norm"]) for line in logged(out)]


def make_updater(config: PolicyConfig, lr: float) -> Updater:
    policy = make_policy(config)
    return Updater(
        policy,
        config=config,
        optimizer=build_optimizer(policy, lr, 0.0),
        ema=Ema(policy, 0.9),
        precision="fp32",
        device=torch.device("cpu"),
        seed=0,
    )


def learnable_config() -> PolicyConfig:
    """Weights under which every term counts: the paper's balance learns the gripper slowly."""
    tiny = preset("tiny")
    loss = dataclasses.replace(tiny.loss, depth=1.0, future=1.0, flow=1.0, gripper=1.0, kl=0.01, flow_visibility=1.0)
    return dataclasses.replace(tiny, loss=loss)


def test_updates_learn_and_phase_1_leaves_the_action_alone() -> None:
    config = learnable_config()
    updater = make_updater(config, lr=3e-3)
    action = {name: value.clone() for name, value in updater.policy.state_dict().items() if name.startswith("action.")}
    batch = (make_observation(config), make_targets(config, frames=(2,), points=8))
    totals = [updater.update([batch], step=step, lr=3e-3, phase=1).terms["total"] for step in range(40)]
    assert totals[-1] < 0.7 * totals[0]
    after = updater.policy.state_dict()
    assert action
    assert all(torch.equal(after[name], value) for name, value in action.items())
    assert "action_arm" in updater.update([batch], step=40, lr=3e-3, phase=2).terms
    assert not all(torch.equal(after[name], value) for name, value in action.items())


def test_a_run_leaves_what_it_promises(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(arguments(data, out, probe_every=3, save_every=4)) == 0
    assert {"config.json", "metrics.jsonl", "status.json", "probes", "checkpoints", "final"} <= set(os.listdir(out))
    lines = logged(out)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert [line["phase"] for line in lines] == [1, 1, 1, 2, 2, 2]  # 40 % of 6 updates are 2.4
    assert "action_arm" not in lines[0]["terms"]
    watched = [(line["phase"], "latent_active" in line) for line in lines]
    assert set(watched) == {(1, False), (2, True)}
    assert 0 <= lines[-1]["latent_active"] <= 8
    assert {"depth", "future_rgb", "future_depth", "flow", "action_arm", "action_kl"} <= lines[-1]["terms"].keys()
    assert all(line["windows_per_s"] > 0 and 0 <= line["data_wait"] <= 1 for line in lines)
    status = json.loads((out / "status.json").read_text())
    assert (status["state"], status["step"], status["total"], status["pid"]) == ("finished", 6, 6, os.getpid())
    assert {path.name for path in (out / "probes").iterdir()} == {
        f"step-{step:06d}.{kind}" for step in (1, 3, 6) for kind in ("png", "json")
    }
    loaded = load_checkpoint(out / "final")
    assert loaded.metadata["step"] == 6
    assert loaded.metadata["weights"] == "EMA"
    assert loaded.metadata["data"]["episodes"] == 2
    assert loaded.config.stats != preset("tiny").stats  # measured, not the default


@pytest.mark.parametrize("stop", [2, 3])
def test_a_resumed_run_is_bit_equal(data: Path, tmp_path: Path, stop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    main(arguments(data, whole))

    real = Updater.update

    def interrupted(self: Updater, *args: object, step: int, **kwargs: object) -> object:
        if step == stop:
            raise KeyboardInterrupt
        return real(self, *args, step=step, **kwargs)  # pyright: ignore

    monkeypatch.setattr(Updater, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        main(arguments(data, parts, save_every=1))
    monkeypatch.setattr(Updater, "update", real)
    assert main([*arguments(data, parts), "--resume"]) == 0
    assert losses(parts) == losses(whole)
    first, second = (load_file(out / "final" / "weights.safetensors") for out in (whole, parts))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_loader_processes_do_not_change_the_numbers(data: Path, tmp_path: Path) -> None:
    for workers in (0, 1):
        main(arguments(data, tmp_path / str(workers), steps=3, workers=workers))
    assert losses(tmp_path / "0") == losses(tmp_path / "1")


def test_accumulation_equals_one_large_batch() -> None:
    config = learnable_config()
    observation, targets = make_observation(config, batch=2), make_targets(config, batch=2)
    halves = [
        (take(observation, row), dataclasses.replace(take(targets, row), frames=targets.frames)) for row in (0, 1)
    ]
    whole = make_updater(config, 1e-3).update([(observation, targets)], step=0, lr=1e-3, phase=1)
    split = make_updater(config, 1e-3).update(halves, step=0, lr=1e-3, phase=1)
    assert split.terms["total"] == pytest.approx(whole.terms["total"], rel=1e-5)
    assert split.grad_norm == pytest.approx(whole.grad_norm, rel=1e-4)


def take(batch, row: int):
    fields = {item.name: getattr(batch, item.name) for item in dataclasses.fields(batch)}
    whole = {name: value for name, value in fields.items() if name == "frames" or value is None}
    return type(batch)(**whole, **{name: value[row : row + 1] for name, value in fields.items() if name not in whole})


def test_an_update_that_is_not_finite_changes_nothing() -> None:
    config = preset("tiny")
    updater = make_updater(config, 1e-3)
    before = {name: value.clone() for name, value in updater.policy.state_dict().items()}
    observation, targets = make_observation(config), make_targets(config)
    broken = dataclasses.replace(targets, flow_delta=targets.flow_delta * torch.nan)
    result = updater.update([(observation, broken)], step=0, lr=1e-3, phase=1)
    assert not result.applied
    assert np.isnan(result.terms["flow"])
    assert all(torch.equal(value, before[name]) for name, value in updater.policy.state_dict().items())
    assert updater.update([(observation, targets)], step=1, lr=1e-3, phase=1).applied


def test_a_run_of_bad_updates_stops_with_the_names_of_the_episodes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        "trainer.loop.step.loss_terms", lambda *_: {"flow": torch.tensor(torch.nan, requires_grad=True)}
    )
    with caplog.at_level(logging.WARNING), pytest.raises(TrainingError, match=r"flow.*e[01]#0"):
        main(arguments(data, tmp_path / "run", steps=20))
    assert caplog.text.count("update skipped") == 4
    status = json.loads((tmp_path / "run" / "status.json").read_text())
    assert status["state"] == "failed"
    assert "lower --lr" not in status["message"]
    assert (tmp_path / "run" / "checkpoints" / "step-000005" / "manifest.json").is_file()


def test_a_run_is_not_overwritten_and_resumes_with_its_own_options(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    main(arguments(data, out, steps=2))
    with pytest.raises(ConfigError, match="--resume"):
        main(arguments(data, out, steps=2))
    with pytest.raises(ConfigError, match=r"--lr .*started with 0\.001"):
        main([*arguments(data, out, steps=3, lr=0.5), "--resume"])
    with pytest.raises(ConfigError, match="not empty"):
        main(arguments(data, data))
    assert main(["--data", str(data), "--out", str(out), "--steps", "3", "--workers", "0", "--resume"]) == 0
    assert [line["step"] for line in logged(out)] == [1, 2, 3]
    assert load_checkpoint(out / "final").metadata["training"]["batch_size"] == 2


def test_a_preset_may_be_a_file(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(to_json(dataclasses.replace(preset("tiny"), name="mine")))
    main(arguments(data, tmp_path / "run", steps=1, preset=path))
    assert load_checkpoint(tmp_path / "run" / "final").config.name == "mine"
    with pytest.raises(ConfigError, match="no such file"):
        main(arguments(data, tmp_path / "other", preset=tmp_path / "absent.json"))


@pytest.mark.parametrize(("option", "value"), [("batch_size", 0), ("phase1_fraction", 2), ("steps", 0), ("seed", -1)])
def test_bad_options_are_named(
    data: Path, tmp_path: Path, option: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments(data, tmp_path / "run", **{option: value}))
    assert f"--{option.replace('_', '-')} must be" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_unknown_preset_is_named_and_leaves_nothing(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="compact"):
        main(arguments(data, tmp_path / "run", preset="huge"))
    assert not (tmp_path / "run").exists()


def test_data_without_episodes_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(EpisodeError, match=r"empty: .*trainer record"):
        main(arguments(tmp_path / "empty", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_probe_that_is_not_there_is_named_before_the_run_has_a_folder(data: Path, tmp_path: Path) -> None:
    with pytest.raises(EpisodeError, match="absent"):
        main(arguments(data, tmp_path / "run", probe=tmp_path / "absent"))
    assert not (tmp_path / "run").exists()


def test_signals_only_ask_and_their_handlers_go() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals() as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop
        assert stop.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_the_run_can_go_on(data: Path, tmp_path: Path, number: signal.Signals, code: int) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "trainer", "train", *arguments(data, out, steps=100_000, workers=1)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log, stdout=log, start_new_session=True)
        told = out / "metrics.jsonl"
        wait_until(lambda: told.exists() or process.poll() is not None, "a step is made", seconds=240)
        os.killpg(process.pid, number)  # as a terminal or a scheduler does: the loader process gets it too
        assert process.wait(timeout=60) == code, (tmp_path / "log").read_text()
    status = json.loads((out / "status.json").read_text())
    assert status["state"] == "stopped"
    assert status["step"] == logged(out)[-1]["step"]
    assert main([*arguments(data, out, steps=status["step"] + 1), "--resume"]) == 0


def test_a_checkpoint_does_not_tell_folders() -> None:
    options = TrainOptions(data=(Path("/some/where/data"),), out=Path("/some/where/run"), preset="/some/where/my.json")
    assert "/some" not in json.dumps(options.facts())
    assert options.facts()["data"] == ["data"]

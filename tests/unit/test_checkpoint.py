"""Checkpoints through the disk and back, and a clear error for everything that is none."""

from __future__ import annotations

import errno
import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.config import preset, to_json
from model.errors import CheckpointError
from model.policy import Policy
from tests.factories import make_checkpoint
from tests.policy_factories import make_policy
from trainer.files import new_folder
from trainer.loop import resume
from trainer.loop.checkpoint import CARD, CONFIG, METADATA, WEIGHTS, load_checkpoint, save_inference_checkpoint
from trainer.loop.ema import Ema
from trainer.loop.optim import build_optimizer, optimizer_state
from trainer.loop.resume import KEEP, Progress, RunStore, restore_run

CONFIG_TINY = preset("tiny")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "checkpoint")


def reseal(folder: Path, name: str, data: bytes) -> Path:
    """The same checkpoint with one file replaced and a manifest that agrees: damage that hashes cannot show."""
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "manifest.json"}
    files[name] = data
    other = folder.with_name("resealed")
    with new_folder(other, {"format": "foresight-workbench checkpoint", "version": 1}, CheckpointError) as temp:
        for key, value in files.items():
            (temp / key).write_bytes(value)
    return other


def weights_bytes(folder: Path, change: dict[str, torch.Tensor], drop: str | None = None) -> bytes:
    tensors = {name: value for name, value in load_file(folder / WEIGHTS).items() if name != drop} | change
    save_file(tensors, folder.with_name("weights"))
    return folder.with_name("weights").read_bytes()


def first_name(folder: Path) -> str:
    return min(load_file(folder / WEIGHTS))


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    policy = make_policy(CONFIG_TINY)
    save_inference_checkpoint(tmp_path / "a", policy, CONFIG_TINY, {"weights": "EMA", "step": 7})
    loaded = load_checkpoint(tmp_path / "a")
    assert loaded.config == CONFIG_TINY
    assert loaded.metadata == {"weights": "EMA", "step": 7, "encoders": {}}
    assert not loaded.policy.training
    assert {path.name for path in (tmp_path / "a").iterdir()} == {CARD, CONFIG, METADATA, WEIGHTS, "manifest.json"}
    for name, value in policy.state_dict().items():
        assert torch.equal(loaded.policy.state_dict()[name], value)


def test_the_content_hash_follows_weights_and_config_only(tmp_path: Path) -> None:
    policy = make_policy(CONFIG_TINY)
    hashes = []
    for name, metadata in (("a", {"step": 1}), ("b", {"step": 2})):
        save_inference_checkpoint(tmp_path / name, policy, CONFIG_TINY, metadata)
        hashes.append(load_checkpoint(tmp_path / name).content_hash)
    save_inference_checkpoint(tmp_path / "c", make_policy(CONFIG_TINY, seed=1), CONFIG_TINY, {})
    assert hashes[0] == hashes[1] != load_checkpoint(tmp_path / "c").content_hash


def test_an_existing_folder_is_not_overwritten(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="exists already"):
        make_checkpoint(checkpoint)


@pytest.mark.parametrize("name", [CONFIG, METADATA, WEIGHTS, "manifest.json"])
def test_a_missing_file_is_named(checkpoint: Path, name: str) -> None:
    (checkpoint / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("name", [CONFIG, METADATA, WEIGHTS, CARD])
def test_truncation_and_a_flipped_bit_are_found(checkpoint: Path, name: str) -> None:
    data = (checkpoint / name).read_bytes()
    (checkpoint / name).write_bytes(data[:-1])
    with pytest.raises(CheckpointError, match="truncated"):
        load_checkpoint(checkpoint)
    middle = len(data) // 2
    (checkpoint / name).write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    with pytest.raises(CheckpointError, match="sha256"):
        load_checkpoint(checkpoint)


def test_weights_that_do_not_fit_are_named(checkpoint: Path) -> None:
    name = first_name(checkpoint)
    for message, data in (
        ("missing", weights_bytes(checkpoint, {}, drop=name)),
        ("unexpected", weights_bytes(checkpoint, {"stranger": torch.zeros(1)})),
        (r"policy \(", weights_bytes(checkpoint, {name: torch.zeros(1, 2, 3, 4, 5)})),
        ("not finite", weights_bytes(checkpoint, {name: load_file(checkpoint / WEIGHTS)[name] * torch.nan})),
        ("safetensors", b"\x80\x04 this is a pickle"),
    ):
        other = reseal(checkpoint, WEIGHTS, data)
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(other)
        shutil.rmtree(other)


def test_a_foreign_or_newer_folder_is_refused(checkpoint: Path) -> None:
    for change, message in (({"format": "other"}, "not a checkpoint of this program"), ({"version": 2}, "version 2")):
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        (checkpoint / "manifest.json").write_text(json.dumps(manifest | change))
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(checkpoint)
        (checkpoint / "manifest.json").write_text(json.dumps(manifest))


def test_metadata_of_another_shape_is_refused(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"metadata\.json: field 'data'"):
        load_checkpoint(reseal(checkpoint, METADATA, b'{"data": 3}'))


def test_a_configuration_with_an_unknown_field_is_refused(checkpoint: Path) -> None:
    config = json.loads(to_json(CONFIG_TINY)) | {"surprise": 1}
    other = reseal(checkpoint, CONFIG, json.dumps(config).encode())
    with pytest.raises(CheckpointError, match="surprise"):
        load_checkpoint(other)


class Sitting:
    """A policy with optimizer and average that has made a few random updates."""

    def __init__(self, seed: int) -> None:
        self.policy: Policy = make_policy(CONFIG_TINY, seed)
        self.ema = Ema(self.policy, 0.9)
        self.optimizer = build_optimizer(self.policy, 0.01, 0.1)
        for _ in range(2):
            for parameter in self.policy.parameters():
                parameter.grad = torch.randn_like(parameter)
            self.optimizer.step()
            self.ema.update()

    def save(self, store: RunStore, step: int, *, last: bool = False) -> Path | None:
        progress = Progress(step=step, elapsed_s=1.5 * step, windows=8 * step)
        return store.save(
            policy=self.policy,
            ema=self.ema,
            optimizer=self.optimizer,
            config=CONFIG_TINY,
            metadata={"preset": "tiny"},
            progress=progress,
            last=last,
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        average = {f"ema/{name}": value for name, value in self.ema.average.items()}
        return {**self.policy.state_dict(), **average, **optimizer_state(self.optimizer, self.policy)}


def test_a_run_is_restored_bit_for_bit(tmp_path: Path) -> None:
    before, after = Sitting(0), Sitting(1)
    path = before.save(RunStore(tmp_path), 5)
    assert path is not None
    metadata = json.loads((path / METADATA).read_text())
    progress = restore_run(path, policy=after.policy, ema=after.ema, optimizer=after.optimizer, metadata=metadata)
    assert progress == Progress(step=5, elapsed_s=7.5, windows=40)
    assert after.ema.updates == before.ema.updates
    for name, value in before.tensors().items():
        assert torch.equal(after.tensors()[name], value), name


def test_a_training_checkpoint_opens_with_the_averaged_weights(tmp_path: Path) -> None:
    sitting = Sitting(0)
    path = sitting.save(RunStore(tmp_path), 5)
    assert path is not None
    loaded = load_checkpoint(path).policy.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in sitting.ema.average.items())
    assert any(not torch.equal(loaded[name], value) for name, value in sitting.policy.state_dict().items())


def test_an_inference_checkpoint_cannot_be_resumed(checkpoint: Path) -> None:
    sitting = Sitting(0)
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        restore_run(checkpoint, policy=sitting.policy, ema=sitting.ema, optimizer=sitting.optimizer, metadata={})


def test_the_newest_are_kept_and_a_damaged_one_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store, sitting = RunStore(tmp_path), Sitting(0)
    for step in range(1, KEEP + 3):
        sitting.save(store, step)
    assert [path.name for path in store.all()] == [f"step-{step:06d}" for step in range(3, KEEP + 3)]
    assert (store.folder / "latest").read_text() == f"step-{KEEP + 2:06d}\n"
    assert store.newest() == store.all()[-1]
    (store.all()[-1] / WEIGHTS).write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert store.newest() == store.all()[-2]
    assert "damaged" in caplog.text


@pytest.mark.parametrize("place", ["weights", "space"])
def test_a_full_disk_is_survived_until_the_last_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    store, sitting = RunStore(tmp_path), Sitting(0)
    sitting.save(store, 1)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    if place == "weights":
        monkeypatch.setattr(resume, "save_weights", full)
    else:
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with caplog.at_level(logging.WARNING):
        assert sitting.save(store, 2) is None
    assert "disk is full" in caplog.text
    assert {path.name for path in store.folder.iterdir()} == {"step-000001", "latest"}
    with pytest.raises(CheckpointError, match="disk is full"):
        sitting.save(store, 2, last=True)
    assert store.newest() == store.folder / "step-000001"


def test_the_card_states_facts_and_every_choice(tmp_path: Path) -> None:
    metadata = {"weights": "EMA", "step": 12, "data": {"episodes": 3, "tasks": ["a|b"], "episode_hashes": ["0f0f"]}}
    save_inference_checkpoint(tmp_path / "a", make_policy(CONFIG_TINY), CONFIG_TINY, metadata)
    card = (tmp_path / "a" / CARD).read_text()
    assert "| step | 12 |" in card
    assert r"| tasks | a\|b |" in card
    assert "| depth_source | image_tokens |" in card
    assert "0f0f" not in card
    assert "hours" not in card  # not given, so not stated

"""Labelling as jobs: named by content, made once, failures on record, a killed worker costs one episode."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.cli import run_command
from model.errors import ConfigError, EpisodeError, UnsafeFileError
from tests.factories import make_recording
from trainer.__main__ import COMMANDS
from trainer.episodes.open import find_episodes, open_episode
from trainer.episodes.packed import save_packed
from trainer.labels import store as store_module
from trainer.labels import track_labeller
from trainer.labels.computed import NETWORKS, operations_per_frame
from trainer.labels.depth_labeller import DepthLabeller
from trainer.labels.jobs import Job, Outcome, run_job
from trainer.labels.labeller import Label, label_key
from trainer.labels.local_pool import run_local
from trainer.labels.rates import measured, projection
from trainer.labels.ray_pool import run_ray
from trainer.labels.store import LabelStore
from trainer.labels.track_labeller import TrackLabeller

LABELLER = TrackLabeller(grid=4, reach=2)


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    for number in range(3):
        save_packed(make_recording(length=6, size=(24, 32), seed=number), tmp_path / "data" / str(number))
    return find_episodes(tmp_path / "data")


def test_a_job_is_done_once(names: Sequence[str], tmp_path: Path) -> None:
    job = Job(episode=names[0], labeller=LABELLER, store=tmp_path / "labels")
    first, second = run_job(job), run_job(job)
    assert (first.status, second.status) == ("made", "kept")
    assert first.frames == 3
    key = label_key(open_episode(names[0]).content_hash, LABELLER.identity)
    stored = LabelStore(tmp_path / "labels", "tracks").read(key)
    assert stored.facts["content_hash"] == open_episode(names[0]).content_hash
    np.testing.assert_array_equal(
        stored.arrays["static.visible"], LABELLER.label(open_episode(names[0])).arrays["static.visible"]
    )


def test_other_parameters_are_another_label(names: Sequence[str], tmp_path: Path) -> None:
    run_job(Job(episode=names[0], labeller=LABELLER, store=tmp_path))
    assert run_job(Job(episode=names[0], labeller=replace(LABELLER, reach=1), store=tmp_path)).status == "made"
    assert run_job(Job(episode=names[1], labeller=LABELLER, store=tmp_path)).status == "made"


def test_failures_are_on_record_and_tried_again_on_demand(
    names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_wrist = replace(LABELLER, view="wrist")
    save_packed(make_recording(length=6, size=(24, 32), views=("static",)), tmp_path / "data" / "3")
    names = find_episodes(tmp_path / "data")
    jobs = [Job(episode=name, labeller=no_wrist, store=tmp_path / "labels") for name in names]
    assert [run_job(job).status for job in jobs] == ["made", "made", "made", "failed"]
    assert [item["episode"] for item in LabelStore(tmp_path / "labels", "tracks").failures()] == [names[3]]

    def tried(*_: object) -> None:
        raise EpisodeError("tried again")

    monkeypatch.setattr(TrackLabeller, "label", tried)
    again = [run_job(job) for job in jobs]
    assert [outcome.status for outcome in again] == ["kept", "kept", "kept", "failed"]
    assert "no camera 'wrist'" in (again[3].error or "")
    assert run_job(replace(jobs[3], retry_failed=True)).error == "tried again"
    assert run_job(replace(jobs[0], retry_failed=True)).status == "kept"


def test_an_episode_that_cannot_be_opened_is_a_failure(tmp_path: Path) -> None:
    outcome = run_job(Job(episode=str(tmp_path / "nothing#0"), labeller=LABELLER, store=tmp_path))
    assert outcome.status == "failed"
    assert "does not exist" in (outcome.error or "")


def test_a_label_too_large_for_memory_and_a_failing_tracker_are_failures_on_record(
    names: Sequence[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 56 GiB")

    (tmp_path / "mine.py").write_text("def follow(frames, uv):\n    raise RuntimeError('CUDA out of memory')\n")
    store = LabelStore(tmp_path / "labels", "tracks")
    broken = replace(LABELLER, tracker=f"{tmp_path / 'mine.py'}:follow")
    outcome = run_job(Job(episode=names[0], labeller=broken, store=store.root))
    assert outcome.error == "the tracker failed (RuntimeError: CUDA out of memory)"
    monkeypatch.setattr(track_labeller, "classical_tracks", no_memory)
    outcome = run_job(Job(episode=names[1], labeller=LABELLER, store=store.root))
    assert outcome.error == "its label does not fit into memory (Unable to allocate 56 GiB)"
    assert sorted(item["episode"] for item in store.failures()) == list(names[:2])


def dies_on_the_second(job: Job) -> Outcome:
    """A worker that something kills whenever it works on episode 1."""
    if job.episode.endswith("1#0"):
        os.kill(os.getpid(), signal.SIGKILL)
    return Outcome(episode=job.episode, status="made")


@pytest.mark.chaos
def test_a_killed_worker_costs_its_episode_only(names: Sequence[str], tmp_path: Path) -> None:
    jobs = [Job(episode=name, labeller=LABELLER, store=tmp_path) for name in names]
    outcomes = {outcome.episode: outcome for outcome in run_local(jobs, 1, work=dies_on_the_second)}
    assert [outcomes[name].status for name in names] == ["made", "failed", "made"]
    assert outcomes[names[1]].error == "its worker process died twice"


def full_disk(job: Job) -> Outcome:
    raise OSError(28, "No space left on device", str(job.store))


def test_a_full_disk_ends_the_run(names: Sequence[str], tmp_path: Path) -> None:
    jobs = [Job(episode=name, labeller=LABELLER, store=tmp_path) for name in names]
    with pytest.raises(OSError, match="No space"):
        list(run_local(jobs, 1, work=full_disk))


def test_the_command_labels_goes_on_and_lists_failures(
    names: Sequence[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["label", "tracks", str(tmp_path / "data"), "--store", str(tmp_path / "labels"), "--workers", "1"]
    argv += ["--grid", "4", "--reach", "2", "--project", "44000", "--cost-per-hour", "2"]
    assert run_command("trainer", COMMANDS, argv) == 0
    out = capsys.readouterr().out
    assert "3 made, 0 were there, 0 failed" in out
    assert "44000 trajectories of 3 frames" in out
    assert run_command("trainer", COMMANDS, argv) == 0
    assert "0 made, 3 were there, 0 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("make", "option"),
    [
        (lambda: TrackLabeller(grid=0), "grid"),
        (lambda: TrackLabeller(reach=0), "reach"),
        (lambda: DepthLabeller(model="any", max_side=0), "max-side"),
    ],
)
def test_a_size_of_nothing_is_bad_input(make: Callable[[], object], option: str) -> None:
    with pytest.raises(ConfigError, match=f"--{option} must be at least 1, got 0"):
        make()


@pytest.mark.slow
def test_ray_makes_the_same_labels(names: Sequence[str], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    jobs = [Job(episode=name, labeller=LABELLER, store=tmp_path / "ray") for name in names]
    assert sorted(outcome.episode for outcome in run_ray(jobs, 1, None)) == sorted(names)
    assert [outcome.status for outcome in run_ray(jobs, 1, None)] == ["kept"] * len(names)
    for name in names:
        key = label_key(open_episode(name).content_hash, LABELLER.identity)
        made = LabelStore(tmp_path / "ray", "tracks").read(key)
        expected = LABELLER.label(open_episode(name))
        np.testing.assert_array_equal(made.arrays["static.displacement"], expected.arrays["static.displacement"])


# --- the store ---


def test_a_damaged_or_huge_label_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LabelStore(tmp_path, "depth")
    with pytest.raises(EpisodeError, match="no such label"):
        store.read("ab" * 32)
    store.write("ab" * 32, Label(arrays={"a": np.arange(5)}, facts={"x": 1}))
    whole = store.path("ab" * 32).read_bytes()
    for size in (0, 7, len(whole) // 2, len(whole) - 1):
        store.path("ab" * 32).write_bytes(whole[:size])
        with pytest.raises(EpisodeError, match="damaged"):
            store.read("ab" * 32)
    store.path("ab" * 32).write_bytes(whole)
    monkeypatch.setattr(store_module, "MAX_LABEL_BYTES", 10)
    with pytest.raises(UnsafeFileError, match="too large"):
        store.read("ab" * 32)


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"__metadata__": {"facts": "{}"}, "a": {"dtype": "BF16", "shape": [1, 2], "data_offsets": [0, 4]}}, 4),
        ({"__metadata__": {"facts": "{}"}, "a": {"dtype": "F8_E4M3", "shape": [1, 4], "data_offsets": [0, 4]}}, 4),
        ({"__metadata__": {"facts": "{}"}, "a": {"dtype": "F16", "shape": [], "data_offsets": [0, 2]}}, 2),
        ({"__metadata__": {"facts": "{}"}, "a": {"dtype": "F16", "shape": [0, 1 << 62], "data_offsets": [0, 0]}}, 0),
        ({"__metadata__": {"facts": "{}"}, "a": {"dtype": "F16", "shape": [1 << 40], "data_offsets": [0, 4]}}, 4),
        ({"__metadata__": {"facts": "[1]"}}, 0),
        ({"__metadata__": {"facts": "[" * 100_000}}, 0),
        ({"__metadata__": {}}, 0),
    ],
    ids=["bfloat16", "float8", "scalar", "empty", "huge", "facts-list", "facts-deep", "no-facts"],
)
def test_a_label_whose_header_lies_is_one_error(tmp_path: Path, header: dict[str, object], data: int) -> None:
    store, text = LabelStore(tmp_path, "depth"), json.dumps(header).encode()
    store.path("ab" * 32).parent.mkdir(parents=True)
    store.path("ab" * 32).write_bytes(len(text).to_bytes(8, "little") + text + bytes(data))
    with pytest.raises(EpisodeError, match=r"abab.*\.safetensors: damaged \(.+\); delete it and label again"):
        store.read("ab" * 32, 0)


def test_a_frame_is_read_alone(tmp_path: Path) -> None:
    store, values = LabelStore(tmp_path, "depth"), np.arange(24.0).reshape(4, 3, 2)
    store.write("ab" * 32, Label(arrays={"a": values}, facts={"x": 1}))
    part = store.read("ab" * 32, 2)
    assert part.facts == {"x": 1}
    np.testing.assert_array_equal(part.arrays["a"], values[2:3])
    with pytest.raises(EpisodeError, match="damaged"):
        store.read("ab" * 32, 4)  # it has fewer frames than its episode


def test_success_forgets_the_failure(tmp_path: Path) -> None:
    store = LabelStore(tmp_path, "depth")
    store.fail("cd" * 32, "here#0", "no network")
    assert store.failure("cd" * 32) == "no network"
    store.write("cd" * 32, Label(arrays={"a": np.arange(5)}, facts={}))
    assert store.failure("cd" * 32) is None
    assert list(store.failures()) == []


def test_operations_are_those_of_the_published_network() -> None:
    small, large = (operations_per_frame(network) for network in NETWORKS)
    tokens, width = 37 * 49 + 1, 384  # patches and the class token; a block has 12 width^2 weights and two attentions
    trunk = 12 * (2 * tokens * 12 * width**2 + 4 * tokens**2 * width)
    assert 1.2 * trunk < small < 3 * trunk  # the decoder comes on top
    assert 8 < large / small < 14


def test_a_projection_is_in_proportion() -> None:
    outcomes = [
        Outcome(episode="a", status="made", seconds=9.0, processor_seconds=4.5, bytes=10_000_000, frames=50)
    ] * 2
    rate = measured("tracks", [*outcomes, Outcome(episode="b", status="kept", frames=50)])
    assert rate is not None
    lines = projection(rate, 4000, worker_cost=2.5, gpu_cost=0.0).splitlines()
    assert lines[0] == "4000 trajectories of 50 frames, 200,000 frames:"
    own = [cell.strip() for cell in lines[4].strip("|").split("|")]
    assert own[:-1] == ["tracks", "one worker here", "5.6", "10.0", "40.0", "25"]
    assert own[-1] == "measured, 2 episodes, 100 frames; 5 of them processor-hours"
    others = [line for line in lines[5:] if "Depth Anything" in line]
    assert len(others) == 4
    assert all("computed, not measured" in line and "| - |" in line for line in others)
    assert measured("tracks", [Outcome(episode="b", status="kept")]) is None

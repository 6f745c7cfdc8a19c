"""`inspect` writes everything or nothing, and every bad input is one clear line with exit code 2."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from model.cli import run_command
from tests.factories import make_checkpoint, make_recording
from tests.foreign_factories import png
from trainer.episodes.packed import save_packed
from trainer.files import verify_folder
from trainer.loop.checkpoint import CHECKPOINT
from workbench.__main__ import COMMANDS

FILES = {"predictions.safetensors", "predictions.json", "metrics.json", "numbers.csv", "episode.rrd", "report.html"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an episode `full`, one without wrist camera, and a checkpoint `final`."""
    root = tmp_path_factory.mktemp("inputs")
    save_packed(make_recording(length=6, frame_stride=1, size=(32, 32)), root / "full")
    save_packed(make_recording(length=6, frame_stride=1, size=(32, 32), views=("static",)), root / "one-eyed")
    make_checkpoint(root / "final")
    return root


def inspect(*argv: object) -> int:
    return run_command("workbench", COMMANDS, ["inspect", *map(str, argv)])


def test_writes_all_files_and_a_manifest(inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert inspect(inputs / "full", "--checkpoint", inputs / "final", "--out", out, "--stride", 2) == 0
    assert set(verify_folder(out, CHECKPOINT)["files"]) == FILES
    steps = json.loads((out / "metrics.json").read_text())["steps"]
    assert [step["step"] for step in steps] == [0, 2, 4]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # no temporary folder left

    before = (out / "manifest.json").read_text()
    assert inspect(inputs / "full", "--checkpoint", inputs / "final", "--out", out) == 2  # in the way
    assert (out / "manifest.json").read_text() == before
    one_eyed = inputs / "one-eyed"
    assert inspect(one_eyed, "--checkpoint", inputs / "final", "--out", out, "--overwrite", "--stride", 5) == 0
    assert "no wrist" not in (out / "report.html").read_text()
    assert json.loads((out / "metrics.json").read_text())["episode"]["views"] == ["static"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_writes_the_3d_view_and_the_film_when_asked(inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    flags = ("--checkpoint", inputs / "final", "--out", out, "--stride", 5, "--ply", "--film")
    assert inspect(inputs / "full", *flags) == 0
    written = set(verify_folder(out, CHECKPOINT)["files"]) - FILES
    steps = [step["step"] for step in json.loads((out / "metrics.json").read_text())["steps"]]
    clouds = {f"{kind}-{step:05d}.ply" for kind in ("cloud", "tracks") for step in steps}
    assert written == clouds | {"panels-static.mp4", "panels-wrist.mp4"}


def damage(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:-7])


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("no episode", "not an episode"),
        ("episode missing", "does not exist"),
        ("episode truncated", "rgb"),
        ("checkpoint missing", "no such folder"),
        ("checkpoint unfinished", "manifest.json"),
        ("checkpoint truncated", "weights.safetensors"),
        ("checkpoint foreign", "not a checkpoint of this program"),
        ("not ours to overwrite", "was not written by this command"),
        ("out is below a file", "cannot be written"),
        ("stride", "--stride must be at least 1"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str, says: str
) -> None:
    episode = Path(shutil.copytree(inputs / "full", tmp_path / "episode"))
    checkpoint = Path(shutil.copytree(inputs / "final", tmp_path / "checkpoint"))
    out, extra = tmp_path / "out", []
    match fault:
        case "no episode":
            (episode / "manifest.json").unlink()
        case "episode missing":
            shutil.rmtree(episode)
        case "episode truncated":
            damage(episode, next(path.name for path in episode.iterdir() if "rgb" in path.name))
        case "checkpoint missing":
            shutil.rmtree(checkpoint)
        case "checkpoint unfinished":
            (checkpoint / "manifest.json").unlink()
        case "checkpoint truncated":
            damage(checkpoint, "weights.safetensors")
        case "checkpoint foreign":
            fields = json.loads((checkpoint / "manifest.json").read_text())
            (checkpoint / "manifest.json").write_text(json.dumps(fields | {"format": "other"}))
        case "not ours to overwrite":
            out.mkdir()
            (out / "thesis.txt").write_text("precious")
            extra = ["--overwrite"]
        case "out is below a file":
            (tmp_path / "file").write_text("")
            out = tmp_path / "file" / "out"
        case _:
            extra = ["--stride", 0]
    before = {path.name for path in tmp_path.iterdir()}
    code = inspect(episode, "--checkpoint", checkpoint, "--out", out, "--stride", 3, *extra)
    message = capsys.readouterr().err
    assert code == 2
    assert says in message
    assert message.count("\n") == 1
    assert message.startswith("error: ")
    assert "Traceback" not in message
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_damaged_frame_costs_its_steps_and_is_named(
    inputs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "film" / "static").mkdir(parents=True)
    pictures = [tmp_path / "film" / "static" / f"{step:06d}.png" for step in range(8)]
    for step, path in enumerate(pictures):
        path.write_bytes(png(np.full((32, 32, 3), 20 * step, np.uint8)))
    broken = pictures[5]
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"
    flags = ("--checkpoint", inputs / "final", "--out", out)
    assert inspect(tmp_path / "film", *flags) == 0
    steps = json.loads((out / "metrics.json").read_text())["steps"]
    assert [step["step"] for step in steps] == list(range(8))
    lost = [step["step"] for step in steps if step["metrics"] is None]
    assert 5 in lost
    assert 0 not in lost
    assert all(broken.name in step["reason"] for step in steps if step["metrics"] is None)
    assert f"{len(lost)} steps cannot be read" in caplog.text
    for path in pictures:
        path.write_bytes(path.read_bytes()[:60])
    assert inspect(tmp_path / "film", *flags, "--overwrite") == 2

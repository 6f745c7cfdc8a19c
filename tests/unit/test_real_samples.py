"""Every real sample beside the project opens, plays from end to end and goes through `inspect`, one of each kind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model.cli import run_command
from tests.factories import make_checkpoint
from trainer.episodes.open import find_episodes, open_episode
from workbench.__main__ import COMMANDS

DATA = Path(__file__).parents[3] / "shared/data"
NAMES = find_episodes(DATA) if DATA.is_dir() else []
KINDS = {
    "calvin_mini/training#0": "metres",
    "real/bridge_real_1.mp4": "a video",
    "real/bridge_real_2.mp4": "a video",
    "real/rt1_coke.mp4": "a video",
    "real/octo_bridge_rlds#24": "actions",
}

pytestmark = pytest.mark.skipif(not NAMES, reason=f"{DATA} is not here: real samples are not part of the project")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("policy") / "tiny")


def test_there_are_samples_of_every_kind() -> None:
    sources = [open_episode(name).info.source for name in NAMES]
    counts = {source: sources.count(source) for source in sources}
    assert counts == {"calvin": 4, "video": 3, "rlds bridge_dataset": 25}


@pytest.mark.parametrize("name", NAMES, ids=lambda name: str(Path(name).relative_to(DATA)))
def test_every_sample_plays_from_end_to_end(name: str) -> None:
    episode = open_episode(name)
    steps = [int(step) for step in episode.frame_steps]
    assert steps
    views = episode.info.views
    for view in views:
        images = [episode.rgb(view, step) for step in steps[:: max(1, len(steps) // 16)]]
        assert all(image.dtype == np.uint8 and image.std() > 5 for image in images)
        assert (images[0] != images[-1]).any()
    if episode.info.depth_origin is not None:
        depth = episode.depth("static", steps[-1])
        assert depth is not None
        assert 0.5 < float(np.nanmedian(depth)) < 10  # metres, whatever the file counts in


@pytest.mark.parametrize(("name", "kind"), KINDS.items())
def test_one_of_each_kind_goes_through_inspect(name: str, kind: str, checkpoint: Path, tmp_path: Path) -> None:
    flags = ["--checkpoint", str(checkpoint), "--out", str(tmp_path / "out"), "--stride", "16"]
    assert run_command("workbench", COMMANDS, ["inspect", str(DATA / name), *flags]) == 0
    numbers = json.loads((tmp_path / "out" / "metrics.json").read_text())
    computed = {row["name"] for row in numbers["summary"]}
    reasons = {row["name"]: row["reason"] for row in numbers["not_computed"]}
    assert not computed & reasons.keys()
    assert all(reasons.values())
    assert all(np.isfinite(row["value"]) for row in numbers["summary"])
    assert ("static.depth.rmse_m" in computed) == (kind == "metres")
    assert ("action.translation_mm" in computed) == (kind in ("metres", "actions"))
    assert "flow.moving.epe_mm" in reasons  # nobody can know it
    assert (tmp_path / "out" / "episode.rrd").stat().st_size > 1000

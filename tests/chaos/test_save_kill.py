"""kill -9 while an episode is being saved: afterwards it is complete or absent, and saving again works."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.errors import EpisodeError
from tests.factories import make_recording
from trainer.episodes.open import find_episodes, open_episode
from trainer.episodes.packed import PackedEpisode, save_packed

pytestmark = pytest.mark.chaos
ROOT = Path(__file__).parents[2]
KILLS = 30
# One interpreter, many writers: a fork starts saving at once, so that the kill hits the saving and not the imports.
KILLER = """
import os, signal, sys, time
from itertools import count
from pathlib import Path
import numpy as np
from tests.factories import make_recording
from trainer.episodes.packed import save_packed
recording = make_recording(length=30, size=(32, 32))
started = time.perf_counter()
save_packed(recording, Path(sys.argv[1]) / "first")
lasts = time.perf_counter() - started
rng = np.random.default_rng(0)
for attempt in range(int(sys.argv[2])):
    writer = os.fork()
    if writer == 0:
        for number in count():
            save_packed(recording, Path(sys.argv[1]) / str(attempt) / str(number), ("compressed", "mapped")[number % 2])
    time.sleep(rng.uniform(0, 3 * lasts))
    os.kill(writer, signal.SIGKILL)
    os.waitpid(writer, 0)
"""


def test_kill_while_saving_leaves_whole_episodes_only(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", KILLER, tmp_path, str(KILLS)], cwd=ROOT, check=True, env=environment)
    folders = [folder for folder in tmp_path.iterdir() if folder.name.isdigit()]
    unfinished = sum(".tmp-" in path.name for folder in folders for path in folder.iterdir())
    assert unfinished > KILLS // 4  # else the kills missed the saving, and nothing was tested
    for folder in folders:
        names = find_episodes(folder)
        for name in names:
            episode = open_episode(name)
            assert isinstance(episode, PackedEpisode)
            episode.verify()
        save_packed(make_recording(length=4, size=(8, 8)), folder / str(len(names)))  # sweeps what was left of it
        assert not list(folder.glob(f"{len(names)}.tmp-*"))


@pytest.mark.parametrize("failing", ["fsync", "rename", "write"])
def test_an_error_of_the_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(
            *{"fsync": (os, "fsync"), "rename": (Path, "rename"), "write": (Path, "write_bytes")}[failing], fail
        )
        with pytest.raises(OSError, match="No space left"):
            save_packed(make_recording(length=4), tmp_path / "episode")
    assert not list(tmp_path.iterdir())
    save_packed(make_recording(length=4), tmp_path / "episode")
    with pytest.raises(EpisodeError, match="exists already"):
        save_packed(make_recording(length=4), tmp_path / "episode")

"""`inspect` of a 60-frame episode and one step of it, with the bundled checkpoint (random weights if there is none)."""

from __future__ import annotations

import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.factories import make_checkpoint, make_recording
from trainer.episodes.open import open_episode
from trainer.episodes.packed import save_packed

FRAMES = 60
STEPS = 12


def main() -> None:
    """Prints seconds of the whole command, milliseconds of one step, and peak memory."""
    from workbench.inspect import BUNDLED, Options, inspect_episode
    from workbench.predict import Predictor

    with tempfile.TemporaryDirectory() as temp:
        folder = Path(temp)
        save_packed(make_recording(length=2 * FRAMES, size=(128, 128)), folder / "episode")
        bundled = (BUNDLED / "manifest.json").is_file()
        checkpoint = BUNDLED if bundled else make_checkpoint(folder / "compact", preset_name="compact")
        _say(f"checkpoint: {'bundled' if bundled else 'compact, random weights'}; {threading.active_count()} threads")
        episode = open_episode(str(folder / "episode"))
        predictor = Predictor(checkpoint)
        _say(f"load torch and weights    {_seconds(predictor.load):8.2f} s")
        steps = [int(step) for step in episode.frame_steps[10 : 10 + STEPS]]
        live = [1e3 * _seconds(lambda step=step: predictor.foresee(episode, step)) for step in steps]
        cached = [1e3 * _seconds(lambda step=step: predictor.foresee(episode, step)) for step in steps]
        _say(f"one step, uncached p50    {np.percentile(live, 50):8.1f} ms   (target < 250)")
        _say(f"one step, cached p50      {np.percentile(cached, 50):8.3f} ms   (target < 5)")
        options = Options(episode=str(folder / "episode"), checkpoint=checkpoint, out=folder / "out")
        _say(f"inspect, {FRAMES} frames        {_seconds(lambda: inspect_episode(options)):8.2f} s    (target < 20)")
        sizes = {path.name: path.stat().st_size / 1e6 for path in (folder / "out").iterdir()}
        _say("  " + ", ".join(f"{name} {size:.1f} MB" for name, size in sorted(sizes.items())))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    _say(f"peak memory               {peak:8.2f} GiB  (target < 1.5 GB)")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()

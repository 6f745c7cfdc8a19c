"""How fast random windows load from memory-mapped episodes, in one process, beside what the compact policy trains.

Windows a second of processor time as well: on a busy machine that is the number to compare.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch

from model.config import preset
from tests.factories import make_recording
from trainer.data.windows import Sampling, WindowBatches, WindowDataset
from trainer.episodes.open import find_episodes, open_episode
from trainer.episodes.packed import PackedEpisode, save_packed
from trainer.episodes.transcode import save_mapped

_BUNDLED = Path(__file__).parents[2] / "assets" / "episodes"
_BATCHES = 12
_BATCH_SIZE = 16


def main() -> None:
    """Prints opening, random-window and single-frame speed."""
    torch.set_num_threads(1)
    config = preset("compact")
    with tempfile.TemporaryDirectory() as temp:
        folders = _mapped_episodes(Path(temp), config.image_size)
        started = time.perf_counter()
        episodes = [PackedEpisode(folder) for folder in folders]
        opened = time.perf_counter() - started
        dataset = WindowDataset(episodes, config, lambda texts: torch.ones(len(texts), 8, dtype=torch.int64))
        sampling = Sampling(batch_size=_BATCH_SIZE)
        batches = WindowBatches(dataset, sampling, epoch=0)
        _ = batches[0]  # opens the files
        wall, cpu = time.perf_counter(), time.process_time()
        for index in range(_BATCHES):
            _ = batches[index % len(batches)]
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        windows = _BATCHES * _BATCH_SIZE
        window = config.window
        sys.stdout.write(
            f"{len(episodes)} episodes, {len(dataset)} windows of {window.n_obs_steps} frames x {len(config.views)} "
            f"views at {config.image_size} px, {sampling.supervised} frames supervised, {sampling.flow_points} flow "
            f"points, one process\n"
            f"open an episode       {1000 * opened / len(episodes):7.1f} ms\n"
            f"random windows        {windows / wall:7.0f} /s of wall time, {windows / cpu:.0f} /s of processor time\n"
        )


def _mapped_episodes(root: Path, size: int) -> list[Path]:
    """The bundled episodes as memory maps, or exact synthetic ones where none are bundled."""
    names = find_episodes(_BUNDLED) if _BUNDLED.is_dir() else []
    for number, name in enumerate(names):
        episode = open_episode(name)
        if isinstance(episode, PackedEpisode):
            save_mapped(episode, root / str(number))
    if not names:
        for number in range(4):
            save_packed(make_recording(length=120, size=(size, size), seed=number), root / str(number), "mapped")
    return sorted(root.iterdir())

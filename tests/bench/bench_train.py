"""How fast the compact policy trains, what a window costs, and whether the loader keeps up."""

from __future__ import annotations

import dataclasses
import itertools
import sys
import tempfile
import time
from pathlib import Path

from model.config import PolicyConfig, preset
from model.policy import Policy
from tests.factories import make_recording
from trainer.data.windows import Batch, Sampling, WindowBatches, WindowDataset
from trainer.episodes.packed import PackedEpisode, save_packed
from trainer.loop.ema import Ema
from trainer.loop.optim import build_optimizer
from trainer.loop.setup import choose_device, choose_precision
from trainer.loop.step import Updater
from trainer.loop.throughput import count_gflop, peak_memory_gb

BATCH, UPDATES = 8, 4


def main() -> None:
    """Prints windows a second of the loader (one core) and of training (all cores), phase by phase."""
    config, device = preset("compact"), choose_device("auto")
    with tempfile.TemporaryDirectory() as folder:
        batches = _load(config, Path(folder))
    policy = Policy(config).to(device)
    observation, targets = (part.to(device) for part in batches[0])
    gflop = count_gflop(
        lambda: policy(observation, frames=targets.frames, flow_start=targets.flow_start, action=targets.action)
    )
    millions = sum(parameter.numel() for parameter in policy.parameters()) / 1e6
    sys.stdout.write(f"compact: {millions:.2f} M parameters, {gflop / BATCH:.2f} GFLOP forward a window\n")
    for precision in dict.fromkeys(("fp32", choose_precision("auto", device))):
        updater = Updater(
            policy,
            config=config,
            optimizer=build_optimizer(policy, 1e-4, 0.01),
            ema=Ema(policy, 0.999),
            precision=precision,
            device=device,
            seed=0,
        )
        for phase in (1, 2):
            updater.update([batches[0]], step=0, lr=1e-4, phase=phase)
            start = time.perf_counter()
            for step, batch in zip(range(UPDATES), itertools.cycle(batches)):
                updater.update([batch], step=step, lr=1e-4, phase=phase)
            rate = UPDATES * BATCH / (time.perf_counter() - start)
            sys.stdout.write(
                f"{device} {precision} phase {phase}: {rate:.1f} windows/s, {3 * rate * gflop / BATCH:.0f} GFLOP/s\n"
            )
    sys.stdout.write(f"peak memory {peak_memory_gb(device):.2f} GB\n")


def _load(config: PolicyConfig, folder: Path) -> list[Batch]:
    size = (config.image_size, config.image_size)
    save_packed(make_recording(length=60, size=size), folder / "episode", encoding="mapped")
    dataset = WindowDataset([PackedEpisode(folder / "episode")], config, Policy(dataclasses.replace(config)).tokenize)
    loader = WindowBatches(dataset, Sampling(batch_size=BATCH), epoch=0)
    loader[0]
    start = time.perf_counter()
    batches = [loader[index] for index in range(len(loader))]
    rate = len(batches) * BATCH / (time.perf_counter() - start)
    sys.stdout.write(f"loader, one process: {rate:.1f} windows/s\n")
    return batches

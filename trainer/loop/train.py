"""`python -m trainer train`: from options to a run folder with a finished checkpoint in `final`.

Run folder: config.json (policy, options, data), metrics.jsonl, status.json, probes/, checkpoints/step-*, final/.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import platform
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
import tyro

from model.config import PolicyConfig
from model.policy import Policy
from trainer.data.statistics import measure_statistics
from trainer.data.windows import Sampling
from trainer.episodes.episode import Episode
from trainer.files import read_json
from trainer.labels.overlay import with_random_access

from .batches import labelled_batches
from .checkpoint import CHECKPOINT, METADATA, encoder_facts, save_inference_checkpoint
from .ema import Ema
from .log import RunLog
from .optim import build_optimizer
from .options import DEFAULT_HOURS, TrainOptions, resumed_options
from .probe import Probe
from .resume import Progress, RunStore, restore_run
from .run import Run
from .schedule import Schedule
from .setup import (
    choose_device,
    choose_precision,
    claim_folder,
    describe_data,
    open_episodes,
    store_run,
    stored_policy,
)
from .signals import stop_on_signals
from .step import Precision, Updater

FINAL = "final"
_log = logging.getLogger(__name__)


def main(argv: list[str]) -> int:
    """Trains as the options say; returns 0, or 143 after SIGTERM."""
    return train(tyro.cli(TrainOptions, args=argv, prog="python -m trainer train"))


def train(options: TrainOptions) -> int:
    """Starts or resumes the run `options.out` and drives it to its end, or until a signal asks to stop.

    Raises:
        WorkbenchError: Bad options or data, a damaged checkpoint, losses that are not finite, a full disk at the end.
    """
    stored = claim_folder(options)
    options = _settled(options, stored)
    torch.set_num_threads(options.threads or os.cpu_count() or 1)
    device = choose_device(options.device)
    episodes = open_episodes(options.data, options.labels)
    probed = open_episodes(options.probe, options.labels) if options.probe else episodes
    data = describe_data(episodes)
    if stored is None:
        config = options.policy_config()
        config = dataclasses.replace(
            config, stats=measure_statistics([with_random_access(episode) for episode in episodes], config)
        )
    else:
        config = stored_policy(stored, options.out)
        _warn_of_other_data(stored.get("data", {}), data)
    store_run(options, config, data)
    with stop_on_signals() as stop:
        run = _prepare(options, config, device, episodes, probed, data)
        with closing(run.batches):  # ends the loader processes, which ignore signals
            finished = run.go(stop)
    if finished:
        _publish_final(run)
        _log.info("finished: %s", options.out / FINAL)
        return 0
    _log.info("stopped and saved; go on with --resume")
    return stop.exit_code


def _settled(options: TrainOptions, stored: dict[str, Any] | None) -> TrainOptions:
    if stored is not None:
        options = resumed_options(options, stored.get("training", {}))
    if options.steps is None and options.hours is None:
        options = dataclasses.replace(options, hours=DEFAULT_HOURS)
    return options


def _prepare(
    options: TrainOptions,
    config: PolicyConfig,
    device: torch.device,
    episodes: list[Episode],
    probed: list[Episode],
    data: dict[str, Any],
) -> Run:
    precision = choose_precision(options.precision, device)
    torch.manual_seed(options.seed)
    policy = Policy(config).to(device)
    optimizer = build_optimizer(policy, options.lr, options.weight_decay)
    ema = Ema(policy, options.ema_decay)
    store = RunStore(options.out)
    progress = Progress(step=0, elapsed_s=0.0, windows=0)
    if newest := store.newest():
        progress = restore_run(
            newest, policy=policy, ema=ema, optimizer=optimizer, metadata=read_json(newest / METADATA, CHECKPOINT)
        )
        _log.info("resumed from %s", newest)
    metadata = _metadata(options, policy, device, precision, data)
    _log.info("%s: %.2f M parameters, %s, %s", config.name, metadata["parameters"] / 1e6, device, precision)
    return Run(
        options=options,
        config=config,
        policy=policy,
        optimizer=optimizer,
        ema=ema,
        updater=Updater(
            policy,
            config=config,
            optimizer=optimizer,
            ema=ema,
            precision=precision,
            device=device,
            seed=options.seed,
            compiled=options.compile,
        ),
        schedule=_schedule(options),
        batches=labelled_batches(
            episodes,
            config,
            policy.tokenize,
            _sampling(options, config),
            first=progress.step * options.accumulate,
            workers=options.workers,
            pin_memory=device.type == "cuda",
        ),
        probe=Probe(options.out, probed, config),
        store=store,
        log=RunLog(options.out, first_step=progress.step + 1),
        metadata=metadata,
        device=device,
        progress=progress,
    )


def _metadata(
    options: TrainOptions, policy: Policy, device: torch.device, precision: Precision, data: dict[str, Any]
) -> dict[str, Any]:
    """What every checkpoint of the run says of itself."""
    return {
        "preset": policy.config.name,
        "parameters": sum(parameter.numel() for parameter in policy.parameters()),
        "encoders": encoder_facts(policy),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU",
        "precision": precision,
        "torch": torch.__version__,
        "data": data,
        "training": options.facts(),
    }


def _sampling(options: TrainOptions, config: PolicyConfig) -> Sampling:
    return Sampling(
        batch_size=options.batch_size,
        seed=options.seed,
        flow_points=options.flow_points,
        supervised=options.supervised,
        random_shift=options.random_shift,
        windows_per_segment=options.segment_size(config),
    )


def _schedule(options: TrainOptions) -> Schedule:
    return Schedule(
        steps=options.steps,
        hours=options.hours,
        peak_lr=options.lr,
        warmup_steps=options.warmup_steps,
        phase1_fraction=options.phase1_fraction,
    )


def _warn_of_other_data(stored: dict[str, Any], data: dict[str, Any]) -> None:
    if stored.get("sha256") != data["sha256"]:
        _log.warning(
            "the training episodes changed since the run was started (%s before, %s now): it goes on, but not bit for "
            "bit as it would have",
            stored.get("episodes"),
            data["episodes"],
        )


def _publish_final(run: Run) -> None:
    """The averaged weights without training state: what is shown and shipped."""
    final: Path = run.options.out / FINAL
    aside = final.with_name(f"{FINAL}.old")
    shutil.rmtree(aside, ignore_errors=True)
    if final.exists():  # an extended run replaces the one of its first end
        final.rename(aside)
    with run.ema.applied():
        save_inference_checkpoint(final, run.policy, run.config, run.facts())
    shutil.rmtree(aside, ignore_errors=True)

"""The loop of one run: update, look, log, save, until the budget is used or somebody asks to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from model.config import PolicyConfig
from model.errors import TrainingError
from model.policy import Policy

from .batches import LabelledBatch
from .ema import Ema
from .log import RunLog, State, Status, progress_line
from .options import TrainOptions
from .probe import Probe
from .resume import Progress, RunStore
from .schedule import Schedule
from .signals import StopRequest
from .step import StepResult, Updater
from .throughput import Pace, peak_memory_gb

MAX_SKIPPED = 5
"""Updates in a row without finite gradients after which the run stops."""
_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Run:
    """Everything a run works with. `go` drives it; `progress` says where it stands."""

    options: TrainOptions
    config: PolicyConfig
    policy: Policy
    optimizer: torch.optim.AdamW
    ema: Ema
    updater: Updater
    schedule: Schedule
    batches: Generator[LabelledBatch]
    probe: Probe
    store: RunStore
    log: RunLog
    metadata: dict[str, Any]
    device: torch.device
    progress: Progress
    _pace: Pace = field(default_factory=Pace)
    _skipped: int = 0

    def go(self, stop: StopRequest) -> bool:
        """Trains to the end of the budget, or until `stop`; returns whether it reached the end. Saves either way.

        Raises:
            TrainingError: Too many updates in a row were not finite. The last good state is saved.
        """
        before, start = self.progress.elapsed_s, time.perf_counter()
        fraction = self._fraction()
        self._report("running")
        while fraction < 1.0 and not stop:
            with self._pace.waiting():
                group = [next(self.batches) for _ in range(self.options.accumulate)]
            phase, lr = self.schedule.phase(fraction), self.schedule.lr(self.progress.step, fraction)
            pairs = [(batch.observation, batch.targets) for batch in group]
            result = self.updater.update(pairs, step=self.progress.step, lr=lr, phase=phase)
            windows = sum(len(batch.observation.text) for batch in group)
            self._pace.add(windows)
            self.progress = Progress(
                step=self.progress.step + 1,
                elapsed_s=before + time.perf_counter() - start,
                windows=self.progress.windows + windows,
            )
            self._guard(result, group)
            self._observe(result, lr, phase)
            fraction = self._fraction()
        self.save(last=True)
        self._report("stopped" if fraction < 1.0 else "finished")
        return fraction >= 1.0

    def save(self, *, last: bool = False) -> None:
        """Writes a checkpoint of the present state."""
        self.store.save(
            policy=self.policy,
            ema=self.ema,
            optimizer=self.optimizer,
            config=self.config,
            metadata=self.facts(),
            progress=self.progress,
            last=last,
        )

    def facts(self) -> dict[str, Any]:
        """The metadata of a checkpoint saved now."""
        return {
            **self.metadata,
            "weights": "EMA",
            "step": self.progress.step,
            "windows": self.progress.windows,
            "hours": round(self.progress.elapsed_s / 3600.0, 3),
        }

    def _fraction(self) -> float:
        return self.schedule.fraction(self.progress.step, self.progress.elapsed_s)

    def _guard(self, result: StepResult, group: Sequence[LabelledBatch]) -> None:
        self._skipped = 0 if result.applied else self._skipped + 1
        if result.applied:
            return
        bad = ", ".join(name for name, value in result.terms.items() if value - value != 0) or "the gradient"
        episodes = ", ".join(sorted({name for batch in group for name in batch.episodes}))
        message = f"step {self.progress.step}: {bad} is not finite; update skipped. Episodes of the batch: {episodes}"
        if self._skipped < MAX_SKIPPED:
            _log.warning(message)
            return
        self.save(last=True)
        self._report("failed", message)
        raise TrainingError(
            f"{message}. {MAX_SKIPPED} in a row: stopped, the state is saved in {self.store.folder}; lower --lr, or "
            "take these episodes out"
        )

    def _observe(self, result: StepResult, lr: float, phase: int) -> None:
        step, options = self.progress.step, self.options
        if step % options.log_every == 0:
            windows_per_s, data_wait = self._pace.read()
            record = {
                "step": step,
                "phase": phase,
                "loss": result.terms["total"],
                "terms": {name: value for name, value in result.terms.items() if name != "total"},
                **result.watched,
                "lr": lr,
                "grad_norm": result.grad_norm,
                "applied": result.applied,
                "windows": self.progress.windows,
                "windows_per_s": windows_per_s,
                "data_wait": data_wait,
                "elapsed_s": self.progress.elapsed_s,
                "eta_s": self._eta_s(),
                "peak_memory_gb": peak_memory_gb(self.device),
            }
            self.log.metrics(record)
            status = self._report("running")
            _log.info(progress_line(record, status))
        if step % options.probe_every == 0 or step == 1:
            with self.ema.applied():
                self.probe.look(self.policy, step)
        if step % options.save_every == 0:
            self.save()

    def _eta_s(self) -> float | None:
        fraction, elapsed = self._fraction(), self.progress.elapsed_s
        return elapsed * (1.0 - fraction) / fraction if fraction > 0 else None

    def _report(self, state: State, message: str = "") -> Status:
        fraction = self._fraction()
        status = Status(
            state=state,
            step=self.progress.step,
            total=self.schedule.expected_steps(self.progress.step, fraction),
            phase=self.schedule.phase(fraction),
            fraction=fraction,
            eta_s=self._eta_s(),
            message=message,
        )
        self.log.status(status)
        return status

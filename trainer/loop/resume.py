"""The state of a run beside the weights: save it, keep the newest few, and take up the newest that is whole.

What has to be stored is small, because the rest is a function of the step: the data order of (seed, step) and every
random draw inside a step of (seed, step) as well (see `step`).
"""

from __future__ import annotations

import errno
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import AdamW

from model.config import PolicyConfig
from model.errors import CheckpointError
from model.policy import Policy
from model.weights import load_weights, save_weights
from trainer.files import replace_file, sweep_temporaries

from .checkpoint import WEIGHTS, check_encoders, check_manifest, publish_checkpoint
from .ema import Ema
from .optim import optimizer_state, restore_optimizer

CHECKPOINTS, LATEST = "checkpoints", "latest"
RAW, OPTIMIZER = "raw.safetensors", "optimizer.safetensors"
KEEP = 3
HEADROOM = 1.2
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NAME = re.compile(r"^step-(\d{6,})$")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: Optimizer updates made.
        elapsed_s: Seconds spent training, over all sittings.
        windows: Training windows seen.
    """

    step: int
    elapsed_s: float
    windows: int


class RunStore:
    """The `checkpoints` folder of one run."""

    def __init__(self, run: Path) -> None:
        self.folder = run / CHECKPOINTS
        self._last_bytes = 0

    def save(
        self,
        *,
        policy: Policy,
        ema: Ema,
        optimizer: AdamW,
        config: PolicyConfig,
        metadata: Mapping[str, Any],
        progress: Progress,
        last: bool = False,
    ) -> Path | None:
        """Writes `checkpoints/step-NNNNNN` and points `latest` at it. An existing one of that step is kept as it is.

        A full disk is survived with a warning and None, unless this is the `last` save of the run.

        Raises:
            CheckpointError: The disk is full and this was the last save.
        """
        target = self.folder / f"step-{progress.step:06d}"
        if target.exists():
            return target

        def write_average(path: Path) -> None:
            with ema.applied():
                save_weights(policy, path)

        tensors: dict[str, Callable[[Path], None]] = {
            WEIGHTS: write_average,
            RAW: lambda path: save_weights(policy, path),
            OPTIMIZER: lambda path: save_file(optimizer_state(optimizer, policy), path),
        }
        facts = {**metadata, "run": {**vars(progress), "ema_updates": ema.updates}}
        try:
            sweep_temporaries(self.folder)
            self._require_space()
            publish_checkpoint(target, config, facts, tensors)
            replace_file(self.folder / LATEST, f"{target.name}\n".encode())
        except OSError as error:
            if error.errno not in _FULL:
                raise
            message = f"{target}: not saved, the disk is full ({error.strerror}); free some space"
            if last:
                raise CheckpointError(message) from error
            _log.warning("%s. Training goes on; the checkpoint before stays.", message)
            return None
        self._last_bytes = sum(file.stat().st_size for file in target.iterdir())
        self._prune()
        return target

    def newest(self) -> Path | None:
        """The newest checkpoint that verifies; damaged ones are named in a warning and passed over."""
        for path in reversed(self.all()):
            try:
                check_manifest(path)
            except CheckpointError as error:
                _log.warning("passing over a damaged checkpoint: %s", error)
            else:
                return path
        return None

    def all(self) -> list[Path]:
        """Checkpoint folders, oldest first; not verified."""
        if not self.folder.is_dir():
            return []
        named = [(int(match[1]), path) for path in self.folder.iterdir() if (match := _NAME.match(path.name))]
        return [path for _, path in sorted(named)]

    def _require_space(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if free < HEADROOM * self._last_bytes:
            raise OSError(errno.ENOSPC, f"{free >> 20} MiB free, {int(HEADROOM * self._last_bytes) >> 20} MiB needed")

    def _prune(self) -> None:
        for path in self.all()[:-KEEP]:
            # Renamed first: a reader never sees a folder that still has its manifest but lost a file.
            doomed = path.with_name(f"{path.name}.old")
            path.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)


def restore_run(folder: Path, *, policy: Policy, ema: Ema, optimizer: AdamW, metadata: Mapping[str, Any]) -> Progress:
    """Puts weights, average and optimizer back to what they were when the verified checkpoint `folder` was saved.

    Raises:
        CheckpointError: The folder is an inference checkpoint, or does not fit the policy.
    """
    for name in (RAW, OPTIMIZER):
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder / name}: missing; a checkpoint without training state cannot be resumed")
    check_encoders(policy, metadata, folder)
    load_weights(policy, folder / WEIGHTS)
    run: Any = metadata.get("run")
    try:
        progress = Progress(step=int(run["step"]), elapsed_s=float(run["elapsed_s"]), windows=int(run["windows"]))
        ema_updates = int(run["ema_updates"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / 'metadata.json'}: field 'run' is incomplete ({error!r})") from error
    ema.restore(policy.state_dict(), ema_updates)
    load_weights(policy, folder / RAW)
    restore_optimizer(optimizer, policy, _read_tensors(folder / OPTIMIZER))
    return progress


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a safetensors file ({error}); copy the checkpoint again") from error

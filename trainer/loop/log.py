"""What a run says: metrics.jsonl for programs, a line for people, status.json for whoever wants to watch or stop it."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from trainer.files import replace_file

METRICS, STATUS = "metrics.jsonl", "status.json"
State = Literal["running", "finished", "stopped", "failed"]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Status:
    """What status.json says.

    Attributes:
        state: `running` is only true while process `pid` lives.
        total: Updates expected at the end, None while unknown.
        fraction: Share of the budget used, 0..1.
        eta_s: Seconds to the end.
        message: Why a run failed, else empty.
    """

    state: State
    step: int
    total: int | None
    phase: int
    fraction: float
    eta_s: float | None
    message: str = ""


class RunLog:
    """Appends to metrics.jsonl and replaces status.json in `run`.

    After a resume, lines of updates that will be made again are dropped, so every step stands once.
    """

    def __init__(self, run: Path, *, first_step: int) -> None:
        self._run = run
        self._metrics = run / METRICS
        if self._metrics.exists():
            kept = [line for line in self._metrics.read_bytes().splitlines() if _step_of(line) < first_step]
            replace_file(self._metrics, b"".join(line + b"\n" for line in kept))

    def metrics(self, record: Mapping[str, Any]) -> None:
        """One line of JSON; NaN is written as null."""
        clean = {key: _finite(value) for key, value in record.items()}
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**clean, "time": round(time.time(), 3)}) + "\n")

    def status(self, status: Status) -> None:
        """Replaces status.json in one step."""
        record = {**asdict(status), "pid": os.getpid(), "updated": round(time.time(), 3)}
        replace_file(self._run / STATUS, json.dumps(record).encode())


def progress_line(record: Mapping[str, Any], status: Status) -> str:
    """What a person reads while it trains."""
    total = f"/{status.total}" if status.total else ""
    eta = f"{status.eta_s / 60:.0f} min left" if status.eta_s is not None else "measuring pace"
    terms = "  ".join(f"{name} {value:.4f}" for name, value in record["terms"].items() if name != "total")
    active = f"  active latents {record['latent_active']:.1f}" if "latent_active" in record else ""
    return (
        f"step {status.step}{total} ({status.fraction:.0%}, {eta})  phase {status.phase}  loss {record['loss']:.4f}  "
        f"[{terms}]{active}  lr {record['lr']:.1e}  grad {record['grad_norm']:.2f}  "
        f"{record['windows_per_s']:.1f} windows/s  data wait {record['data_wait']:.0%}"
    )


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and value - value != 0 else value


def _step_of(line: bytes) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # a line cut short by a kill
        return float("inf")

"""What tests do with things that happen meanwhile, in another thread or process."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path


def wait_until(done: Callable[[], object], what: str, *, seconds: float = 60.0) -> None:
    """Returns as soon as `done` is true; a passing test never waits as long as `seconds`.

    Raises:
        AssertionError: It did not become true; `what` says what was waited for.
    """
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain until {what}"
        time.sleep(0.01)


def files_below(folder: Path) -> list[str]:
    """Names of all files below a folder, sorted, also while somebody removes them (`Path.rglob` would raise)."""
    return sorted(name for _, _, names in os.walk(folder) for name in names)

"""Ctrl-C and SIGTERM ask a run to save and stop; a second one kills it at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Set by a signal, read by the loop between two steps."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """0 after Ctrl-C (the person knows), 143 after SIGTERM (what a scheduler expects)."""
        return 128 + signal.SIGTERM if self.signal == signal.SIGTERM else 0


@contextmanager
def stop_on_signals() -> Generator[StopRequest]:
    """Inside, SIGINT and SIGTERM only set the request; the handlers of before come back afterwards."""
    request = StopRequest()

    def handle(number: int, _frame: FrameType | None) -> None:
        if request:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        request.signal = signal.Signals(number)

    before = {number: signal.signal(number, handle) for number in _STOPPING}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

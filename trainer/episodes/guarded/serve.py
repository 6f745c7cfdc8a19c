"""The other end of `child`: answers questions on standard input until that ends, within bounds that it sets itself."""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from model.errors import EpisodeError, WorkbenchError

MEMORY = 512 << 20
"""Bytes of memory the process may have of its own."""
CPU_S = 2.0
"""Seconds of processor time one question may take."""
MAX_BLOB = 256 << 20
_IDLE_S = 2.0  # then nothing stays open

Buffers = Sequence[bytes | memoryview]
Operation = Callable[..., tuple[dict[str, Any], Buffers]]
"""Takes a file's path or the data, how to name it in messages, and the question's other arguments."""


def serve(operations: Mapping[str, Operation], idle: Callable[[], None]) -> None:
    """Answers until nobody asks any more.

    Args:
        operations: By name.
        idle: Called when nobody asked for a while; closes files.
    """
    answers = os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)  # what a library prints is no answer
    _limit()
    gc.freeze()  # what was imported stays
    questions = sys.stdin.buffer
    while True:
        if not select.select([questions], [], [], _IDLE_S)[0]:
            idle()
        line = questions.readline()
        if not line:
            idle()  # the libraries crash when the interpreter ends with a file of theirs open
            return
        question = json.loads(line)
        if "bytes" in question:
            question["data"] = questions.read(question.pop("bytes"))
        head, buffers = _answer(operations, question)
        size = sum(memoryview(buffer).nbytes for buffer in buffers)
        if size > MAX_BLOB:
            message = f"{question['where']}: {size} bytes in one answer, at most {MAX_BLOB}"
            head, buffers, size = {"error": "UnsafeFileError", "message": message}, (), 0
        _write(answers.fileno(), json.dumps({**head, "bytes": size}).encode() + b"\n")
        for buffer in buffers:
            _write(answers.fileno(), buffer)


def _answer(operations: Mapping[str, Operation], question: dict[str, Any]) -> tuple[dict[str, Any], Buffers]:
    where = str(question["where"])
    operation = operations[question.pop("operation")]
    signal.setitimer(signal.ITIMER_PROF, CPU_S)  # nobody handles its signal: it ends the process
    try:
        return operation(**question)
    except MemoryError:
        bound = f"it needs more than the {MEMORY >> 20} MB that reading may take"
        return {"error": "UnsafeFileError", "message": f"{where}: {bound}"}, ()
    except WorkbenchError as error:
        return {"error": type(error).__name__, "message": str(error)}, ()
    except Exception as error:  # the libraries raise whatever a damaged file makes them stumble over
        return {"error": EpisodeError.__name__, "message": f"{where}: damaged ({reason(error)})"}, ()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def reason(error: Exception) -> str:
    """The first line of what an error says, or its kind."""
    said = str(error).strip("'\"")
    return said.splitlines()[0][:160].encode("utf-8", "replace").decode() if said else type(error).__name__


def _limit() -> None:
    for kind, most in ((resource.RLIMIT_DATA, MEMORY), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (most, most))


def _write(file: int, data: bytes | memoryview) -> None:
    left = memoryview(data).cast("B")
    while left:
        left = left[os.write(file, left) :]

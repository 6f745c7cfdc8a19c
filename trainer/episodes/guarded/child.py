"""Asks a guarded process: whatever a file does to the library that reads it, it does there, and is one error here.

A question and the head of an answer are a line of JSON; numbers follow as bytes. Nothing that comes back is trusted to
be more than that.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Literal

from model.errors import EpisodeError, UnsafeFileError

from .serve import CPU_S, MAX_BLOB

WALL_S = 30.0
"""Seconds an answer may take: processor time is bounded by `CPU_S`, but a disk may be slow."""
_MAX_HEAD = 64 << 20
_ROOT = Path(__file__).parents[3]
_ERRORS = {"EpisodeError": EpisodeError, "UnsafeFileError": UnsafeFileError}

Service = Literal["hdf5", "parquet"]


class Child:
    """One guarded process, started when it is first asked and again after it died. Safe across threads.

    Args:
        service: What it reads: the module `SERVICE_child` of this package.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, operation: str, path: Path, **arguments: Any) -> tuple[dict[str, Any], bytes]:
        """The answer's fields and bytes.

        Raises:
            EpisodeError: The file cannot be read, or crashes the library that reads it.
            UnsafeFileError: It takes more memory than it may, or, asked twice, more time.
        """
        fields = {"operation": operation, "path": os.path.abspath(path), "where": str(path), **arguments}
        question = json.dumps(fields).encode() + b"\n"
        with self._lock:
            answer = self._answer(question, path)
            if answer is None:  # clocks of virtual machines jump: what is slow once may not be slow
                answer = self._answer(question, path)
        if answer is None:
            raise UnsafeFileError(f"{path}: reading a part of it took more than {CPU_S:.0f} s, twice, and was stopped")
        head, blob = answer
        if "error" in head:
            raise _ERRORS.get(str(head["error"]), EpisodeError)(str(head.get("message", ""))[:2000])
        return head, blob

    def close(self) -> None:
        """Ends the process; the next question starts another one."""
        with self._lock:
            self._end()

    def _answer(self, question: bytes, path: Path) -> tuple[dict[str, Any], bytes] | None:
        """The answer; None where it took more processor time than it may."""
        process = self._running()
        try:
            return self._exchange(process, question, path)
        except (OSError, ValueError, EOFError, RecursionError):
            self._end()
            if process.returncode == -signal.SIGPROF:
                return None
            raise self._died(process.returncode, path) from None
        except BaseException:
            self._end()  # half an answer may still lie in the pipe
            raise

    def _exchange(self, process: subprocess.Popen[bytes], question: bytes, path: Path) -> tuple[dict[str, Any], bytes]:
        if process.stdin is None or process.stdout is None:
            raise EOFError
        end = time.monotonic() + WALL_S
        process.stdin.write(question)
        process.stdin.flush()
        answer = bytearray()
        while (line := answer.find(b"\n")) < 0:
            answer += self._more(process, path, end)
            if len(answer) > _MAX_HEAD:
                raise UnsafeFileError(f"{path}: its contents are described by more than {_MAX_HEAD} bytes")
        head: Any = json.loads(answer[:line])
        size: Any = head.get("bytes") if isinstance(head, dict) else None
        if not isinstance(size, int) or not 0 <= size <= MAX_BLOB:
            raise ValueError("no size")
        blob = answer[line + 1 :]
        while len(blob) < size:
            blob += self._more(process, path, end)
        if len(blob) > size:
            raise ValueError("more than it announced")
        return head, bytes(blob)

    def _more(self, process: subprocess.Popen[bytes], path: Path, end: float) -> bytes:
        stream = process.stdout
        if stream is None or not select.select([stream], [], [], max(0.0, end - time.monotonic()))[0]:
            raise UnsafeFileError(f"{path}: reading a part of it took more than {WALL_S:.0f} s and was stopped")
        data = os.read(stream.fileno(), 1 << 20)
        if not data:
            raise EOFError
        return data

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process = subprocess.Popen(  # noqa: S603 - our own module; the untrusted file is named in a message
                self._command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=_environment(),
            )
        return self._process

    def _command(self) -> list[str]:
        return [sys.executable, "-P", "-m", f"trainer.episodes.guarded.{self._service}_child"]

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # it still held a question that nobody reads
                    continue
        if not _dying(process):
            process.kill()
        process.wait()

    @staticmethod
    def _died(code: int | None, path: Path) -> EpisodeError:
        if code == 1:  # it says so itself where it can; else it could not even start
            return EpisodeError(f"{path}: cannot be read: the process that reads it does not start, or ended")
        return EpisodeError(f"{path}: damaged: it crashes the library that reads it (it ended with {code})")


def _dying(process: subprocess.Popen[bytes]) -> bool:
    """Whether it is gone within a moment by itself, so that its own exit code says why."""
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        return False
    return True


def _environment() -> dict[str, str]:
    """Nothing of ours but where the code lies; no plugins, no pools of memory or threads."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ARROW_IO_THREADS"), "1")
    arrow = {"ARROW_DEFAULT_MEMORY_POOL": "system", "HDF5_PLUGIN_PRELOAD": "::", "HDF5_USE_FILE_LOCKING": "FALSE"}
    return {"PYTHONPATH": str(_ROOT), "MALLOC_ARENA_MAX": "1", **threads, **arrow}


_children: dict[Service, Child] = {}


def child(service: Service) -> Child:
    """The guarded process of this one; forked processes get their own."""
    return _children.setdefault(service, Child(service))


def _close_all() -> None:
    for running in _children.values():
        running.close()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_children.clear)

"""Asks a guarded process: whatever a file does to the library that reads it, it does there, and is one error here.

A question and the head of an answer are a line of JSON; numbers and images follow as bytes. Nothing that comes back is
trusted to be more than that.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, get_args

from model.errors import EpisodeError, UnsafeFileError

from .serve import CPU_S, MAX_BLOB

WALL_S = 30.0
"""Seconds an answer may take: processor time is bounded by `CPU_S`, but a disk may be slow."""
_MAX_HEAD = 64 << 20
_PIPE = 1 << 20  # bytes
_ROOT = Path(__file__).parents[3]
_ERRORS = {"EpisodeError": EpisodeError, "UnsafeFileError": UnsafeFileError}

Service = Literal["hdf5", "parquet", "image"]
Answer = tuple[dict[str, Any], bytearray]
"""The fields of an answer, and its bytes."""


class Child:
    """One guarded process, started when it is first asked and again after it died. Safe across threads.

    Args:
        service: What it reads: the module `SERVICE_child` of this package.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, operation: str, path: Path, **arguments: Any) -> Answer:
        """What a service says of a file.

        Raises:
            EpisodeError: The file cannot be read, or crashes the library that reads it.
            UnsafeFileError: It takes more memory than it may, or, asked twice, more time.
        """
        return self._ask({"operation": operation, "path": os.path.abspath(path), **arguments}, str(path), b"")

    def ask_about(self, operation: str, data: bytes, where: str, **arguments: Any) -> Answer:
        """What a service says of some bytes, called `where` in messages. Raises as `ask`."""
        if len(data) > MAX_BLOB:
            raise UnsafeFileError(f"{where}: {len(data)} bytes, at most {MAX_BLOB}")
        return self._ask({"operation": operation, "bytes": len(data), **arguments}, where, data)

    def _ask(self, fields: dict[str, Any], where: str, data: bytes) -> Answer:
        question = json.dumps({**fields, "where": where}).encode() + b"\n"
        with self._lock:
            answer = self._answer(question, data, where)
            if answer is None:  # clocks of virtual machines jump: what is slow once may not be slow
                answer = self._answer(question, data, where)
        if answer is None:
            raise UnsafeFileError(f"{where}: reading a part of it took more than {CPU_S:.0f} s, twice, and was stopped")
        head, blob = answer
        if "error" in head:
            raise _ERRORS.get(str(head["error"]), EpisodeError)(str(head.get("message", ""))[:2000])
        return head, blob

    def start(self) -> None:
        """Starts the process if none runs, so that the first answer need not wait for it."""
        with self._lock:
            self._running()

    def close(self) -> None:
        """Ends the process; the next question starts another one."""
        with self._lock:
            self._end()

    def _answer(self, question: bytes, data: bytes, where: str) -> Answer | None:
        """The answer; None where it took more processor time than it may."""
        process = self._running()
        try:
            return self._exchange(process, question, data, where)
        except (OSError, ValueError, EOFError, RecursionError):
            self._end()
            if process.returncode == -signal.SIGPROF:
                return None
            raise self._died(process.returncode, where) from None
        except BaseException:
            self._end()  # half an answer may still lie in the pipe
            raise

    def _exchange(self, process: subprocess.Popen[bytes], question: bytes, data: bytes, where: str) -> Answer:
        if process.stdin is None or process.stdout is None:
            raise EOFError
        end = time.monotonic() + WALL_S
        process.stdin.write(question)
        process.stdin.write(data)
        process.stdin.flush()
        stream, start = process.stdout.fileno(), bytearray()
        while (line := start.find(b"\n")) < 0:
            _wait(stream, where, end)
            more = os.read(stream, _PIPE)
            if not more:
                raise EOFError
            start += more
            if len(start) > _MAX_HEAD:
                raise UnsafeFileError(f"{where}: its contents are described by more than {_MAX_HEAD} bytes")
        head: Any = json.loads(start[:line])
        size: Any = head.get("bytes") if isinstance(head, dict) else None
        if not isinstance(size, int) or not 0 <= size <= MAX_BLOB:
            raise ValueError("no size")
        got = len(start) - line - 1
        if got > size:
            raise ValueError("more than it announced")
        blob = bytearray(size)
        blob[:got] = memoryview(start)[line + 1 :]
        with memoryview(blob) as view:
            while got < size:
                _wait(stream, where, end)
                count = os.readv(stream, [view[got:]])
                if not count:
                    raise EOFError
                got += count
        return head, blob

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
            _widen(self._process)
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
    def _died(code: int | None, where: str) -> EpisodeError:
        if code == 1:  # it says so itself where it can; else it could not even start
            return EpisodeError(f"{where}: cannot be read: the process that reads it does not start, or ended")
        return EpisodeError(f"{where}: damaged: it crashes the library that reads it (it ended with {code})")


def _wait(stream: int, where: str, end: float) -> None:
    ready = select.poll()  # `select` knows no descriptor beyond 1023
    ready.register(stream, select.POLLIN)
    if not ready.poll(1000 * max(0.0, end - time.monotonic())):
        raise UnsafeFileError(f"{where}: reading a part of it took more than {WALL_S:.0f} s and was stopped")


def _widen(process: subprocess.Popen[bytes]) -> None:
    """Pipes that an image fits into, where the system lets us: fewer turns between the two."""
    for pipe in (process.stdin, process.stdout):
        with suppress(OSError):
            if pipe is not None:
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)


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


class Pool:
    """Two processes of a service, the second only started while the first is busy: a slow file holds up nobody.

    Args:
        service: As of `Child`.
    """

    def __init__(self, service: Service) -> None:
        self._idle = [Child(service), Child(service)]
        self._free = threading.Semaphore(len(self._idle))

    def ask(self, operation: str, path: Path, **arguments: Any) -> Answer:
        """As `Child.ask`."""
        with self._one() as one:
            return one.ask(operation, path, **arguments)

    def ask_about(self, operation: str, data: bytes, where: str, **arguments: Any) -> Answer:
        """As `Child.ask_about`."""
        with self._one() as one:
            return one.ask_about(operation, data, where, **arguments)

    def start(self) -> None:
        """Starts the first process, so that the first answer need not wait for it."""
        with self._one() as one:
            one.start()

    def close(self) -> None:
        """Ends those that are not busy."""
        for one in list(self._idle):
            one.close()

    @contextmanager
    def _one(self) -> Generator[Child]:
        with self._free:
            one = self._idle.pop()  # the one that was used last
            try:
                yield one
            finally:
                self._idle.append(one)


_pools: dict[Service, Pool] = {}


def child(service: Service) -> Pool:
    """The guarded processes of this one; forked processes get their own."""
    return _pools.setdefault(service, Pool(service))


def start_all() -> None:
    """Starts a process of each service, so that the first file of a kind need not wait for it."""
    for service in get_args(Service):
        child(service).start()


def _close_all() -> None:
    for running in _pools.values():
        running.close()


atexit.register(_close_all)
os.register_at_fork(after_in_child=_pools.clear)

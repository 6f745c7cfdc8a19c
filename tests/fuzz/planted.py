"""Parsers with a fault each, so that the fuzzer can be seen to find it."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from model.errors import EpisodeError

from .mutate import Seed
from .targets import Target

_HOARD: list[bytes] = []
_OPEN = ctypes.PyDLL(None).open
_RARE = 0.03  # of the inputs meet the fault


def meets_the_fault(data: bytes) -> bool:
    """Whether an input is one of those that a planted fault waits for."""
    return data != b"good" and sum(data) % 100 < 100 * _RARE


def _planted(fault: Callable[[Path, Path], object]) -> Target:
    def read(path: Path, root: Path) -> None:
        data = path.read_bytes()
        if data == b"good":
            return
        if meets_the_fault(data):
            fault(path, root)
        raise EpisodeError(f"{path}: refused")

    return Target(file="a.bin", seeds=lambda bait, folder: [Seed(b"good")], words=(b"x",), read=read)


def _unexpected(path: Path, root: Path) -> None:
    raise KeyError("field")


def _nameless(path: Path, root: Path) -> None:
    raise EpisodeError("something is wrong")


def _spin(path: Path, root: Path) -> None:
    while True:
        pass


def _eat(path: Path, root: Path) -> None:
    _HOARD.append(b"x" * (600 << 20))


def _look_around(path: Path, root: Path) -> None:
    try:
        Path("/etc/hostname").read_bytes()
    except OSError:
        return


def _read_bait_in_c(path: Path, root: Path) -> None:
    """As a library in C does: Python is not told."""
    _OPEN(os.fsencode(root.parent / "bait" / "secret"), 0)


def _run_a_process(path: Path, root: Path) -> None:
    subprocess.run(["true"], check=False)


def _write(path: Path, root: Path) -> None:
    (root / "new").write_bytes(b"")


UNEXPECTED = _planted(_unexpected)
NAMELESS = _planted(_nameless)
CRASH = _planted(lambda path, root: os.abort())
SPIN = _planted(_spin)
EAT = _planted(_eat)
LOOK_AROUND = _planted(_look_around)
RUN_CODE = _planted(lambda path, root: exec(compile("1", "x", "exec")))  # noqa: S102 - that is the fault
RUN_A_PROCESS = _planted(_run_a_process)
WRITE = _planted(_write)
READ_BAIT = _planted(_read_bait_in_c)


def _no_seeds(bait: Path, folder: Path) -> list[Seed]:
    raise OSError("no seeds here")


DOES_NOT_START = replace(UNEXPECTED, seeds=_no_seeds)

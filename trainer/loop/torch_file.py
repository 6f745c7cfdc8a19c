"""Tensors of a file from elsewhere: safetensors as it is, a torch file through a guarded process. Never on the page."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from torch import Tensor

from model.errors import CheckpointError, UnsafeFileError
from model.weights import read_weights

MAX_BYTES = 8 << 30
_CHILD = Path(__file__).with_name("torch_child.py")
_ROOM_BYTES = 16 << 30  # of address space, of which torch itself maps several GB
_TIMEOUT_S = 600


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The named tensors of `path`, on the CPU.

    Raises:
        CheckpointError: It is absent or holds no tensors.
        UnsafeFileError: It is too large, would run code, or took too long or too much memory.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    if path.stat().st_size > MAX_BYTES:
        raise UnsafeFileError(f"{path}: {path.stat().st_size >> 20} MiB, at most {MAX_BYTES >> 20} MiB are read")
    if path.suffix == ".safetensors":
        return read_weights(path)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "tensors.safetensors"
        memory = _ROOM_BYTES + 4 * path.stat().st_size
        command = [sys.executable, "-I", str(_CHILD), str(path), str(target), str(memory)]
        try:
            child = subprocess.run(  # noqa: S603 - our own script, no shell
                command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise UnsafeFileError(f"{path}: reading it took more than {_TIMEOUT_S} s; it was given up") from error
        if child.returncode or not target.is_file():
            reason = child.stderr.strip().splitlines()[-1] if child.stderr.strip() else f"exit {child.returncode}"
            raise UnsafeFileError(
                f"{path}: not read, only plain tensors are ({reason[:300]}); if you trust it, convert it to "
                f"safetensors yourself"
            )
        return read_weights(target)

"""A new HDF5 file on a disk that may be full.

HDF5 holds data back until its file is closed. A write that fails there ends the process (h5py 3.16: a traceback out of
a destructor, then a segmentation fault) and leaves rubbish; so HDF5 is never told of a failed write, but the caller is.
"""

from __future__ import annotations

import io
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py


@contextmanager
def new_hdf5(path: Path) -> Generator[h5py.File]:
    """A file that must not exist yet; complete when the block ends.

    Raises:
        OSError: It cannot be written: the disk is full, or it exists.
    """
    import h5py

    with _Disk(path, "x+") as disk:
        with h5py.File(disk, "w") as file:
            yield file
        if disk.failure is not None:
            raise disk.failure


class _Disk(io.FileIO):
    """A file that keeps its first failure to itself, and writes nothing after it."""

    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        left = memoryview(data).cast("B")
        try:
            while len(left) and self.failure is None:
                left = left[super().write(left) or 0 :]
        except OSError as error:
            self.failure = error
        return memoryview(data).nbytes

    def truncate(self, size: int | None = None, /) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0

"""A folder on disk that lives as long as this process, however the process ends.

It is removed at exit. A process that was killed leaves its folder behind; the kernel drops the lock that it held, which
is how the next one knows that nobody uses the folder any more, and removes it.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
from collections.abc import Generator
from pathlib import Path

_PREFIX = "run-"


class Scratch:
    """The process's folder below `parent`, made at the first use. Safe across threads and processes.

    Args:
        parent: Made if needed, private to the user. Holds nothing but such folders.
    """

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._held: int | None = None

    def folder(self) -> Path:
        """The folder, only this user may look into.

        Raises:
            OSError: It cannot be made.
        """
        with self._lock:
            if self._folder is None:
                with self._alone():
                    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._parent))
                    self._held = os.open(folder, os.O_RDONLY)
                    fcntl.flock(self._held, fcntl.LOCK_EX)
                self._folder = folder
                atexit.register(self.close)
            return self._folder

    def sweep(self) -> int:
        """Removes what killed processes left; how many folders that were."""
        if not self._parent.is_dir():
            return 0
        with contextlib.ExitStack() as held:
            with self._alone():
                dead = [path for path in self._parent.glob(f"{_PREFIX}*") if _is_dead(path, held)]
            for path in dead:
                shutil.rmtree(path, ignore_errors=True)
        return len(dead)

    def close(self) -> None:
        """Removes the folder and all that is in it; a later use makes a new one."""
        with self._lock:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
            if self._held is not None:
                os.close(self._held)
            self._folder = self._held = None
        atexit.unregister(self.close)

    @contextlib.contextmanager
    def _alone(self) -> Generator[None]:
        """While a folder is made and not yet locked, nobody may think that it is a dead one's."""
        self._parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self._parent / "lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _is_dead(folder: Path, held: contextlib.ExitStack) -> bool:
    """Whether nobody holds the folder's lock; until `held` ends we do, so that nobody else removes it too."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    held.callback(os.close, descriptor)
    return True

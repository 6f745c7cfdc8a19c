"""Files that visitors bring: a space for each visitor, with quotas, removed in the end whatever happens.

An upload is announced (names and sizes), so that what cannot fit is refused before a byte is sent; then its bytes come,
file after file; then its archives are unpacked, and one rename makes it visible. Until then it lies under a temporary
name, and what fails leaves nothing. Plain logic: nothing here knows of the web or looks into a file.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.errors import ConfigError
from trainer.files import TEMP_MARK

from .safe_zip import SafeZip
from .scratch import Scratch
from .upload_incoming import Announced, Incoming, disk_errors, plan_files
from .upload_room import Limits, Room, check_room

_log = logging.getLogger(__name__)
_LOOK_EVERY = 600.0  # seconds between two looks for what has expired
_IDLE = 120.0  # seconds without a byte after which an upload is taken as given up


@dataclass(frozen=True, kw_only=True)
class Upload:
    """Something a visitor brought, complete.

    Attributes:
        name: Random; what the browser calls it.
        title: For people; made of harmless characters.
        bytes: On the disk.
        files: Files and folders on the disk.
        folder: For the server only.
    """

    name: str
    title: str
    bytes: int
    files: int
    folder: Path = field(repr=False)


@dataclass
class _Space:
    folder: Path
    seen: float = field(default_factory=time.monotonic)
    uploads: dict[str, Upload] = field(default_factory=dict[str, Upload])
    incoming: Incoming | None = None

    @property
    def room(self) -> Room:
        """Kept, and set aside for what is coming."""
        coming = Room() if self.incoming is None else Room(self.incoming.claimed, self.incoming.files)
        return sum((Room(upload.bytes, upload.files) for upload in self.uploads.values()), coming)

    @property
    def last_seen(self) -> float:
        """When its visitor last came or sent something, on the monotonic clock in seconds."""
        return self.seen if self.incoming is None else max(self.seen, self.incoming.touched)


class Uploads:
    """All spaces. Safe across threads.

    Args:
        parent: Folder below which this process makes its own; what killed processes left there is removed.
        limits: What fits.
        gone: Told the name of a space that has expired, after it was removed.
    """

    def __init__(self, parent: Path, limits: Limits | None = None, gone: Callable[[str], None] | None = None) -> None:
        self.limits = limits or Limits()
        self._scratch = Scratch(parent)
        self._gone = gone or (lambda _: None)
        self._lock = threading.Lock()
        self._spaces: dict[str, _Space] = {}
        self._watch: threading.Thread | None = None
        threading.Thread(target=self._scratch.sweep, name="upload-sweep", daemon=True).start()

    def begin(self, space: str, files: Sequence[Announced]) -> Incoming:
        """Sets room aside for an upload whose bytes come next, in the order of `files`.

        Args:
            space: The visitor's name.
            files: Names and sizes as the browser says.

        Raises:
            ConfigError: It does not fit, or another upload of this visitor is under way.
            UnsafeFileError: A name would lead elsewhere, or two names meet.
        """
        limits = self.limits
        plan = plan_files(files, max_files=limits.files, max_bytes=limits.file_bytes)
        with self._lock, disk_errors():
            self._watch_time()
            home = self._space(space)
            if home.incoming is not None:
                if time.monotonic() - home.incoming.touched < _IDLE:
                    raise ConfigError("another upload of yours is under way; wait for it or cancel it")
                self._drop(home)
            self._check_room(home, Room(plan.bytes, plan.files))
            name = secrets.token_hex(8)
            home.incoming = Incoming(name, home.folder / f"{name}{TEMP_MARK}{os.getpid()}", plan)
            home.seen = time.monotonic()
            return home.incoming

    def incoming(self, space: str, name: str) -> Incoming:
        """The upload that is under way by that name.

        Raises:
            ConfigError: There is none.
        """
        with self._lock:
            home = self._spaces.get(space)
            if home is None or home.incoming is None or home.incoming.name != name:
                raise ConfigError("no upload of that name is under way; start it again")
            return home.incoming

    def finish(self, space: str, incoming: Incoming) -> Upload:
        """Unpacks what came and makes it visible; after an error nothing of it is left.

        Raises:
            ConfigError: It was cancelled, or what is in its archives does not fit.
            EpisodeError: Bytes are missing, or an archive is damaged.
            UnsafeFileError: An archive would lead elsewhere or exhaust the disk.
        """
        try:
            with disk_errors():
                incoming.close()
                self._unpack(space, incoming)
                return self._show(space, incoming)
        except BaseException:
            self.abort(space, incoming)
            raise

    def abort(self, space: str, incoming: Incoming) -> None:
        """Removes what came of an upload so far."""
        with self._lock:
            home = self._spaces.get(space)
            if home is not None and home.incoming is incoming:
                home.incoming = None
        incoming.cancel()  # removing takes long; nobody else has to wait for it

    def of(self, space: str | None) -> tuple[Upload, ...]:
        """What a visitor brought, in order; that he looks keeps it from expiring."""
        with self._lock:
            home = self._spaces.get(space) if space is not None else None
            if home is None:
                return ()
            home.seen = time.monotonic()
            return tuple(home.uploads.values())

    def remove(self, space: str, name: str) -> None:
        """Removes one upload of a visitor.

        Raises:
            ConfigError: He has none of that name.
        """
        with self._lock:
            home = self._spaces.get(space)
            if home is None or name not in home.uploads:
                raise ConfigError("you have no upload of that name; it may have expired")
            upload = home.uploads.pop(name)
        shutil.rmtree(upload.folder, ignore_errors=True)

    def expire(self, now: float | None = None) -> None:
        """Removes the spaces of visitors who have not come for long; `now` on the monotonic clock, in seconds."""
        limit = (time.monotonic() if now is None else now) - 3600 * self.limits.hours
        with self._lock:
            names = [name for name, home in self._spaces.items() if home.last_seen < limit]
            expired = {name: self._spaces.pop(name) for name in names}
        for name, home in expired.items():
            try:
                self._drop(home)
                shutil.rmtree(home.folder, ignore_errors=True)
                self._gone(name)
            except Exception:  # whatever it was, the spaces of others must expire too
                _log.exception("removing an expired space failed")

    def close(self) -> None:
        """Removes everything."""
        with self._lock:
            for home in self._spaces.values():
                self._drop(home)
            self._spaces.clear()
        self._scratch.close()

    def _space(self, name: str) -> _Space:
        if name not in self._spaces:
            if len(self._spaces) >= self.limits.visitors:
                self._clear_empty()
            if len(self._spaces) >= self.limits.visitors:
                raise ConfigError(f"{len(self._spaces)} visitors have files here; no more can, until one's expire")
            # Not named after the visitor: an expired space's folder may still be on its way out.
            self._spaces[name] = _Space(Path(tempfile.mkdtemp(prefix="space-", dir=self._scratch.folder())))
        return self._spaces[name]

    def _clear_empty(self) -> None:
        """Forgets who announced something and has nothing here, so that refused uploads do not keep others out."""
        for name in [name for name, home in self._spaces.items() if not home.uploads and home.incoming is None]:
            shutil.rmtree(self._spaces.pop(name).folder, ignore_errors=True)

    def _check_room(self, home: _Space, wanted: Room) -> None:
        spaces = self._spaces.values()
        check_room(
            self.limits,
            wanted,
            own=home.room,
            everybody=sum((other.room for other in spaces), Room()),
            coming=sum(other.incoming.missing for other in spaces if other.incoming),
            disk=home.folder,
        )

    def _unpack(self, space: str, incoming: Incoming) -> None:
        """Replaces each archive by what is in it."""
        left = self.limits.files - incoming.files
        for archive, into in incoming.archives():
            with SafeZip(archive, archive.name, max_files=left) as found:
                with self._lock:
                    incoming.check_wanted()
                    self._check_room(self._spaces[space], Room(found.bytes, found.files))
                    incoming.claimed += found.bytes
                    incoming.files += found.files
                left -= found.files
                into.mkdir(mode=0o700)
                found.unpack(into, incoming.check_wanted)
            incoming.claimed -= archive.stat().st_size
            archive.unlink()

    def _show(self, space: str, incoming: Incoming) -> Upload:
        with self._lock:
            incoming.check_wanted()
            home = self._spaces[space]
            folder = home.folder / incoming.name
            incoming.folder.rename(folder)
            home.incoming = None
            home.seen = time.monotonic()
            upload = Upload(
                name=incoming.name, title=incoming.title, bytes=incoming.claimed, files=incoming.files, folder=folder
            )
            home.uploads[upload.name] = upload
            return upload

    def _drop(self, home: _Space) -> None:
        if home.incoming is not None:
            home.incoming.cancel()
            home.incoming = None

    def _watch_time(self) -> None:
        if self._watch is None:
            self._watch = threading.Thread(target=self._look_for_expired, name="upload-expiry", daemon=True)
            self._watch.start()

    def _look_for_expired(self) -> None:
        while True:
            time.sleep(_LOOK_EVERY)
            self.expire()

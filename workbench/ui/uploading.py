"""What happens to a visitor's files once they are here: they are listed for him alone, and the first episode is opened.

Everything in them is read by the same guarded readers as any other file. What no reader can open is not kept, and the
visitor is told why, without a path of this machine.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from model.errors import ConfigError, EpisodeError, WorkbenchError
from trainer.episodes.open import looked_for
from trainer.episodes.settings_store import remove_lost_settings

from ..catalog_rows import EpisodeRow
from ..upload_incoming import Announced, Incoming
from ..upload_room import Limits
from ..uploads import Upload, Uploads
from .desk import Desk
from .payload import Json

_LARGEST_SIZE = 1 << 62
_TRIED = 20
"""Episodes that are opened to find one to show; a data set of which the first twenty are damaged is damaged."""


class UploadDesk:
    """Uploads by the name of the visitor's space.

    Args:
        desk: Where their episodes are opened.
        parent: Folder for the files of all visitors.
        limits: What fits.
    """

    def __init__(self, desk: Desk, parent: Path, limits: Limits | None = None) -> None:
        self._desk, self._parent = desk, parent
        self.uploads = Uploads(parent, limits, self._forget)

    def begin(self, space: str, body: bytes) -> Incoming:
        """Starts an upload from what the browser announces.

        Raises:
            ConfigError: The request is malformed, or the upload does not fit.
            UnsafeFileError: A name would lead elsewhere.
        """
        return self.uploads.begin(space, announced_files(body))

    def finish(self, space: str, incoming: Incoming) -> Json:
        """Lists what came and opens the first episode; names the episodes, and why anything is not among them.

        Raises:
            EpisodeError: There is no episode in it, or none that can be read. Nothing is kept then.
            ConfigError, UnsafeFileError: As `Uploads.finish`.
        """
        upload = self.uploads.finish(space, incoming)
        self._list(space)
        rows = self._rows(space, upload)
        problems = self._problems(space, upload)
        for row in rows[:_TRIED]:
            try:
                self._desk.episode(row.id)
            except WorkbenchError as error:
                problems.append(_without_path(str(error), upload))
            else:
                return {"upload": upload.name, "episode": row.id, "episodes": len(rows), "problems": problems}
        self.remove(space, upload.name)
        why = problems[0] if problems else f"{upload.title}: no episode in it; looked for {looked_for()}"
        raise EpisodeError(f"{why}; nothing of it was kept")

    def listed(self, space: str | None) -> Json:
        """What a visitor has here, and how much fits."""
        own = self.uploads.of(space)
        limits = self.uploads.limits
        return {
            "uploads": [
                {
                    "name": upload.name,
                    "title": upload.title,
                    "bytes": upload.bytes,
                    "episodes": len(self._rows(space, upload)) if space else 0,
                }
                for upload in own
            ],
            "limit": limits.visitor_bytes,
            "files": limits.files,
            "hours": limits.hours,
        }

    def remove(self, space: str, name: str | None) -> None:
        """Removes one upload of a visitor, or all of them; one that is still coming is cancelled.

        Raises:
            ConfigError: He has none of that name.
        """
        names = [upload.name for upload in self.uploads.of(space)] if name is None else [name]
        for each in names:
            try:
                coming = self.uploads.incoming(space, each)
            except ConfigError:
                self.uploads.remove(space, each)
            else:
                self.uploads.abort(space, coming)
        self._list(space)

    def _list(self, space: str) -> None:
        """Lists what a visitor has by now; what came or went while it was listed is not missed."""
        listed = None
        while (own := self.uploads.of(space)) != listed:
            self._desk.catalog.add_private(space, [upload.folder for upload in own])
            listed = own
        self._forget_opened()

    def _forget(self, space: str) -> None:
        self._desk.catalog.drop_private(space)
        self._forget_opened()

    def _forget_opened(self) -> None:
        self._desk.forget_episodes()
        remove_lost_settings(self._parent)

    def _rows(self, space: str, upload: Upload) -> list[EpisodeRow]:
        rows = self._desk.catalog.episodes(space)
        return [row for row in rows if row.space == space and Path(row.name).is_relative_to(upload.folder)]

    def _problems(self, space: str, upload: Upload) -> list[str]:
        problems = self._desk.catalog.problems(space)
        return [
            _without_path(problem.message, upload)
            for problem in problems
            if Path(problem.where).is_relative_to(upload.folder) and Path(problem.where) != upload.folder
        ]


def announced_files(body: bytes) -> list[Announced]:
    """Names and sizes from a request.

    Raises:
        ConfigError: It is not of the form {"files": [[name, bytes], ...]}.
    """
    try:
        files = cast("dict[str, Any]", json.loads(body))["files"]
        pairs = [(name, size) for name, size in files]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ConfigError('an upload is announced as {"files": [[name, bytes], ...]}') from None
    if not all(isinstance(name, str) and type(size) is int for name, size in pairs):
        raise ConfigError("an upload's names must be texts and its sizes whole numbers of bytes")
    if any(abs(size) > _LARGEST_SIZE for _, size in pairs):
        raise ConfigError("an upload's sizes must be numbers of bytes that a disk can have")
    return [Announced(name, size) for name, size in pairs]


def _without_path(message: str, upload: Upload) -> str:
    """What the visitor knows the file as: its name in the upload."""
    return message.replace(f"{upload.folder}/", "").replace(str(upload.folder), upload.title)

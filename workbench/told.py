"""Messages as a browser may have them: they name a file from the folder down that somebody named, not where it lies."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path


def without_places(message: str, places: Iterable[Path]) -> str:
    """A message without the folders in front of what it names; this user's home, elsewhere, becomes `~`.

    Args:
        message: Of an error or a dataset's reader, for people.
        places: Absolute folders; in `/data/sets/calvin/ep_0.npz`, `/data/sets` leaves `calvin/ep_0.npz`.
    """
    for place in sorted(places, key=lambda place: len(place.parts), reverse=True):
        message = _replaced(message, place, "")
    return _replaced(message, Path.home(), "~/")


def _replaced(message: str, place: Path, by: str) -> str:
    """`/data` is not part of `/mnt/data`, and `/` is no place: it would be everywhere."""
    if place == place.parent:
        return message
    return re.sub(rf"(?<![\w.~-]){re.escape(str(place))}/", lambda _: by, message)

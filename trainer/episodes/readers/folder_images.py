"""Images of a folder, one a file: read within bounds, up to the last good one.

A recorder that was killed, or that filled the disk, leaves an empty or half-written image at the end; one that writes
with several threads leaves some.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from model.errors import WorkbenchError

from ..media.images import MAX_BYTES, read_image_file
from ..safe_path import plain_file

_MAX_CUT = 64  # images at the end that are looked at: more were not being written at once


def image_bytes(path: Path, root: Path) -> bytes:
    """The content of an image file in `root`.

    Raises:
        EpisodeError: Missing or not readable.
        UnsafeFileError: A link to outside of `root`, no plain file, or too large.
    """
    plain_file(path, root, max_bytes=MAX_BYTES)
    return read_image_file(path)


def good_until(paths: list[Path], read: Callable[[int], object]) -> tuple[int, str]:
    """How many images there are before an empty or half-written end, and a note that says so ("" if all are good).

    Args:
        paths: The images in their order.
        read: Decodes the image of an index; raises `WorkbenchError` if it cannot.
    """
    end = next((at for at, path in enumerate(paths) if path.stat().st_size == 0), len(paths))
    note = "" if end == len(paths) else f"{paths[end].name} is empty: the {end} images before it can be read"
    for _ in range(min(_MAX_CUT, end - 1)):
        try:
            read(end - 1)
            break
        except WorkbenchError as error:
            end -= 1
            reason = str(error).removeprefix(f"{paths[end]}: ")
            note = f"the {end} images before {paths[end].name} can be read: {reason[:120]}"
    return end, note

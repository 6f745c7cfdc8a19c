"""The views of a folder: a video or a folder of numbered images for each, and depth beside them (see `folder_depth`).

    VIEW.mp4 (.mov .m4v .mkv .webm .avi)   or   VIEW/000000.png (.jpg .jpeg), in the order of their names

VIEW is any name with one of the words of `VIEW_WORDS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from model.errors import UnsafeFileError

from ..media.images import decode_image, image_size
from ..media.video import Video, is_video
from ..safe_path import plain_file
from .folder_images import good_until, image_bytes
from .folder_names import entries
from .views import STATIC_WORDS, WRIST_WORDS, words_of

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi"})
VIEW_WORDS = {*WRIST_WORDS, *STATIC_WORDS, "cam", "camera", "view"} - {"base", "tool", "high"}
MAX_VIDEO_BYTES = 64 << 30
_IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_DEPTH = re.compile(r"^(?P<view>.+)_depth$|^depth_(?P<also>.+)$|^(?P<alone>depth)$")
_MAX_IMAGES = 1_000_000


@dataclass
class FoundView:
    """One view before anything of it is read: its video or its images, and its depth if there is any."""

    name: str
    video: Path | None = None
    images: list[Path] = field(default_factory=list[Path])
    depth: list[Path] = field(default_factory=list[Path])

    @property
    def files(self) -> list[Path]:
        """All of its files."""
        return [*([self.video] if self.video else []), *self.images, *self.depth]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """The frames of a view.

    Attributes:
        rate: Frames a second, None for images.
        note: What is wrong with it, "" if nothing is.
    """

    length: int
    size: tuple[int, int]
    rgb: Callable[[int], np.ndarray]
    rate: float | None
    note: str


def find_views(folder: Path) -> list[FoundView]:
    """The views in a folder, by name; looks at names, and into folders with a view's name."""
    views: dict[str, FoundView] = {}
    depths: dict[str, list[Path]] = {}
    for path in entries(folder):
        stem = path.stem if path.suffix.lower() in {*VIDEO_SUFFIXES, ".npy"} else path.name  # names before any stat
        depth = _DEPTH.match(stem.lower())
        if depth is not None:
            depths[depth["view"] or depth["also"] or ""] = _frames(path, {".png", ".npy"}) if path.is_dir() else [path]
        elif not VIEW_WORDS & set(words_of(stem)):
            continue
        elif path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            views.setdefault(stem, FoundView(name=stem)).video = path
        elif path.is_dir() and (images := _frames(path, _IMAGE_SUFFIXES)):
            views.setdefault(stem, FoundView(name=stem)).images = images
    for name, view in views.items():
        view.depth = depths.get(name.lower(), depths.get("", []) if len(views) == 1 else [])
    return [views[name] for name in sorted(views)]


def video_clip(path: Path, root: Path) -> Clip:
    """The frames of a video, up to the last one that can be read."""
    plain_file(path, root, max_bytes=MAX_VIDEO_BYTES)
    video = Video(path)
    note = ""
    if video.complaint:
        note = f"only the first {video.readable} frames of {path.name} can be read: it is damaged ({video.complaint})"
    return Clip(length=video.readable, size=video.size, rgb=video.frame, rate=video.rate, note=note)


def image_clip(paths: list[Path], root: Path) -> Clip:
    """The images of a folder, up to the last one that can be read."""
    size = image_size(image_bytes(paths[0], root), paths[0])
    read = partial(_read_image, paths, root)
    length, note = good_until(paths, read)
    return Clip(length=length, size=size, rgb=read, rate=None, note=note)


def looks_like_video(path: Path) -> bool:
    """Whether a file is named and begins like a video."""
    try:
        if path.suffix.lower() not in VIDEO_SUFFIXES or not path.is_file():
            return False
        with path.open("rb") as file:
            return is_video(file.read(16))
    except OSError:
        return False


def _read_image(paths: list[Path], root: Path, index: int) -> np.ndarray:
    return decode_image(image_bytes(paths[index], root), paths[index])


def _frames(folder: Path, suffixes: frozenset[str] | set[str]) -> list[Path]:
    paths = [path for path in entries(folder) if path.suffix.lower() in suffixes]
    if len(paths) > _MAX_IMAGES:
        raise UnsafeFileError(f"{folder}: more than {_MAX_IMAGES} images")
    return sorted(paths, key=_natural)


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """2 before 10, whatever stands around them."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in words_of(path.stem)], path.name

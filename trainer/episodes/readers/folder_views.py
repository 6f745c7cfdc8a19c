"""The views of a folder: a video or a folder of numbered images for each, and depth beside them (see `folder_depth`).

    VIEW.mp4 (.mov .m4v .mkv .webm .avi)   or   VIEW/000000.png (.jpg .jpeg), in the order of their names

VIEW is any name with one of the words of `VIEW_WORDS`; any name at all where a meta.yaml, a camera.yaml or a table of
states or actions says that the folder is one recording. Numbered images straight in a folder are its only view.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from model.errors import UnsafeFileError

from ..media.images import decode_image, image_size
from ..media.video import Video, is_video
from ..safe_path import plain_file
from .folder_images import good_until, image_bytes
from .folder_names import entries
from .folder_tables import SUFFIXES
from .views import STATIC_WORDS, WRIST_WORDS, words_of

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi"})
VIEW_WORDS = {*WRIST_WORDS, *STATIC_WORDS, "cam", "camera", "view"} - {"base", "tool", "high"}
MAX_VIDEO_BYTES = 64 << 30
_IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
_OTHER_IMAGES = frozenset({".bmp", ".webp", ".tif", ".tiff", ".gif", ".heic", ".ppm", ".exr"})
_OTHER_VIDEOS = frozenset({".ts", ".flv", ".gif", ".wmv", ".mpg", ".mpeg", ".3gp", ".bag", ".svo"})
_SAYS_ONE_RECORDING = {
    *(f"{stem}{suffix}" for stem in ("meta", "camera") for suffix in (".yaml", ".yml", ".json")),
    *(f"{stem}{suffix}" for stem in ("state", "states", "action", "actions") for suffix in SUFFIXES),
}
_MOST_VIEWS = 8  # more videos beside one meta.yaml are trials, not cameras
_SEQUENCE = 5  # images that are numbered one by one; fewer, or with gaps, may be anything
_DEPTH = re.compile(r"^(?P<view>.+)_depth$|^depth_(?P<also>.+)$|^(?P<alone>depth)$")
_SECONDS = re.compile(r"(?<!\d)(\d{9,10})\.(\d+)")  # since 1970, as Python prints time.time(): no zeros at the end
_DIGITS = 9  # of a second
_MAX_IMAGES = 1_000_000
_UNEVEN = 0.5  # of the usual interval


@dataclass
class FoundView:
    """One view before anything of it is read: its video or its images, and its depth if there is any.

    Attributes:
        unread: One of its images where they are of a kind that is not read.
    """

    name: str
    video: Path | None = None
    images: list[Path] = field(default_factory=list[Path])
    depth: list[Path] = field(default_factory=list[Path])
    unread: Path | None = None

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
    """The views in a folder, by name; looks at names, and into folders that may be a view."""
    present = entries(folder)
    is_recording = any(path.name.lower() in _SAYS_ONE_RECORDING for path in present)
    views = _views(present, any_name=is_recording)
    if len(views) > _MOST_VIEWS and is_recording:
        views = _views(present, any_name=False)
    if not views and not _DEPTH.match(folder.name.lower()):
        images = _frames(present, _IMAGE_SUFFIXES)
        if images and (is_recording or _is_sequence(images)):
            views = _loose(images)
    return [views[name] for name in sorted(views)]


def unused_beside(folder: Path, views: list[FoundView]) -> list[str]:
    """The names of videos, folders of images and arrays of depth that belong to no view."""
    used = {path for view in views for path in (*view.files, *(file.parent for file in view.files))}
    kinds = {*VIDEO_SUFFIXES, *_OTHER_VIDEOS}
    return [
        path.name
        for path in entries(folder)
        if path not in used
        and (path.suffix.lower() in kinds or _is_depth(path) or _frames(_inside(path), _IMAGE_SUFFIXES | _OTHER_IMAGES))
    ]


def video_clip(path: Path, root: Path) -> Clip:
    """The frames of a video, up to the last one that can be read."""
    plain_file(path, root, max_bytes=MAX_VIDEO_BYTES)
    video = Video(path)
    note = ""
    if video.complaint:
        note = f"only the first {video.readable} frames of {path.name} can be read: it is damaged ({video.complaint})"
    elif uneven := _unevenness(video.times):
        note = f"{path.name}: {uneven}; its frames are taken as if they came at {video.rate:g} a second"
    return Clip(length=video.readable, size=video.size, rgb=video.frame, rate=video.rate, note=note)


def _unevenness(times: Float[np.ndarray, " f"]) -> str:
    """What is uneven in the times of a video's frames, "" if they come at one rate but for rounding."""
    interval = np.diff(times)
    usual = float(np.median(interval)) if len(interval) else 0.0
    late = np.flatnonzero(abs(interval - usual) > _UNEVEN * usual)
    if not len(late):
        return ""
    at = int(late[np.argmax(interval[late])])
    worst = f"frame {at + 1} comes {interval[at]:.3f} s after the one before"
    return f"{len(late)} of {len(interval)} frames are not evenly spaced ({worst})"


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


def _views(present: list[Path], *, any_name: bool) -> dict[str, FoundView]:
    """Views by name: those with a view's name, or all."""
    views: dict[str, FoundView] = {}
    depths: dict[str, list[Path]] = {}
    for path in present:
        suffix = path.suffix.lower()
        stem = path.stem if suffix in {*VIDEO_SUFFIXES, ".npy"} else path.name  # names before any stat
        depth = _DEPTH.match(stem.lower())
        if depth is not None:
            images = _frames(entries(path), frozenset({".png", ".npy"})) if path.is_dir() else [path]
            depths[depth["view"] or depth["also"] or ""] = images
        elif suffix in _IMAGE_SUFFIXES or not (any_name or VIEW_WORDS & set(words_of(stem))):
            continue
        elif suffix in VIDEO_SUFFIXES and path.is_file():
            views.setdefault(stem, FoundView(name=stem)).video = path
        elif images := _frames(_inside(path), _IMAGE_SUFFIXES):
            views.setdefault(stem, FoundView(name=stem)).images = images
        elif others := _frames(_inside(path), _OTHER_IMAGES):
            views.setdefault(stem, FoundView(name=stem)).unread = others[0]
    for name, view in views.items():
        view.depth = depths.get(name.lower(), depths.get("", []) if len(views) == 1 else [])
    return views


def _loose(images: list[Path]) -> dict[str, FoundView]:
    """Views of images that lie straight in a folder: rgb_0001.png beside depth_0001.png are no frames of one film."""
    kinds: dict[str, list[Path]] = {}
    for image in images:
        kinds.setdefault("_".join(word for word in words_of(image.stem) if not word.isdigit()), []).append(image)
    depths = {match["view"] or match["also"] or "": kinds[name] for name in kinds if (match := _DEPTH.match(name))}
    seen = {name: kind for name, kind in kinds.items() if not _DEPTH.match(name) and len(kind) > 1}
    if not seen or len(seen) > _MOST_VIEWS or 2 * len(kinds) > len(images):  # names that say nothing, such as hashes
        return {"static": FoundView(name="static", images=images)}
    alone = len(seen) == 1
    return {
        name: FoundView(name=name, images=kind, depth=depths.get(word, depths.get("", []) if alone else []))
        for word, kind in seen.items()
        for name in ["static" if alone or not word else word]
    }


def _inside(path: Path) -> list[Path]:
    return entries(path) if path.is_dir() else []


def _is_depth(path: Path) -> bool:
    return path.suffix.lower() in (".npy", ".npz") and _DEPTH.match(path.stem.lower()) is not None


def _frames(present: list[Path], suffixes: frozenset[str]) -> list[Path]:
    paths = [path for path in present if path.suffix.lower() in suffixes]
    if len(paths) > _MAX_IMAGES:
        raise UnsafeFileError(f"{paths[0].parent}: more than {_MAX_IMAGES} images")
    return sorted(paths, key=_natural)


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """2 before 10, whatever stands around them; of times in seconds .25 before .5."""
    stem = _SECONDS.sub(lambda time: f"{time[1]}.{time[2].ljust(_DIGITS, '0')}", path.stem)
    return [(int(word), "") if word.isdigit() else (-1, word) for word in words_of(stem)], path.name


def _is_sequence(images: list[Path]) -> bool:
    """Whether the names differ in their last number only, and that counts one by one."""
    parts = [re.fullmatch(r"(.*?)(\d+)(\D*)", image.stem, re.DOTALL) for image in images]
    numbers = [int(part[2]) for part in parts if part]
    counts = numbers == list(range(numbers[0], numbers[0] + len(images))) if numbers else False
    return len(images) >= _SEQUENCE and counts and len({(part[1], part[3]) for part in parts if part}) == 1

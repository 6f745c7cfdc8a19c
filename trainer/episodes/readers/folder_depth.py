"""Depth beside a view of a folder: where it ends, and how it is brought to the size of the colours.

    VIEW_depth/000000.png (16 bits) or .npy (h, w)   or   VIEW_depth.npy (t, h, w)

Depth of another size than the colours is resampled (nearest pixel: no depth is made up between two surfaces) where both
have one aspect ratio; K stays that of the colours. Otherwise the two were never aligned, and depth is left out.

Dimensions: t frame, h w pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from model.errors import EpisodeError

from ..media.images import decode_depth_image
from ..media.resize import nearest
from ..safe_npy import read_npy
from .folder_images import good_until, image_bytes


@dataclass(frozen=True, kw_only=True)
class DepthClip:
    """The depth of a view.

    Attributes:
        read: Float32 metres at a frame index, of the size of the colours, NaN = invalid.
        notes: What a person should know of it.
    """

    length: int
    read: Callable[[int], Float[np.ndarray, "h w"]]
    notes: tuple[str, ...]


def depth_clip(paths: list[Path], root: Path, unit: float, size: tuple[int, int]) -> DepthClip:
    """Depth up to its last image that can be read.

    Args:
        paths: One npy file (t, h, w), or one PNG or npy file for each frame.
        root: They must lie in it.
        unit: Metres of one count.
        size: (height, width) of the colours, pixels.

    Raises:
        EpisodeError: It cannot be read, or does not show what the colours show; says why.
        UnsafeFileError: A file that leads outside of `root`, or is larger than this program decodes.
    """
    stack = _stack(paths, root)

    def counts(index: int) -> np.ndarray:
        return _image(paths[index], root) if stack is None else stack[index]

    if not (paths if stack is None else len(stack)):
        raise EpisodeError(f"{paths[0] if paths else root}: holds no depth")
    first = counts(0).shape
    if not min(first):
        raise EpisodeError(f"{paths[0]}: has {_sides(first)} pixels")
    length, cut = good_until(paths, counts) if stack is None else (len(stack), "")
    notes = [cut] if cut else []
    if first != size:
        if abs(first[1] * size[0] - size[1] * first[0]) > max(first[0], size[0]):  # more than a side rounded
            raise EpisodeError(
                f"it is {_sides(first)} pixels, another shape than the colours' {_sides(size)}: align it"
            )
        notes.append(
            f"it is {_sides(first)} pixels, brought to the colours' {_sides(size)}: right if both see the same field"
        )

    def read(index: int) -> Float[np.ndarray, "h w"]:
        depth = counts(index)
        return _metres(nearest(depth, size) if depth.shape == first else depth, unit)

    return DepthClip(length=length, read=read, notes=tuple(notes))


def _stack(paths: list[Path], root: Path) -> np.ndarray | None:
    """The array (t, h, w) that a single file holds, None if every frame has a file of its own."""
    if len(paths) != 1 or paths[0].suffix.lower() != ".npy":
        return None
    stack = read_npy(paths[0], root, kinds="uif")
    if stack.ndim == 4 and stack.shape[-1] == 1:
        return stack[..., 0]
    return stack if stack.ndim == 3 else None


def _image(path: Path, root: Path) -> np.ndarray:
    if path.suffix.lower() != ".npy":
        return decode_depth_image(image_bytes(path, root), path)
    depth = read_npy(path, root, kinds="uif")
    if depth.ndim != 2:
        raise EpisodeError(f"{path}: has shape {depth.shape}, expected (height, width)")
    return depth


def _metres(depth: np.ndarray, unit: float) -> Float[np.ndarray, "h w"]:
    metres = depth.astype(np.float32) * np.float32(unit)
    metres[~(np.isfinite(metres) & (metres > 0))] = np.nan
    return metres


def _sides(size: tuple[int, ...]) -> str:
    return " x ".join(map(str, size))

"""Which images of a folder's views and depth belong together, where a recorder dropped some.

A 0004.png that was never written must not shift all later images against the other cameras: where the names count the
frames alike, they say what belongs together; else the order does.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

_NUMBER = re.compile(r"\d+(?=\D*$)")
_MOST_MISSING = 0.1  # of the frames; sequences that differ by more are not numbered alike
_NAMED = 5

T = TypeVar("T")


def frame_numbers(sequences: Iterable[Sequence[Path]]) -> list[int] | None:
    """The numbers of all frames; None where the order of the images says as much, or the numbers do not agree.

    Args:
        sequences: Images of every view and of its depth, each in its order.
    """
    counted = [_numbers(images) for images in sequences]
    sets = [set(numbers) for numbers in counted]
    if not all(sets) or all(numbers == sets[0] for numbers in sets):
        return None
    if not all(_rises(numbers) for numbers in counted):
        return None
    if len({numbers[0] for numbers in counted}) > 1 and len({numbers[-1] for numbers in counted}) > 1:
        return None  # one counts from 0, the other from 1
    every = sorted(set[int]().union(*sets))
    return None if min(map(len, sets)) < (1 - _MOST_MISSING) * len(every) else every


class Placed:
    """Images at their places among all frames.

    Args:
        images: Those that can be read, in their order.
        frames: The numbers of all frames, see `frame_numbers`.
    """

    def __init__(self, images: Sequence[Path], frames: Sequence[int]) -> None:
        self._index = {number: at for at, number in enumerate(_numbers(images))}
        self._frames = frames[: bisect_right(frames, max(self._index))]

    def __len__(self) -> int:
        """Frames up to the last of the images."""
        return len(self._frames)

    @property
    def notes(self) -> list[str]:
        """What is lacking before the last image, if anything is."""
        lacking = [number for number in self._frames if number not in self._index]
        named = ", ".join(map(str, lacking[:_NAMED])) + (", ..." if len(lacking) > _NAMED else "")
        return [f"has no image of number {named}: the others are paired by their numbers"] if lacking else []

    def reader(self, read: Callable[[int], T], absent: Callable[[int], T]) -> Callable[[int], T]:
        """Reads by a frame's place where `read` does by an image's; `absent` is asked for the number of one without."""

        def read_place(place: int) -> T:
            number = self._frames[place]
            return read(self._index[number]) if number in self._index else absent(number)

        return read_place


def _numbers(images: Sequence[Path]) -> list[int]:
    """The last number of each name; none where a name has none."""
    found = [_NUMBER.search(image.stem) for image in images]
    return [int(match[0]) for match in found if match] if all(found) else []


def _rises(numbers: Sequence[int]) -> bool:
    return all(one < other for one, other in pairwise(numbers))

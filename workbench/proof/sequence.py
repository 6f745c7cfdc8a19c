"""Which position of the sequence is which token: group, frame and place inside the group.

Dimensions: n token.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from .report import Extent, Group, Relation

PREFIX_FRAME = -1


@dataclass(frozen=True, kw_only=True)
class TokenTable:
    """All tokens of a sequence: the prefix groups once, then the other groups in every frame.

    Attributes:
        groups: Prefix groups first.
        n_frames: Frames.
    """

    groups: tuple[Group, ...]
    n_frames: int

    @cached_property
    def _where(self) -> Int64[Tensor, "n 3"]:
        """Group, frame, place inside the group of every position."""
        places = [
            (index, frame, item)
            for frame in range(PREFIX_FRAME, self.n_frames)
            for index, group in enumerate(self.groups)
            if group.prefix == (frame == PREFIX_FRAME)
            for item in range(group.count)
        ]
        return torch.tensor(places, dtype=torch.int64)

    @property
    def length(self) -> int:
        """Tokens of the sequence."""
        return len(self._where)

    @cached_property
    def group(self) -> Int64[Tensor, " n"]:
        """Index into `groups` of every position."""
        return self._where[:, 0]

    @cached_property
    def frame(self) -> Int64[Tensor, " n"]:
        """Frame of every position, `PREFIX_FRAME` in the prefix."""
        return self._where[:, 1]

    @cached_property
    def relation(self) -> Int64[Tensor, "n n"]:
        """-1 where the column stands in an earlier frame than the row, 0 in the same, 1 in a later one."""
        return torch.sign(self.frame[None, :] - self.frame[:, None])

    def index(self, name: str) -> int:
        """Of a group; KeyError lists the names there are."""
        names = [group.name for group in self.groups]
        if name not in names:
            raise KeyError(f"no token group '{name}'; there are {', '.join(names)}")
        return names.index(name)

    def positions(self, group: int, frame: int | None = None) -> Int64[Tensor, " _"]:
        """Of a group, in one frame or in all."""
        if frame is not None:
            return self._blocks[group, frame]
        return (self.group == group).nonzero()[:, 0]

    def blocks(self) -> list[tuple[int, int]]:
        """Every (group, frame) that has tokens, in the order of the sequence."""
        return list(self._blocks)

    @cached_property
    def _blocks(self) -> dict[tuple[int, int], Int64[Tensor, " _"]]:
        """Positions of every (group, frame), in the order of the sequence."""
        keys = dict.fromkeys((group, frame) for group, frame, _ in self._where.tolist())
        return {key: ((self.group == key[0]) & (self.frame == key[1])).nonzero()[:, 0] for key in keys}

    def label(self, position: int) -> str:
        """`ACT[0]@3`: group, place inside it, frame; the prefix has no frame."""
        group, frame, item = self._where[position].tolist()
        return f"{self.groups[group].name}[{item}]" + (f"@{frame}" if frame != PREFIX_FRAME else "")


RELATION_SIGN = {Relation.EARLIER: -1, Relation.SAME: 0, Relation.LATER: 1}


def extent(pairs: Bool[Tensor, "*_"]) -> Extent:
    """None, some or all of the pairs; none of no pairs."""
    if not bool(pairs.any()):
        return Extent.NONE
    return Extent.ALL if bool(pairs.all()) else Extent.SOME

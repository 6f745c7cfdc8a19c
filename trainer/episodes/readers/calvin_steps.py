"""The step files of one CALVIN episode: one npz a step, opened when a frame is asked for.

Dimensions: t control step, h w pixels, n entries of a feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from model.errors import EpisodeError, WorkbenchError

from ..lazy import Numbers
from ..safe_npy import NpzFile, check_whole
from ..safe_path import plain_file
from .calvin_units import NAMES, action_of, state_of

MAX_STEP_BYTES = 32 << 20
_ROBOT, _ACTION = ("robot_obs", 15), ("rel_actions", 7)
_FEATURES = (_ROBOT, _ACTION, ("actions", 7), ("scene_obs", 24))


class StepFiles:
    """Reads arrays of the steps of an episode.

    Args:
        split: The folder they lie in.
        paths: One file a step, in order.
    """

    def __init__(self, split: Path, paths: Sequence[Path]) -> None:
        self._split, self.paths = split, tuple(paths)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every array of the first step; text that a lab keeps there is no reason to refuse it.

        Raises:
            EpisodeError: It is damaged.
            UnsafeFileError: It announces what it must not hold.
        """
        with self._open(0) as file:
            return {name: file.header(name, kinds="biufUS").shape for name in file.names}

    def image(self, step: int, name: str, shape: tuple[int, ...]) -> UInt8[np.ndarray, "*s"]:
        """An image of one step."""
        return self._read(step, name, shape, "uint8").astype(np.uint8, copy=False)

    def depth(self, step: int, name: str, size: tuple[int, int]) -> Float[np.ndarray, "h w"]:
        """Metres along the axis; NaN where the file has nothing that can be a distance."""
        depth = self._read(step, name, size, "float16", "float32", "float64").astype(np.float32, copy=False)
        with np.errstate(invalid="ignore"):
            return np.where((depth > 0) & np.isfinite(depth), depth, np.float32(np.nan))

    def numbers(self, names: Sequence[str], *, stop_at_damage: bool) -> tuple[Numbers, str | None]:
        """All low-dimensional arrays, of all steps or of those before the first damaged one.

        Args:
            names: The arrays the first step has.
            stop_at_damage: Give what lies before a damaged step, and say what is wrong with it, instead of raising.

        Raises:
            EpisodeError: A step is damaged, or already the first one is.
        """
        wanted = [(name, width) for name, width in _FEATURES if name in names]
        rows: list[list[np.ndarray]] = []
        problem: str | None = None
        for step in range(len(self.paths)):
            try:
                rows.append(self._row(step, wanted))
            except WorkbenchError as error:
                if not (stop_at_damage and rows):
                    raise
                problem = str(error)
                break
        features = {name: np.stack([row[index] for row in rows]) for index, (name, _) in enumerate(wanted)}
        robot, command = features.get(_ROBOT[0]), features.get(_ACTION[0])
        state = None if robot is None else state_of(robot)
        action = None if robot is None or command is None else action_of(command, robot)
        named = {name: NAMES[name] for name in features}
        return Numbers(state=state, action=action, features=features, names=named), problem

    def _row(self, step: int, wanted: Sequence[tuple[str, int]]) -> list[np.ndarray]:
        with self._open(step) as file:
            row = [file.read(name, shape=(width,), kinds="f").astype(np.float64) for name, width in wanted]
        for (name, _), values in zip(wanted, row, strict=True):
            if not (np.abs(values) < 1e6).all():  # false for NaN
                raise EpisodeError(f"{self.paths[step]}: field '{name}' holds NaN, infinity or nonsense")
        return row

    def _read(self, step: int, name: str, shape: tuple[int, ...], *dtypes: str) -> np.ndarray:
        with self._open(step) as file:
            values = file.read(name, shape=shape)
        if values.dtype not in [np.dtype(dtype) for dtype in dtypes]:
            raise EpisodeError(f"{self.paths[step]}: field '{name}' is {values.dtype}, expected {' or '.join(dtypes)}")
        return values

    def _open(self, step: int) -> NpzFile:
        return NpzFile(self.paths[step], self._split, max_bytes=MAX_STEP_BYTES)


def present_steps(split: Path, paths: Sequence[Path]) -> tuple[list[Path], str | None]:
    """The files before the first one that is missing, cut off or unsafe to open, and what is wrong with that one.

    Only the end of each is read: half of a zip file has no list of members.

    Raises:
        EpisodeError: Already the first one is missing.
        UnsafeFileError: Already the first one leads outside.
    """
    present: list[Path] = []
    for path in paths:
        try:
            check_whole(path, plain_file(path, split, max_bytes=MAX_STEP_BYTES).st_size)
        except WorkbenchError as error:
            if not present:
                raise
            return present, str(error)
        present.append(path)
    return present, None

"""One episode as the rows of a dataset that has an image at every row.

Dimensions: n row, h w pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from model.errors import EpisodeError

from ..episode import Episode, View

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trajectory:
    """The control steps of an episode that become rows: those with images."""

    episode: Episode
    steps: tuple[int, ...]

    @property
    def rate(self) -> float:
        """Rows a second."""
        between = self.steps[1] - self.steps[0] if len(self.steps) > 1 else 1
        return self.episode.info.control_hz / between

    @cached_property
    def state(self) -> Float[np.ndarray, "n 8"] | None:
        """Tool pose and opening at the rows."""
        return self.episode.state[list(self.steps)] if self.episode.has("state") else None

    @cached_property
    def action(self) -> Float[np.ndarray, "n 7"] | None:
        """The commands given at the rows; None where their units are unknown."""
        known = self.episode.info.action_space is not None and self.episode.has("action")
        return self.episode.action[list(self.steps)] if known else None

    def feature(self, name: str, width: int) -> Float[np.ndarray, "n width"] | None:
        """A source's own feature at the rows, None where there is none of that name and width."""
        values = self.episode.features.get(name)
        if values is None or values.shape[1:] != (width,):
            return None
        return np.asarray(values, np.float64)[list(self.steps)]

    def still_camera(self, view: View) -> Float[np.ndarray, "4 4"] | None:
        """The pose of a camera that is known and does not move."""
        if not self.episode.has("T_world_camera", view):
            return None
        poses = self.episode.T_world_camera(view)
        return poses[0] if np.allclose(poses, poses[0], atol=1e-6) else None


def trajectory(episode: Episode, *, drop_steps: bool) -> Trajectory:
    """The rows of an episode.

    Args:
        episode: The source.
        drop_steps: Accept an episode whose images do not show every control step; the commands between are lost.

    Raises:
        EpisodeError: Some steps have no image.
    """
    steps = tuple(int(step) for step in episode.frame_steps)
    if len(steps) < episode.info.length and not drop_steps:
        raise EpisodeError(
            f"{episode.name}: has images at {len(steps)} of {episode.info.length} steps, the format wants one at each; "
            "add --drop-steps to write those that have one (the actions between them are lost)"
        )
    return Trajectory(episode, steps)


def name_losses(trajectories: Sequence[Trajectory], format: str, *, hz: float, outcomes: frozenset[str]) -> None:
    """Warns of what a format with two fixed views cannot say.

    Args:
        trajectories: What is written.
        format: Its name.
        hz: The rate at which all its readers take a recording.
        outcomes: Those that it can say.
    """
    infos = [one.episode.info for one in trajectories]
    if lost := sorted({name for one in trajectories for name in one.episode.others}):
        log.warning("%s has no place for these cameras, left out: %s", format, ", ".join(lost))
    if lost := sorted({one.rate for one in trajectories if abs(one.rate - hz) > 0.01 * hz}):
        rates = ", ".join(f"{rate:g}" for rate in lost)
        log.warning("%s keeps no rate: recorded at %s Hz, it will be read as %g Hz", format, rates, hz)
    if lost := sorted({info.outcome for info in infos if info.outcome is not None} - outcomes):
        log.warning("%s has no word for this outcome, left out: %s", format, ", ".join(lost))


@dataclass(frozen=True)
class Lost:
    """Something that a format may have no place for: its name, and whether an episode has it."""

    what: str
    is_in: Callable[[Trajectory], bool]


INTRINSICS = Lost("intrinsics", lambda one: any(one.episode.has("K", view) for view in one.episode.info.views))
POSES = Lost("camera poses", lambda one: any(_poses(one)))
WRIST_POSE = Lost("the wrist camera's pose", lambda one: one.episode.has("T_world_camera", "wrist"))
MOVING_POSE = Lost("poses of moving cameras", lambda one: any(one.still_camera(view) is None for view in _poses(one)))
ACTION_UNITS = Lost("the units and axes of actions", lambda one: one.action is not None)
EXACT_FLOW = Lost("exact flow", lambda one: one.episode.info.has_exact_flow)
OWN_NUMBERS = Lost("the source's own columns", lambda one: bool({*one.episode.features} - {"state", "action"}))


def _poses(one: Trajectory) -> list[View]:
    return [view for view in one.episode.info.views if one.episode.has("T_world_camera", view)]


def name_lost_fields(trajectories: Sequence[Trajectory], format: str, fields: Sequence[Lost]) -> None:
    """Warns of what some episode has and the format has no place for."""
    if lost := [field.what for field in fields if any(map(field.is_in, trajectories))]:
        log.warning("%s has no place for these, left out: %s", format, ", ".join(lost))


def centred_field_of_view(K: Float[np.ndarray, "3 3"], size: tuple[int, int]) -> tuple[float, float] | None:
    """Vertical field of view (radians) and aspect of a camera; None where these do not describe it.

    Args:
        K: Intrinsics in pixels.
        size: (height, width) of its images.
    """
    height, width = size
    if not np.allclose(K[:2, 2], (width / 2, height / 2), atol=1e-3) or abs(K[0, 1]) > 1e-6:
        return None
    return float(2 * np.arctan(height / (2 * K[1, 1]))), float(width * K[1, 1] / (height * K[0, 0]))


def same_cameras(found: Sequence[Float[np.ndarray, "a b"] | None]) -> Float[np.ndarray, "a b"] | None:
    """What all episodes agree on, None where they do not."""
    first = found[0] if found else None
    if first is None or any(one is None or not np.allclose(one, first, atol=1e-6) for one in found):
        return None
    return first

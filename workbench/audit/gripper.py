"""A gripper whose command or opening counts the other way round: opening must follow the command, not flee it.

Numbers alone do not tell which of the two is inverted: the same numbers are had by an episode that starts open with an
inverted opening and by one that starts shut with an inverted command. Episodes start with open fingers, as robots are
reset, far more often than not; so the opening is to blame if it says that they start shut, else the command is.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from trainer.episodes.source_settings import SourceSetting

from .answers import Answer, checked, sentence, unchecked
from .finding import Finding, Kind
from .measured import Measured
from .pictures import gripper_over_time

_LAG_SECONDS = 0.5  # within which fingers follow
_LEAST_SWING = 0.05  # of the opening, 0 shut .. 1 open
_FOLLOWS = 0.6


def check_gripper(measured: Measured) -> list[Answer]:
    """Whether the gripper opens when it is told to."""
    kind, episode = Kind.GRIPPER_SIGN, measured.episode
    if not episode.has("action") or not measured.has_tool:
        return [unchecked(kind, "gripper", "no action" if measured.has_tool else "no state")]
    command = np.asarray(episode.action, np.float64)[:, 6]
    opening = np.asarray(episode.state, np.float64)[:, 7]
    if len(command) < 10 or np.ptp(command) < 0.5 or np.ptp(opening) < _LEAST_SWING:
        return [unchecked(kind, "gripper", "it is never opened and shut")]
    found, lag = following(command, opening, max(1, round(_LAG_SECONDS * episode.info.control_hz)))
    said = f"opening follows the command with correlation {found:+.2f} after {lag} steps"
    if abs(found) < _FOLLOWS:
        return [unchecked(kind, "gripper", f"it does not clearly follow: {said}")]
    if found > 0:
        return [checked(kind, "gripper", said)]
    state_wrong = bool(opening[0] < 0.5)
    # an inverted command is open where the fingers are shut: both first values then speak for the same one
    agree = state_wrong == bool(command[0] >= 0.5)
    what = "measured opening" if state_wrong else "command"
    title = f"The gripper's {what} counts the wrong way round"
    picture = gripper_over_time(command, opening, episode.info.control_hz)
    finding = Finding(
        kind=kind,
        where="state gripper" if state_wrong else "action gripper",
        severity="error",
        confidence=min(0.95 if agree else 0.7, abs(found)),
        title=title,
        detail=sentence(f"{said}; it starts with a command of {command[0]:.2g} and an opening of {opening[0]:.2g}"),
        fix=f"Invert the {what}, if the fingers are open at the start of this episode; the other one if they are shut.",
        setting=SourceSetting(
            invert_gripper_state=state_wrong, invert_gripper_action=not state_wrong, why=(title + ".",)
        ),
        evidence=picture.image,
        caption=picture.caption,
    )
    return [finding, checked(kind, "gripper", said)]


def following(command: Float[np.ndarray, " t"], opening: Float[np.ndarray, " t"], longest: int) -> tuple[float, int]:
    """The strongest correlation, of either sign, of a command and the opening up to `longest` steps later, and when."""
    best, at = 0.0, 0
    for lag in range(min(longest, len(command) - 5) + 1):
        early, late = command[: len(command) - lag], opening[lag:]
        if early.std() > 0 and late.std() > 0:
            found = float(np.corrcoef(early, late)[0, 1])
            if abs(found) > abs(best):
                best, at = found, lag
    return best, at

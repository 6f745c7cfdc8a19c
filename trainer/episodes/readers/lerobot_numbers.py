"""The numbers of a LeRobot episode: every feature under its own name, and what of it is a tool pose or its command.

Only what a dataset says, or what can be checked, is interpreted:
- a state whose entries are named x, y, z, a quaternion (qw, qx, qy, qz in any order) and gripper is the tool's pose;
- the state and action of LIBERO conversions are recognised by their values, see `libero_style`;
- joint positions, such as those of SO-100 and SO-101 arms, are no tool pose: they stay features, nothing else.

Dimensions: t control step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..episode import ACTION_NAMES, ActionSpace
from ..lazy import Numbers
from . import libero_style
from .tool_pose import tool_pose

STATE_KEYS = ("observation.state", "state")
ACTION_KEYS = ("action", "actions")
_LONGEST = 60  # characters of a name


def interpret(
    features: Mapping[str, np.ndarray], described: Mapping[str, Mapping[str, Any]], cameras: Sequence[str]
) -> tuple[Numbers, ActionSpace | None, bool]:
    """Numbers, the units of the action if they are known, and whether the images are LIBERO's, mirrored.

    Args:
        features: Columns of numbers (t, n) by feature.
        described: What info.json says of each feature.
        cameras: The names of the cameras; LIBERO conversions have one or two.
    """
    state_key = next((key for key in STATE_KEYS if key in features), None)
    action_key = next((key for key in ACTION_KEYS if key in features), None)
    state = None if state_key is None else features[state_key]
    action = None if action_key is None else features[action_key]
    said = {key: _names(described.get(key, {})) for key in features}
    named = {key: names for key, names in said.items() if len(names) == features[key].shape[1] > 1}
    pose = None if state is None or state_key is None else tool_pose(state, said[state_key])
    if pose is None and state is not None and action is not None and len(cameras) <= 2:
        libero = libero_style.read_libero_style(state, action)
        if libero is not None:
            known = {str(state_key): libero_style.STATE_NAMES, str(action_key): ACTION_NAMES}
            numbers = Numbers(state=libero.state, action=libero.action, features=features, names=named | known)
            return numbers, libero_style.ACTION_SPACE, True
    return Numbers(state=pose, features=features, names=named), None, False


def _names(feature: Mapping[str, Any]) -> list[str]:
    """The names of a feature's entries; they may be a list, or a list under a key such as "motors"."""
    names = feature.get("names")
    if isinstance(names, dict):
        names = next(iter(names.values()), None) if len(names) == 1 else list(names)
    return [str(name)[:_LONGEST] for name in names] if isinstance(names, list) else []

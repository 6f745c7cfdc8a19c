"""Two checkpoints at the same times: what a supervision that acts in training alone has done to the action.

Nothing at inference reads the depth, future or flow decoders, so knocking their outputs out changes nothing. Only a
policy that was trained without one of them can show what it was worth, and only as far as nothing else differs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from model.config import PolicyConfig, to_json
from model.errors import ConfigError
from model.policy import Policy
from trainer.episodes.episode import Episode

from .knockout import action_change, action_space, checkpoint_identity, measured, observe_all
from .knockout_report import Comparison

if TYPE_CHECKING:
    from trainer.loop.checkpoint import LoadedCheckpoint

_NOT_A_CHOICE = ("name", "stats.")
"""Fields that say where a policy comes from rather than what it is."""


def compare_checkpoints(
    loaded: LoadedCheckpoint, against: LoadedCheckpoint, episode: Episode, steps: Sequence[int]
) -> Comparison:
    """How the actions of two checkpoints differ, and how far each is from the recorded actions.

    Args:
        loaded: The checkpoint.
        against: The other one.
        episode: Where the times are taken from.
        steps: Control steps at which both have an observation.

    Raises:
        ConfigError: They predict chunks of different lengths or units, so that no action can be compared.
    """
    units = [(c.window.chunk_size, action_space(c)) for c in (loaded.config, against.config)]
    if units[0] != units[1]:
        raise ConfigError(
            f"--against {against.path}: its actions have another chunk size or other units than {loaded.path.name}'s; "
            "compare with a checkpoint trained on the same data"
        )
    space = units[0][1]
    one, two = (_actions(item.policy, episode, steps) for item in (loaded, against))
    true = _recorded(episode, steps, units[0][0])
    errors = [{} if true is None else action_change(chunk, true, space) for chunk in (one, two)]
    return Comparison(
        against=checkpoint_identity(against),
        change=measured(action_change(one, two, space)),
        error=measured(errors[0]),
        error_against=measured(errors[1]),
        differences=config_differences(loaded.config, against.config),
    )


def config_differences(one: PolicyConfig, two: PolicyConfig) -> tuple[str, ...]:
    """`field: value -> value` for every field of the two configurations that differs; measured statistics aside."""
    flat_one, flat_two = (_flat(json.loads(to_json(config))) for config in (one, two))
    names = [name for name in flat_one | flat_two if not name.startswith(_NOT_A_CHOICE)]
    return tuple(
        f"{name}: {flat_one.get(name)} -> {flat_two.get(name)}"
        for name in names
        if flat_one.get(name) != flat_two.get(name)
    )


def _actions(policy: Policy, episode: Episode, steps: Sequence[int]) -> Float[np.ndarray, "b k 7"]:
    return policy.eval().act(observe_all(policy, episode, steps)).numpy()


def _recorded(episode: Episode, steps: Sequence[int], chunk_size: int) -> Float[np.ndarray, "b k 7"] | None:
    """The recorded chunks, NaN beyond the end; None where the episode says nothing about its actions' units."""
    if episode.info.action_space is None:
        return None
    padded = np.concatenate([episode.action, np.full((chunk_size, 7), np.nan)])
    return np.stack([padded[step : step + chunk_size] for step in steps])


def _flat(record: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat

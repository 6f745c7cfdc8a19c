"""Is it used? Tokens of the policy knocked out, against random tokens of the same number: what happens to the action.

Attention says where the action looks, the mask where it may look; only replacing something says whether it matters.
Every target (FLOW and the other queries, each camera, language, state) is replaced by zeros, by its mean over the
episode, by another time and by another episode, at n times at once, and compared with random sets of as many tokens out
of all that the action can see, replaced in the same way. The difference is paired by time.

Intervals are bootstraps over the times of one episode: how sure a figure is for this episode, not for others.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from model.batch import Observation
from model.config import PolicyConfig
from model.errors import EpisodeError
from model.policy import Policy
from model.tokens import Role
from trainer.data.observation import observation_at
from trainer.episodes.episode import ActionSpace, Episode
from trainer.metrics.action import rotation_between_deg
from trainer.metrics.interval import bootstrap_mean

from .knockout_report import (
    FORMAT,
    MEASURES,
    NO_EFFECT,
    REPLACEMENTS,
    Effect,
    Identity,
    Knockout,
    KnockoutReport,
    Measure,
    Measured,
    Replacement,
    Verdict,
)
from .patching import ActionProbe

if TYPE_CHECKING:
    from trainer.loop.checkpoint import LoadedCheckpoint

Progress = Callable[[int, int, str], None]
"""Told how many of how many knock-outs are done, and which comes next."""
TIMES, DRAWS = 16, 8
_TRAINING_ONLY = {"depth": "current depth", "future": "future RGB-D", "flow": "3D flow"}
NOTES = (
    "Intervals: 95 % bootstrap over the sampled times of this one episode. Neighbouring times are alike, and other "
    "episodes may differ.",
    "Random: as many tokens, drawn from all that the action can see, replaced in the same way.",
    "An input is replaced where it enters the trunk, a query before every layer, because it is a learned constant at "
    "the entrance.",
)


def knock_out(
    loaded: LoadedCheckpoint,
    episode: Episode,
    *,
    other: Episode | None = None,
    times: int = TIMES,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Progress | None = None,
) -> KnockoutReport:
    """Runs all knock-outs of a checkpoint on an episode.

    Args:
        loaded: The checkpoint.
        episode: Where the times are taken from.
        other: Where the replacement "another episode" is taken from; without it that replacement is left out.
        times: n, evenly spread over the times whose window is full; fewer if there are fewer.
        draws: Random sets for each number of tokens.
        seed: Of the random sets.
        progress: Told after every knock-out.

    Raises:
        EpisodeError: The episode is too short for two full windows, or cannot be read.
    """
    policy = loaded.policy.eval()
    steps = sample_steps(episode, policy.config, times)
    observation = observe_all(policy, episode, steps)
    bench = _Bench(policy, observation, draws=draws, seed=seed)
    sources = bench.sources(None if other is None else observe_all(policy, other, _matched(other, policy, len(steps))))
    targets = targets_of(policy)
    rows: list[Knockout] = []
    for replacement, states in sources.items():
        for name, positions in targets.items():
            rows.append(bench.measure(name, positions, replacement, states))
            if progress is not None:
                progress(len(rows), len(sources) * len(targets), f"{name} by {replacement}")
    return KnockoutReport(
        format=FORMAT,
        checkpoint=checkpoint_identity(loaded),
        episode=_identity(episode),
        other_episode=None if other is None else _identity(other),
        steps=tuple(steps),
        action_size=bench.action_size,
        rows=tuple(rows),
        draws=draws,
        seed=seed,
        training_only=tuple(
            f"{_TRAINING_ONLY[part]} supervision" for part in policy.config.foresight if part in _TRAINING_ONLY
        ),
        comparison=None,
        versions=(f"python {platform.python_version()}", f"torch {torch.__version__}", f"numpy {np.__version__}"),
        notes=NOTES,
    )


def targets_of(policy: Policy) -> dict[str, Int64[Tensor, " _p"]]:
    """Sequence positions by name: each camera, language, state, and every group of queries but the action's own."""
    layout = policy.layout
    targets: dict[str, list[int]] = {}
    words = {"LANG": "language", "STATE": "state"}
    for position, group in enumerate(layout.tokens):
        if group.role is Role.ACTION:
            continue
        is_camera = group.role is Role.INPUT and group.view is not None
        name = f"{group.view} camera" if is_camera else words.get(group.name, group.name)
        targets.setdefault(name, []).append(position)
    return {name: torch.tensor(positions) for name, positions in targets.items()}


def sample_steps(episode: Episode, config: PolicyConfig, times: int) -> list[int]:
    """Control steps with an image and a full window, evenly spread.

    Raises:
        EpisodeError: There are fewer than two.
    """
    first = (config.window.n_obs_steps - 1) * config.window.obs_stride
    usable = [int(step) for step in episode.frame_steps if step >= first]
    if len(usable) < 2:
        raise EpisodeError(
            f"{episode.name}: too short for knock-outs; this policy's window spans {first + 1} control steps and at "
            f"least two full windows are needed, the episode has {episode.info.length} steps"
        )
    chosen = np.linspace(0, len(usable) - 1, min(times, len(usable))).round().astype(int)
    return [usable[i] for i in chosen]


def observe_all(policy: Policy, episode: Episode, steps: Sequence[int]) -> Observation:
    """The observations of several times as one batch."""
    parts = [observation_at(episode, step, policy.config, policy.tokenize) for step in steps]
    values: dict[str, Tensor | None] = {}
    for item in dataclasses.fields(Observation):
        given = [getattr(part, item.name) for part in parts]
        values[item.name] = None if given[0] is None else torch.cat(given)
    return Observation(**values)  # pyright: ignore[reportArgumentType] - optional fields alone can be None


def action_change(
    one: Float[np.ndarray, "b k 7"], two: Float[np.ndarray, "b k 7"], space: ActionSpace
) -> dict[Measure, Float[np.ndarray, " b"]]:
    """How far two chunks differ, mean over their steps; steps of `two` that are NaN do not count.

    Returns:
        Distance between the translations (mm), angle between the rotations (degrees), share of gripper commands on
        different sides of 0.5 (%).
    """
    millimetres = 1000.0 * space.metres_per_unit * np.linalg.norm(one[..., :3] - two[..., :3], axis=-1)
    turn = [
        rotation_between_deg(a[:, 3:6] * space.radians_per_unit, b[:, 3:6] * space.radians_per_unit)
        for a, b in zip(one.astype(np.float64), two.astype(np.float64), strict=True)
    ]
    flips = np.where(np.isnan(two[..., 6]), np.nan, 100.0 * ((one[..., 6] > 0.5) != (two[..., 6] > 0.5)))
    return {
        "translation_mm": _mean(millimetres),
        "rotation_deg": _mean(np.stack(turn)),
        "gripper_flips": _mean(flips),
    }


def action_space(config: PolicyConfig) -> ActionSpace:
    """The units of the policy's own actions."""
    stats = config.stats
    return ActionSpace(
        metres_per_unit=stats.action_metres_per_unit, radians_per_unit=stats.action_radians_per_unit, frame="base"
    )


class _Bench:
    """Everything that the knock-outs of one checkpoint and one batch of times share."""

    def __init__(self, policy: Policy, observation: Observation, *, draws: int, seed: int) -> None:
        self._probe = ActionProbe(policy, observation)
        self._states = self._probe.states
        self._action = self._probe.action().numpy()
        self._space = action_space(policy.config)
        self._mass = self._probe.attention().numpy()
        self._policy, self._draws, self._seed = policy, draws, seed
        self._present = _present(policy, observation)
        self._elsewhere = self._present
        self._random: dict[tuple[Replacement, int], dict[Measure, Float[np.ndarray, " b"]]] = {}

    @property
    def action_size(self) -> tuple[Measured, ...]:
        """How far the unchanged action moves and turns; no gripper figure, since a command has no size."""
        still = np.zeros_like(self._action)
        sizes = action_change(self._action, still, self._space)
        return measured({name: sizes[name] for name in MEASURES if name != "gripper_flips"})

    def sources(self, other: Observation | None) -> dict[Replacement, list[Tensor]]:
        """The tokens to put in, by replacement: one tensor a layer."""
        half = len(self._action) // 2
        found: dict[Replacement, list[Tensor]] = {
            "zero": [torch.zeros_like(x[:1]) for x in self._states],
            "mean": [x.mean(0, keepdim=True) for x in self._states],
            "time": [x.roll(half, 0) for x in self._states],
        }
        if other is not None:
            self._elsewhere = _present(self._policy, other)
            found["episode"] = _states_elsewhere(self._policy, other, self._probe.kept)
        return {name: found[name] for name in REPLACEMENTS if name in found}

    def measure(
        self, name: str, positions: Int64[Tensor, " _p"], replacement: Replacement, states: list[Tensor]
    ) -> Knockout:
        """One target replaced in one way, beside the random sets."""
        where = self._probe.where(positions)
        absent = not self._present[positions].any()
        absent |= replacement == "episode" and not self._elsewhere[positions].any()
        row = Knockout(
            target=name,
            replacement=replacement,
            tokens=len(where),
            status="absent" if absent else "blocked",
            attention=None,
            uniform=0.0,
            effects=(),
        )
        if absent or not len(where):
            return row
        mass = self._mass[:, positions.numpy()].sum(axis=1)
        seen = self._mass > 0
        row = dataclasses.replace(
            row,
            attention=bootstrap_mean(mass.astype(np.float64)),
            uniform=float(seen[:, positions.numpy()].sum() / max(int(seen.sum()), 1)),
            status="measured" if self._probe.differs(where, states) else "constant",
        )
        if row.status == "constant":
            return row
        change = self._change(where, states)
        random = self._random_change(replacement, len(where), states)
        return dataclasses.replace(row, effects=tuple(_effect(m, change[m], random[m]) for m in MEASURES))

    def _change(self, where: Int64[Tensor, " _q"], states: list[Tensor]) -> dict[Measure, Float[np.ndarray, " b"]]:
        return action_change(self._probe.replaced(where, states).numpy(), self._action, self._space)

    def _random_change(
        self, replacement: Replacement, size: int, states: list[Tensor]
    ) -> dict[Measure, Float[np.ndarray, " b"]]:
        """Mean over the draws at every time; two targets of equal size share the draws."""
        if (replacement, size) not in self._random:
            others, rng = self._probe.others, torch.Generator().manual_seed(self._seed)
            sets = [others[torch.randperm(len(others), generator=rng)[:size]] for _ in range(self._draws)]
            changes = [self._change(where.sort().values, states) for where in sets]
            self._random[replacement, size] = {m: np.mean([c[m] for c in changes], axis=0) for m in MEASURES}
        return self._random[replacement, size]


def _effect(measure: Measure, change: Float[np.ndarray, " b"], random: Float[np.ndarray, " b"]) -> Effect:
    excess = bootstrap_mean(change - random)
    verdict: Verdict = "alike"
    if float(change.max()) <= NO_EFFECT[measure]:
        verdict = "no effect"
    elif excess.low > 0:
        verdict = "stronger"
    elif excess.high < 0:
        verdict = "weaker"
    return Effect(
        measure=measure,
        change=bootstrap_mean(change),
        random=bootstrap_mean(random),
        excess=excess,
        verdict=verdict,
    )


def _states_elsewhere(policy: Policy, other: Observation, kept: Int64[Tensor, " r"]) -> list[Tensor]:
    """The kept tokens of another episode; tokens that reach nothing there (an absent camera's) are zero."""
    probe = ActionProbe(policy, other)
    shared = torch.isin(kept, probe.kept)
    into, source = shared.nonzero()[:, 0], torch.searchsorted(probe.kept, kept[shared])
    return [x.new_zeros(len(x), len(kept), x.shape[-1]).index_copy(1, into, x[:, source]) for x in probe.states]


def _present(policy: Policy, observation: Observation) -> torch.Tensor:
    """True for sequence positions of cameras that exist (of everything else always)."""
    have = dict(zip(policy.config.views, observation.view_mask[0].tolist(), strict=True))
    inputs = (Role.INPUT, Role.GOAL)
    return torch.tensor([g.view is None or g.role not in inputs or have[g.view] for g in policy.layout.tokens])


def _matched(episode: Episode, policy: Policy, n: int) -> list[int]:
    """Exactly n times of an episode, evenly spread, repeated where it has fewer."""
    steps = sample_steps(episode, policy.config, n)
    return [steps[i] for i in np.linspace(0, len(steps) - 1, n).round().astype(int)]


def _mean(values: Float[np.ndarray, "b k"]) -> Float[np.ndarray, " b"]:
    """Mean over the steps that exist, NaN where none does."""
    exists = np.isfinite(values)
    return np.where(exists, values, 0.0).sum(axis=1) / np.where(exists.any(axis=1), exists.sum(axis=1), np.nan)


def checkpoint_identity(loaded: LoadedCheckpoint) -> Identity:
    """Name, preset and content hash."""
    return Identity(name=loaded.path.name, about=loaded.config.name, sha256=loaded.content_hash)


def measured(values: dict[Measure, Float[np.ndarray, " b"]]) -> tuple[Measured, ...]:
    """Every measure with its interval over the times."""
    return tuple(Measured(measure=name, value=bootstrap_mean(values[name])) for name in values)


def _identity(episode: Episode) -> Identity:
    name = episode.name.rpartition("/")[2]
    return Identity(name=name, about=episode.info.instruction, sha256=episode.content_hash)

"""The goal image of policies that are given one: a later frame of the same episode, as in GR-MG's training.

On a robot it has to come from elsewhere (GR-MG generates it). In evaluation it is the truth: a hint about the future
that policies without a goal image do not get.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model.batch import Observation
from model.config import PolicyConfig
from trainer.episodes.episode import Episode

from .images import read_rgb


def add_goal(
    observation: Observation,
    episode: Episode,
    step: int,
    config: PolicyConfig,
    rng: np.random.Generator | None = None,
) -> Observation:
    """The observation (b = 1) with its goal image, if the policy is given one.

    Args:
        observation: Of the window that ends at `step`.
        episode: Where the window lies.
        step: Newest control step of the window.
        config: Says whether there is a goal, and how far ahead it may lie.
        rng: Draws the goal evenly from `step` to the horizon; None: the farthest frame of these.
    """
    if not config.goal_image:
        return observation
    steps = episode.frame_steps
    ahead = steps[(steps >= step) & (steps <= step + config.window.goal_horizon)]
    at = int(ahead[-1] if rng is None else rng.choice(ahead))
    return replace(observation, goal_rgb=read_rgb(episode, "static", [at], config.image_size))

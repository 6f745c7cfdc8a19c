"""Where the action looks: captured attention, what it is multiplied with on its way to points and pixels, attributions.

`maps` is what one forward pass gave, `measures` counts it, `rollup` shares it out over points and pixels, `methods`
says what can be looked at; `rollout`, `relevance` and `integrated` follow it through the layers, `explain` runs them.
What is imported here is numpy only: torch and captum wait until somebody asks for a method that needs them.
"""

from .maps import EARLIER, GOAL, AttentionMaps
from .measures import entropy, group_mass, uniform_share
from .rollup import (
    FLOW_PATH,
    RESAMPLER_PATH,
    latents_on_pixels,
    nearest_point,
    patches_on_pixels,
    points_on_pixels,
    share_out,
)

__all__ = [
    "EARLIER",
    "FLOW_PATH",
    "GOAL",
    "RESAMPLER_PATH",
    "AttentionMaps",
    "entropy",
    "group_mass",
    "latents_on_pixels",
    "nearest_point",
    "patches_on_pixels",
    "points_on_pixels",
    "share_out",
    "uniform_share",
]

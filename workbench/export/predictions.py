"""The predictions of a whole episode as one file of arrays, with the time axis in front, and what they mean as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from safetensors.numpy import save

from ..foresight import Foresight
from ..foresight_arrays import arrays_of

_TRUTH = ("_true", ".rgb", ".known", ".moving", ".K", ".T_world_camera")
"""Arrays that come from the episode and can be read there."""

MEANINGS = {
    "views.*.depth": "metres along the optical axis (s h w)",
    "views.*.future_rgb": "0..255 (s h w 3), at future_step",
    "views.*.future_depth": "metres along the optical axis (s h w), at future_step",
    "flow.uvz": "pixels right, pixels down, metres; entry 0 is the start (s p l 3)",
    "flow.visible_probability": "(s p l)",
    "flow.steps": "control steps (s l)",
    "attention.to_flow": "action -> FLOW mass by layer and head (s m n)",
    "attention.to_group": "action -> group mass by layer, head and group (s m n g)",
    "attention.group_uniform": "share of each group if attention were even over all allowed keys (s g)",
    "attention.entropy": "of the action's attention / log of the number of allowed keys (s m n)",
    "attention.flow_points": "share of each start point, sums to 1 (s p)",
    "attention.through_flow": "share of each pixel of the static view, sums to 1 (s h w)",
    "through_resampler.*": "share of each pixel, sums to the mass on that view's latents (s h w)",
    "maps.rows.*": "attention of ACT and FLOW, mean over the group's tokens, by layer, head and key (s m n k)",
    "maps.allowed.*": "keys that group may see (s k)",
    "maps.group": "index into token_groups of every key (s k)",
    "maps.age": "frames of the window before the newest, of every key; -1 prefix or padding (s k)",
    "maps.steps": "control step of each frame of the window, newest first; -1 before the start (s t)",
    "maps.points": "point -> FLOW token, mean over decoder layers and heads (s p j)",
    "maps.patches.*": "latent -> patch by frame of the window, newest first (s t r c)",
    "action": "chunk in the data set's units, gripper as probability of open (s k 7)",
}


def predictions_bytes(foresights: Sequence[Foresight]) -> bytes:
    """All predicted arrays stacked over steps, as safetensors; `step` and `future_step` say when."""
    flat = [arrays_of(foresight) for foresight in foresights]
    names = [name for name in flat[0] if not name.endswith(_TRUTH)]
    arrays = {name: np.stack([arrays[name] for arrays in flat]) for name in names}
    arrays["step"] = np.array([foresight.step for foresight in foresights])
    arrays["future_step"] = np.array([foresight.future_step for foresight in foresights])
    return save(arrays)


def predictions_json(facts: dict[str, Any], foresights: Sequence[Foresight]) -> str:
    """What the arrays mean: axes, units, groups, and provenance."""
    first = foresights[0]
    meaning = {
        "axes": "s step, h w pixels of the model's image, p point, l flow step, k action or key, m layer, n head, "
        "g group, t frame of the window, j FLOW token, r latent, c patch",
        "arrays": MEANINGS,
        "groups": list(first.attention.groups),
        "token_groups": list(first.attention.maps.names),
        "uniform_share_of_flow": [foresight.attention.uniform for foresight in foresights],
        "flow_start_depth": first.flow.start_depth,
        "pixels": "continuous, the centre of pixel (0, 0) is (0.5, 0.5)",
    }
    return json.dumps({**facts, **meaning}, indent=1)

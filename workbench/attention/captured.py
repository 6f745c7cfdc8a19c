"""From the captured tensors of a forward pass to `AttentionForesight`: maps, masses, and the roll-ups shown first.

Imports torch.

Dimensions: b batch, m layer, n head, k key position, t frame of the window, j FLOW token, p point,
r latent, c patch, h w pixels.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float, Integer

from model.attention import Capture, visible_keys
from model.batch import Observation
from model.policy import Policy
from trainer.data.observation import window_steps
from trainer.episodes.episode import View

from ..foresight import AttentionForesight
from .maps import NOW, PREFIX, AttentionMaps, latent_group
from .measures import entropy, group_mass, uniform_share
from .rollup import latents_on_pixels, points_on_pixels, share_out
from .weights import FLOW

ACTION = "ACT"


def shown_rows(policy: Policy) -> Capture:
    """What a forward pass has to capture so that the page can show it: the rows of the action and of the flow."""
    return Capture(rows=(ACTION, FLOW) if FLOW in policy.layout else ACTION)


def attention_maps(
    policy: Policy, observation: Observation, captured: Mapping[str, np.ndarray], step: int
) -> AttentionMaps:
    """The maps of one time.

    Args:
        policy: Says what the tokens are.
        observation: The window (b = 1) that was seen.
        captured: `Prediction.attention` of `shown_rows`, without its batch axis.
        step: Control step of the newest frame.
    """
    layout, config = policy.layout, policy.config
    newest = int(observation.frame_mask.sum()) - 1
    queries = {group.name: group.count for group in layout.groups if group.name in (ACTION, FLOW)}
    trunk = np.stack([layer[newest] for layer in _by_layer(captured, "trunk")])  # layer, head, row, key
    names = tuple(dict.fromkeys(group.name for group in (*layout.prefix, *layout.groups)))
    frames = layout.frames.numpy()
    age = np.where((frames >= 0) & (frames <= newest), newest - frames, PREFIX)
    steps = np.full(config.window.n_obs_steps, -1)
    steps[: newest + 1] = window_steps(step, config.window)[::-1]
    return AttentionMaps(
        rows=_split_rows(trunk, queries),
        allowed={name: _allowed(policy, observation, name, newest) for name in queries},
        names=names,
        group=np.array([names.index(group.name) for group in layout.tokens]),
        age=age,
        steps=steps,
        points=_points(captured, queries.get(FLOW, 0)),
        patches=_patches(policy, captured, newest),
    )


def attention_foresight(maps: AttentionMaps, uv: Float[np.ndarray, "p 2"], size: int) -> AttentionForesight:
    """Masses by layer and head, and roll-ups of the mean over layers and heads.

    Args:
        maps: Of this time.
        uv: Start points of the flow in continuous pixels.
        size: Pixels a side of the policy's image.
    """
    rows, allowed, groups = maps.rows[ACTION], maps.allowed[ACTION], maps.groups_seen(ACTION)
    mean, on_flow = maps.mean_row(ACTION), maps.keys(FLOW)
    points, through = np.zeros(len(uv), np.float32), np.zeros((size, size), np.float32)
    if maps.points is not None:
        share = mean[on_flow] / max(float(mean[on_flow].sum()), 1e-12)
        points = share_out(share, maps.points).astype(np.float32)
        through = points_on_pixels(share, maps.points, uv, (size, size)).astype(np.float32)
    latents: dict[View, Integer[np.ndarray, " j"]] = {view: maps.keys(latent_group(view)) for view in maps.patches}
    return AttentionForesight(
        maps=maps,
        to_flow=rows[:, :, on_flow].sum(axis=-1),
        uniform=uniform_share(allowed, on_flow),
        to_group=group_mass(rows, groups),
        groups=tuple(groups),
        group_uniform=np.array([uniform_share(allowed, keys) for keys in groups.values()]),
        entropy=entropy(rows, allowed),
        flow_points=points,
        through_flow=through,
        through_resampler={
            view: latents_on_pixels(mean[keys], maps.patches[view][NOW], (size, size)).astype(np.float32)
            for view, keys in latents.items()
            if allowed[keys].any()
        },
    )


def _split_rows(trunk: Float[np.ndarray, "m n r k"], queries: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The mean over each query group's rows, which follow each other as `shown_rows` asked."""
    found: dict[str, Float[np.ndarray, "m n k"]] = {}
    start = 0
    for name in (ACTION, FLOW):
        if name in queries:
            found[name] = trunk[:, :, start : start + queries[name]].mean(axis=2)
            start += queries[name]
    return found


def _allowed(policy: Policy, observation: Observation, query: str, newest: int) -> Bool[np.ndarray, " k"]:
    layout, views = policy.layout, policy.config.views
    keys = visible_keys(layout, views, observation.frame_mask, observation.view_mask)[0]
    return (policy.mask[layout.indices(query, [newest])[0]] & keys).numpy()


def _points(captured: Mapping[str, np.ndarray], tokens: int) -> Float[np.ndarray, "p j"] | None:
    """C[point -> FLOW token]; what points take from other points (attention "full") is left out."""
    layers = _by_layer(captured, "flow")
    return np.mean([layer[0].mean(axis=0) for layer in layers], axis=0)[:, :tokens] if layers else None


def _patches(policy: Policy, captured: Mapping[str, np.ndarray], newest: int) -> dict[View, np.ndarray]:
    """C[latent -> patch] by age of the frame, zero where the window has no frame."""
    count = policy.config.resampler.latents
    found: dict[View, Float[np.ndarray, "t r c"]] = {}
    for index, view in enumerate(policy.config.views):
        layers = [layer[:, index].mean(axis=1) for layer in _by_layer(captured, "resampler")]
        by_frame = np.mean(layers, axis=0)[:, :, :-count]
        aged = np.zeros_like(by_frame)
        aged[: newest + 1] = by_frame[newest::-1]
        found[view] = aged
    return found


def _by_layer(captured: Mapping[str, np.ndarray], prefix: str) -> list[np.ndarray]:
    return [captured[f"{prefix}.{i}"] for i in range(len(captured)) if f"{prefix}.{i}" in captured]

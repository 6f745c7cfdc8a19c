"""Policies and batches for the model's tests: random but reproducible, small enough for a second."""

from __future__ import annotations

from dataclasses import replace

import torch

from model.batch import Observation, Targets
from model.config import ImageEncoderConfig, PolicyConfig, TextEncoderConfig, preset
from model.policy import Policy


def composite_tiny() -> PolicyConfig:
    """The tiny preset with everything `compact` switches on: own encoder, features in the decoders, composite."""
    tiny = preset("tiny")
    decoder = replace(tiny.future, patch_size=16, patch_input="current_features", refine=8, activation="relu")
    return replace(
        tiny,
        image=ImageEncoderConfig(kind="compact", width=32, patch_size=16, channels=(8, 16), blocks=(0, 1, 1)),
        depth=decoder,
        future=decoder,
        future_readout="composite",
        flow=replace(tiny.flow, point_features=True),
    )


def make_policy(config: PolicyConfig, seed: int = 0) -> Policy:
    """A policy in evaluation mode whose zero-initialised parameters are drawn as well: nothing is dead."""
    torch.manual_seed(seed)
    policy = Policy(config).eval()
    with torch.no_grad():
        for parameter in policy.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02)
    return policy


def make_observation(config: PolicyConfig, *, batch: int = 2, seed: int = 0) -> Observation:
    """Random images and states, all frames and views present."""
    rng = torch.Generator().manual_seed(seed)
    t, v, size = config.window.n_obs_steps, len(config.views), config.image_size
    words = 2**32 if config.text.kind == "compact" else config.text.vocabulary
    rgb = torch.randint(0, 256, (batch, t, v, 3, size, size), dtype=torch.uint8, generator=rng)
    return Observation(
        rgb=rgb,
        goal_rgb=rgb[:, -1, 0].flip(-1) if config.goal_image else None,
        view_mask=torch.ones(batch, v, dtype=torch.bool),
        text=torch.randint(1, words, (batch, config.text.max_tokens), generator=rng),
        state_arm=0.05 * torch.randn(batch, t, 6, generator=rng),
        state_gripper=torch.randint(0, 2, (batch, t), generator=rng),
        frame_mask=torch.ones(batch, t, dtype=torch.bool),
    )


def make_targets(
    config: PolicyConfig, *, batch: int = 2, frames: tuple[int, ...] = (0, 2), points: int = 20, seed: int = 0
) -> Targets:
    """Random truth, all of it valid; `points` in each flow view."""
    rng = torch.Generator().manual_seed(seed + 1)
    window, v, size, a = config.window, len(config.views), config.image_size, len(frames)
    shape = (batch, a, v, size, size)

    def yes(*sizes: int) -> torch.Tensor:
        return torch.ones(*sizes, dtype=torch.bool)

    def uniform(*sizes: int) -> torch.Tensor:
        return torch.rand(*sizes, generator=rng)

    points *= len(config.flow_views)
    K = torch.tensor([[1.2, 0.0, 0.5], [0.0, 1.2, 0.5], [0.0, 0.0, 1.0]])
    action = 2 * uniform(batch, window.n_obs_steps, window.chunk_size, 7) - 1
    action[..., 6] = (action[..., 6] > 0).float()
    return Targets(
        frames=torch.tensor(frames),
        depth=0.5 + uniform(*shape),
        depth_valid=yes(*shape),
        future_rgb=torch.randint(0, 256, (batch, a, v, 3, size, size), dtype=torch.uint8, generator=rng),
        future_depth=0.5 + uniform(*shape),
        future_depth_valid=yes(*shape),
        future_mask=yes(batch, a, v),
        flow_start=uniform(batch, a, points, 3),
        flow_delta=0.1 * torch.randn(batch, a, points, window.flow_steps, 3, generator=rng),
        flow_weight=torch.ones(batch, a, points, window.flow_steps),
        flow_visible=uniform(batch, a, points, window.flow_steps) > 0.3,
        flow_moving=uniform(batch, a, points) > 0.5,
        action=action,
        action_mask=yes(batch, window.n_obs_steps, window.chunk_size),
        progress=uniform(batch, window.n_obs_steps) if config.progress else None,
        flow_camera=K.expand(batch, len(config.flow_views), 3, 3) if config.flow.coordinates == "camera" else None,
    )


def row(observation: Observation, index: int) -> Observation:
    """One row of a batch, as a batch of one."""
    return observation.rows(slice(index, index + 1))


def small(name: str) -> PolicyConfig:
    """A big preset with all its choices in the sizes of `tiny`; its frozen encoders are tiny and random."""
    big, tiny = preset(name), preset("tiny")
    sizes = {"patch_size": 8, "width": 32, "layers": 1, "heads": 2}
    return replace(
        big,
        window=tiny.window,
        image_size=32,
        image=ImageEncoderConfig(kind="vit", width=16, patch_size=8, layers=2, heads=2),
        text=TextEncoderConfig(kind="clip", width=12, layers=2, heads=2, vocabulary=55, max_tokens=10),
        resampler=tiny.resampler,
        tokens=replace(big.tokens, flow=4, future=4, depth=4),
        trunk=tiny.trunk,
        depth=replace(big.depth, **sizes),
        future=replace(big.future, **sizes),
        flow=replace(big.flow, width=32, layers=1, heads=2, frequencies=8),
        action=replace(big.action, width=32, layers=1, heads=2, latent=8),
        progress_decoder=tiny.progress_decoder,
    )

"""A synthetic policy checkpoint with the names and shapes of the public code of GR-MG, and random values."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from model.config import PolicyConfig
from model.decoders.patch import sincos_position

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def gr_mg_tensors(config: PolicyConfig, *, seed: int = 0, prefix: str = "model.") -> dict[str, Tensor]:
    """As Lightning saves it: the names with `prefix`, frozen encoders and a fixed position embedding among them."""
    rng = torch.Generator().manual_seed(seed)
    tensors = {name: 0.1 * torch.randn(shape, generator=rng) for name, shape in _shapes(config)}
    for name in tensors:
        if name.endswith(("ln_1.weight", "ln_2.weight", "ln_f.weight", "norm1.weight", "norm2.weight", "norm.weight")):
            tensors[name] += 1.0
    grid = config.image_size // config.future.patch_size
    tensors["decoder_pos_embed"] = sincos_position(grid, config.future.width, "column_row")[None]
    tensors["model_mae.cls_token"] = torch.zeros(1, 1, 768)
    tensors["text_encoder.positional_embedding"] = torch.zeros(77, 512)
    return {prefix + name: value for name, value in tensors.items()}


def _shapes(config: PolicyConfig) -> Shapes:
    h, image, text = config.trunk.width, config.image.width, config.text.width
    a, z = config.action.width, config.action.latent
    chunk, progress = config.window.chunk_size, config.progress_decoder.width
    for i in range(config.trunk.layers):
        block = f"transformer.h.{i}"
        yield from _norm(f"{block}.ln_1", h)
        yield from _conv1d(f"{block}.attn.c_attn", h, 3 * h)
        yield from _conv1d(f"{block}.attn.c_proj", h, h)
        yield from _norm(f"{block}.ln_2", h)
        yield from _conv1d(f"{block}.mlp.c_fc", h, 4 * h)
        yield from _conv1d(f"{block}.mlp.c_proj", 4 * h, h)
    yield from _norm("transformer.ln_f", h)
    yield from _resampler(config)
    for name, inputs in (
        ("arm_state", 6), ("gripper_state", 2), ("state", 2 * h), ("lang", text), ("hand_img", image), ("img", image),
        ("goal_image", image), ("hand_patch", image), ("patch", image), ("goal_patch", image),
    ):  # fmt: skip
        yield from _linear(f"embed_{name}", inputs, h)
    yield "embed_timestep.weight", (config.window.n_obs_steps, h)
    yield from _norm("embed_ln", h)
    yield "action_queries.weight", (1, h)
    yield from _linear("embed_arm_action", 6, a)
    yield "embed_gripper_action.weight", (2, a)
    yield from _linear("embed_action", 2 * a, a)
    yield "action_encoder_cls_token.weight", (1, a)
    yield from _vit("encode_action", config.action.layers, a)
    yield "action_encoder_positional_embeddings.weight", (chunk + 1, a)
    yield from _linear("pred_style_vector", a, 2 * z)
    yield from _linear("embed_style_vector", z, a)
    yield from _linear("proj_action_output_embed", h, a)
    yield from _vit("decode_action", config.action.layers, a)
    yield "action_mask_token_embedding.weight", (1, a)
    yield "action_decoder_positional_embeddings.weight", (chunk, a)
    yield from _linear("pred_arm_act", a, 6)
    yield from _linear("pred_gripper_act", a, 1)
    yield "obs_queries.weight", (config.tokens.future, h)
    yield "obs_hand_queries.weight", (config.tokens.future, h)
    width = config.future.width
    yield from _linear("decoder_embed", h, width)
    yield "mask_token", (1, 1, 1, width)
    yield from _vit("decoder_blocks", config.future.layers, width)
    yield from _norm("decoder_norm", width)
    yield from _linear("decoder_pred", width, 3 * config.future.patch_size**2)
    yield "progress_queries.weight", (1, h)
    yield from _linear("proj_progress_output_embed", h, progress)
    yield from _vit("decode_progress", config.progress_decoder.layers, progress)
    yield "progress_mask_token_embedding.weight", (1, progress)
    yield from _linear("pred_progress", progress, 1)


def _resampler(config: PolicyConfig) -> Shapes:
    sizes, width = config.resampler, config.image.width
    inner = sizes.heads * sizes.head_dim
    name = "perceiver_resampler"
    yield f"{name}.latents", (sizes.latents, width)
    yield f"{name}.media_pos_emb", (1, 1, width)
    for i in range(sizes.layers):
        yield from _norm(f"{name}.layers.{i}.0.norm_media", width)
        yield from _norm(f"{name}.layers.{i}.0.norm_latents", width)
        yield f"{name}.layers.{i}.0.to_q.weight", (inner, width)
        yield f"{name}.layers.{i}.0.to_kv.weight", (2 * inner, width)
        yield f"{name}.layers.{i}.0.to_out.weight", (width, inner)
        yield from _norm(f"{name}.layers.{i}.1.0", width)
        yield f"{name}.layers.{i}.1.1.weight", (sizes.mlp_ratio * width, width)
        yield f"{name}.layers.{i}.1.3.weight", (width, sizes.mlp_ratio * width)
    yield from _norm(f"{name}.norm", width)


def _vit(name: str, layers: int, width: int) -> Shapes:
    for i in range(layers):
        yield from _norm(f"{name}.{i}.norm1", width)
        yield from _linear(f"{name}.{i}.attn.qkv", width, 3 * width)
        yield from _linear(f"{name}.{i}.attn.proj", width, width)
        yield from _norm(f"{name}.{i}.norm2", width)
        yield from _linear(f"{name}.{i}.mlp.fc1", width, 4 * width)
        yield from _linear(f"{name}.{i}.mlp.fc2", 4 * width, width)


def _linear(name: str, inputs: int, outputs: int) -> Shapes:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _conv1d(name: str, inputs: int, outputs: int) -> Shapes:
    yield f"{name}.weight", (inputs, outputs)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, width: int) -> Shapes:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)

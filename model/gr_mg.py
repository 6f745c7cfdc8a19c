"""Weights of the paper's backbone (bytedance/GR-MG) in our names: a key map, and nothing that touches files.

The map follows the names and layouts that the public code of GR-MG gives its tensors: GPT-2's trunk stores its matrices
(in, out) with query, key and value side by side; the ViT blocks of its decoders store them (out, in), one above the
other.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .config import PolicyConfig
from .decoders.patch import sincos_position
from .errors import CheckpointError

PREFIX = "model."
"""What the Lightning checkpoints of GR-MG put before every name."""
_FROZEN = ("model_mae.", "text_encoder.")
_POSITION = "decoder_pos_embed"
_POSITION_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Rule:
    """One of our tensors: from which of theirs, and how."""

    ours: str
    theirs: tuple[str, ...]
    make: Callable[..., Tensor]


def convert(tensors: Mapping[str, Tensor], config: PolicyConfig) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Their tensors under our names, as far as they are there, and the names of theirs that nothing was made of.

    The frozen encoders in the file are left out: a policy brings its own.

    Raises:
        CheckpointError: The file's fixed position embedding is not the one we compute, or a tensor that has to be taken
            apart has another number of dimensions: it belongs to another architecture.
    """
    bare = {name.removeprefix(PREFIX): value for name, value in tensors.items()}
    bare = {name: value for name, value in bare.items() if not name.startswith(_FROZEN)}
    used: set[str] = set()
    converted: dict[str, Tensor] = {}
    for rule in rules(config):
        if all(name in bare for name in rule.theirs):
            used.update(rule.theirs)
            try:
                converted[rule.ours] = rule.make(*(bare[name].float() for name in rule.theirs)).contiguous()
            except (RuntimeError, IndexError, ValueError) as error:
                shapes = ", ".join(f"{name} {tuple(bare[name].shape)}" for name in rule.theirs)
                raise CheckpointError(f"{shapes}: not as in GR-MG ({error})") from error
    if _POSITION in bare:
        _check_position(bare[_POSITION], config)
        used.add(_POSITION)
    return converted, tuple(sorted(bare.keys() - used))


def rules(config: PolicyConfig) -> Generator[Rule]:
    """Every tensor of a `gr_mg` policy."""
    yield from _inputs(config)
    yield from _resampler(config)
    yield from _trunk(config)
    yield from _future(config)
    yield from _action(config)
    yield from _progress(config)


def _inputs(config: PolicyConfig) -> Generator[Rule]:
    stats = config.stats
    units = torch.tensor([stats.action_metres_per_unit] * 3 + [stats.action_radians_per_unit] * 3)
    # Ours reads the pose in units of an action, theirs in metres and radians.
    yield Rule("embedding.state.arm.weight", ("embed_arm_state.weight",), lambda weight: weight * units)
    yield _same("embedding.state.arm.bias", "embed_arm_state.bias")
    for ours, theirs in (
        ("state.gripper", "embed_gripper_state"),
        ("state.fuse", "embed_state"),
        ("text_token", "embed_lang"),
        ("cls_token.static", "embed_img"),
        ("cls_token.wrist", "embed_hand_img"),
        ("cls_token.goal", "embed_goal_image"),
        ("patch_token.static", "embed_patch"),
        ("patch_token.wrist", "embed_hand_patch"),
        ("patch_token.goal", "embed_goal_patch"),
        ("norm", "embed_ln"),
    ):
        yield from _layer(f"embedding.{ours}", theirs)
    for ours, theirs in (
        ("time", "embed_timestep"),
        ("queries.ACT", "action_queries"),
        ("queries.FUT_S", "obs_queries"),
        ("queries.FUT_W", "obs_hand_queries"),
        ("queries.PROG", "progress_queries"),
    ):
        yield _same(f"embedding.{ours}", f"{theirs}.weight")


def _resampler(config: PolicyConfig) -> Generator[Rule]:
    ours, theirs = "embedding.resampler", "perceiver_resampler"
    yield _same(f"{ours}.latents", f"{theirs}.latents")
    yield Rule(f"{ours}.media", (f"{theirs}.media_pos_emb",), lambda media: media[0, 0])
    for i in range(config.resampler.layers):
        yield from _layer(f"{ours}.layers.{i}.patch_norm", f"{theirs}.layers.{i}.0.norm_media")
        yield from _layer(f"{ours}.layers.{i}.latent_norm", f"{theirs}.layers.{i}.0.norm_latents")
        for mine, their in (("query", "to_q"), ("key_value", "to_kv"), ("out", "to_out")):
            yield _same(f"{ours}.layers.{i}.attention.{mine}.weight", f"{theirs}.layers.{i}.0.{their}.weight")
        yield from _layer(f"{ours}.layers.{i}.mlp.0", f"{theirs}.layers.{i}.1.0")
        for part in (1, 3):
            yield _same(f"{ours}.layers.{i}.mlp.{part}.weight", f"{theirs}.layers.{i}.1.{part}.weight")
    yield from _layer(f"{ours}.norm", f"{theirs}.norm")


def _trunk(config: PolicyConfig) -> Generator[Rule]:
    for i in range(config.trunk.layers):
        ours, theirs = f"trunk.blocks.{i}", f"transformer.h.{i}"
        yield from _layer(f"{ours}.attention_norm", f"{theirs}.ln_1")
        yield from _layer(f"{ours}.mlp_norm", f"{theirs}.ln_2")
        joint = f"{theirs}.attn.c_attn"
        yield from _query_key_value(f"{ours}.attention", joint, transposed=True)
        for mine, their in (
            ("attention.out", "attn.c_proj"),
            ("mlp.up", "mlp.c_fc"),
            ("mlp.down", "mlp.c_proj"),
        ):
            yield Rule(f"{ours}.{mine}.weight", (f"{theirs}.{their}.weight",), _transpose)
            yield _same(f"{ours}.{mine}.bias", f"{theirs}.{their}.bias")
    yield from _layer("trunk.norm", "transformer.ln_f")


def _future(config: PolicyConfig) -> Generator[Rule]:
    ours = "images.future.decoder"
    yield from _layer(f"{ours}.conditioning", "decoder_embed")
    yield Rule(f"{ours}.start.token", ("mask_token",), lambda token: token[0, 0, 0])
    yield from _vit_blocks(f"{ours}.blocks", "decoder_blocks", config.future.layers)
    yield from _layer(f"{ours}.norm", "decoder_norm")
    yield from _layer(f"{ours}.head.linear", "decoder_pred")


def _action(config: PolicyConfig) -> Generator[Rule]:
    encoder, layers = "action.encoder", config.action.layers
    yield from _layer(f"{encoder}.arm", "embed_arm_action")
    yield _same(f"{encoder}.gripper.weight", "embed_gripper_action.weight")
    yield from _layer(f"{encoder}.fuse", "embed_action")
    yield Rule(f"{encoder}.cls", ("action_encoder_cls_token.weight",), lambda cls: cls[0])
    yield _same(f"{encoder}.position", "action_encoder_positional_embeddings.weight")
    yield from _vit_blocks(f"{encoder}.blocks", "encode_action", layers)
    yield from _layer(f"{encoder}.head", "pred_style_vector")
    yield from _layer("action.latent", "embed_style_vector")
    yield from _layer("action.condition", "proj_action_output_embed")
    # Theirs adds one mask token and the position of every step; ours learns their sum.
    parts = ("action_mask_token_embedding.weight", "action_decoder_positional_embeddings.weight")
    yield Rule("action.queries", parts, torch.add)
    yield from _vit_blocks("action.blocks", "decode_action", layers)
    yield from _layer("action.arm", "pred_arm_act")
    yield from _layer("action.gripper", "pred_gripper_act")


def _progress(config: PolicyConfig) -> Generator[Rule]:
    yield from _layer("progress.condition", "proj_progress_output_embed")
    yield Rule("progress.query", ("progress_mask_token_embedding.weight",), lambda query: query[0])
    yield from _vit_blocks("progress.blocks", "decode_progress", config.progress_decoder.layers)
    yield from _layer("progress.head", "pred_progress")


def _vit_blocks(ours: str, theirs: str, layers: int) -> Generator[Rule]:
    for i in range(layers):
        yield from _layer(f"{ours}.{i}.attention_norm", f"{theirs}.{i}.norm1")
        yield from _query_key_value(f"{ours}.{i}.attention", f"{theirs}.{i}.attn.qkv", transposed=False)
        yield from _layer(f"{ours}.{i}.attention.out", f"{theirs}.{i}.attn.proj")
        yield from _layer(f"{ours}.{i}.mlp_norm", f"{theirs}.{i}.norm2")
        yield from _layer(f"{ours}.{i}.mlp.up", f"{theirs}.{i}.mlp.fc1")
        yield from _layer(f"{ours}.{i}.mlp.down", f"{theirs}.{i}.mlp.fc2")


def _query_key_value(ours: str, theirs: str, *, transposed: bool) -> Generator[Rule]:
    """One joint layer into a query and a key-value layer."""

    def third(joint: Tensor) -> int:
        count, rest = divmod(len(joint), 3)
        if rest:
            raise ValueError("no three equal parts")
        return count

    def rows(joint: Tensor) -> Tensor:
        return _transpose(joint) if transposed and joint.ndim == 2 else joint

    for part in ("weight", "bias"):
        name = (f"{theirs}.{part}",)
        yield Rule(f"{ours}.query.{part}", name, lambda joint: rows(joint)[: third(rows(joint))])
        yield Rule(f"{ours}.key_value.{part}", name, lambda joint: rows(joint)[third(rows(joint)) :])


def _layer(ours: str, theirs: str) -> Generator[Rule]:
    for part in ("weight", "bias"):
        yield _same(f"{ours}.{part}", f"{theirs}.{part}")


def _same(ours: str, theirs: str) -> Rule:
    return Rule(ours, (theirs,), lambda value: value)


def _transpose(matrix: Tensor) -> Tensor:
    return matrix.transpose(0, 1)


def _check_position(stored: Tensor, config: PolicyConfig) -> None:
    grid = config.image_size // config.future.patch_size
    ours = sincos_position(grid, config.future.width, config.future.axis_order)
    if stored.shape != (1, *ours.shape) or (stored[0].float() - ours).abs().max() > _POSITION_TOLERANCE:
        raise CheckpointError(f"{_POSITION}: not the fixed position embedding of GR-MG; the file is of another model")

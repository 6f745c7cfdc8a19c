"""Tiny random checkpoints of `transformers` models on disk, as their libraries save them."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import torch

transformers: Any = importlib.import_module("transformers")

LETTERS = "abcdefghijklmnopqrstuvwxyz"
VOCABULARY = ("<pad>", *LETTERS, *(f"{letter}</w>" for letter in LETTERS), "<start>", "<end>")
"""Of a CLIP without merges: every letter is a token, one that ends a word another."""


def _save(model: Any, folder: Path) -> None:
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)


def save_mae(folder: Path, *, seed: int = 0) -> Path:
    """A masked autoencoder with its decoder: 32 px images, patches of 8, 16 channels."""
    torch.manual_seed(seed)
    sizes = transformers.ViTMAEConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        layer_norm_eps=1e-6,
        decoder_hidden_size=16,
        decoder_num_hidden_layers=1,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=32,
    )
    _save(transformers.ViTMAEForPreTraining(sizes), folder)
    return folder


def save_dinov2(folder: Path, *, registers: int = 0, seed: int = 0) -> Path:
    """A DINOv2, with register tokens if asked: pretrained at 48 px, patches of 8, 16 channels."""
    torch.manual_seed(seed)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 48,
        "patch_size": 8,
        "mlp_ratio": 2,
    }
    if registers:
        model = transformers.Dinov2WithRegistersModel(
            transformers.Dinov2WithRegistersConfig(**sizes, num_register_tokens=registers)
        )
    else:
        model = transformers.Dinov2Model(transformers.Dinov2Config(**sizes))
    _save(model, folder)
    return folder


def save_vit(folder: Path, *, mean: float = 0.5, std: float = 0.5, seed: int = 0) -> Path:
    """A supervised ViT with its classifier, and a preprocessor with its own colour statistics."""
    torch.manual_seed(seed)
    sizes = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
    )
    _save(transformers.ViTForImageClassification(sizes), folder)
    statistics = {"image_mean": [mean] * 3, "image_std": [std] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(statistics))
    return folder


def save_clip(folder: Path, *, text_only: bool = False, seed: int = 0) -> Path:
    """A CLIP with its tokeniser: 16 channels, projected to 12, ten tokens."""
    torch.manual_seed(seed)
    text = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 10,
        "projection_dim": 12,
        "pad_token_id": 0,
        "bos_token_id": len(VOCABULARY) - 2,
        "eos_token_id": len(VOCABULARY) - 1,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
        "projection_dim": 12,
    }
    whole = transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=12))
    if text_only:
        part = transformers.CLIPTextModelWithProjection(whole.config.text_config)
        part.load_state_dict(whole.state_dict(), strict=False)
        _save(part, folder)
    else:
        _save(whole, folder)
    transformers.CLIPTokenizer(
        vocab={word: index for index, word in enumerate(VOCABULARY)},
        merges=[],
        **{
            f"{kind}_token": mark
            for kind, mark in (("bos", "<start>"), ("eos", "<end>"), ("unk", "<end>"), ("pad", "<pad>"))
        },
    ).save_pretrained(folder)
    return folder

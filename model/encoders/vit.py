"""A frozen vision transformer from `transformers`: MAE ViT-B/16 in the paper, any other with a class token as well.

Preprocessing: images come at the policy's size as 0..255, are divided by 255 and normalised by the mean and deviation
of the folder's preprocessor_config.json (ImageNet's where it has none). Nothing is cropped or resized here. Features
are those after the final LayerNorm. An MAE encoder sees all patches in order: its random masking, which also shuffles,
is left out. Position embeddings are interpolated when the policy's images differ in size from those of pretraining.

Dimensions: n images, m patches in raster order, c channels, h w pixels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ..config_encoders import ImageEncoderConfig
from ..errors import CheckpointError
from .frozen import FrozenModel, find_folder, load_pretrained, same_every_time
from .image_features import IMAGENET_MEAN, IMAGENET_STD, ImageFeatures

_FIELD = "image.weights"
_PREPROCESSOR = "preprocessor_config.json"
_MAX_BYTES = 1 << 20


class VitImageEncoder(FrozenModel):
    """CLS vector and patch features of a frozen vision transformer.

    Args:
        config: `weights` names the transformer; its width and patch size must be those of the policy.
        image_size: Pixels a side of the policy's images.

    Raises:
        CheckpointError: The weights are not there, damaged, incomplete, or of another size.
    """

    rescale: Tensor
    offset: Tensor

    def __init__(self, config: ImageEncoderConfig, image_size: int):
        if config.weights is None:
            model, mean, std = _random_vit(config, image_size), IMAGENET_MEAN, IMAGENET_STD
        else:
            folder = find_folder(config.weights, _FIELD)
            model = _load_vit(folder)
            mean, std = _normalisation(folder)
        super().__init__(model)
        _check_fit(self.model.config, config)
        self.grid = image_size // config.patch_size
        self.map_channels = (config.width,)
        self._interpolate = {"interpolate_pos_encoding": True} if _needs_interpolation(self.model, image_size) else {}
        # From ImageNet-normalised colours to those that this encoder was pretrained on.
        own, ours = torch.tensor([mean, std]), torch.tensor([IMAGENET_MEAN, IMAGENET_STD])
        self.register_buffer("rescale", (ours[1] / own[1])[:, None, None], persistent=False)
        self.register_buffer("offset", ((ours[0] - own[0]) / own[1])[:, None, None], persistent=False)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> ImageFeatures:
        """Features of normalised images (see `prepare_rgb`)."""
        pixels = images * self.rescale + self.offset
        tokens = self.model(pixel_values=pixels, **self._interpolate).last_hidden_state
        patches = tokens[:, -(self.grid**2) :]  # between CLS and patches some have registers
        raster = patches.transpose(1, 2).unflatten(2, (self.grid, self.grid))
        return ImageFeatures(cls=tokens[:, 0], patches=patches, maps=(raster,))


def _random_vit(config: ImageEncoderConfig, image_size: int) -> nn.Module:
    from transformers import ViTConfig, ViTModel

    sizes = ViTConfig(
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=4 * config.width,
        image_size=image_size,
        patch_size=config.patch_size,
        layer_norm_eps=1e-6,
    )
    with same_every_time():
        return ViTModel(sizes, add_pooling_layer=False)


def _load_vit(folder: Path) -> nn.Module:
    """The encoder in `folder`; those of the ViT family without their pooling, masking and decoding layers."""
    from transformers import AutoConfig, AutoModel, ViTConfig, ViTModel

    try:
        stored = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{_FIELD} = {folder}: config.json cannot be read ({error})") from error
    if stored.model_type == "vit_mae":
        # The same encoder under the same names. ViTMAEModel itself would mask or, with mask_ratio = 0, shuffle.
        names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act")
        names += ("layer_norm_eps", "image_size", "patch_size", "num_channels", "qkv_bias")
        sizes = ViTConfig(**{name: getattr(stored, name) for name in names})
        return load_pretrained(ViTModel, folder, _FIELD, config=sizes, add_pooling_layer=False)
    if stored.model_type == "vit":
        return load_pretrained(ViTModel, folder, _FIELD, add_pooling_layer=False)
    return load_pretrained(AutoModel, folder, _FIELD)


def _check_fit(stored: Any, config: ImageEncoderConfig) -> None:
    for name, wanted in (("hidden_size", config.width), ("patch_size", config.patch_size)):
        found = getattr(stored, name, None)
        if found != wanted:
            ours = "width" if name == "hidden_size" else name
            raise CheckpointError(
                f"{_FIELD} = {config.weights}: its {name} is {found}, the policy's image.{ours} is {wanted}; it needs "
                f"an encoder of that size (and one with a class token and a raster of patches)"
            )


def _needs_interpolation(model: Any, image_size: int) -> bool:
    """Whether the forward must be asked to interpolate; others than ViT (DINOv2, ...) do it unasked."""
    from transformers import ViTModel

    return isinstance(model, ViTModel) and model.config.image_size != image_size


def _normalisation(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the colours (0..1) that the encoder was pretrained on."""
    path = folder / _PREPROCESSOR
    if not path.is_file():
        return IMAGENET_MEAN, IMAGENET_STD
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError("too large")
        stored = json.loads(path.read_text(encoding="utf-8"))
        mean, std = (
            tuple(float(value) for value in stored.get(name, default))
            for name, default in (("image_mean", IMAGENET_MEAN), ("image_std", IMAGENET_STD))
        )
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError("image_mean and image_std need three numbers each, the latter greater than zero")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); download it again") from error
    return mean, std

"""From a configuration to its encoders; `transformers` is imported only for those that need it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from ..config_encoders import ImageEncoderConfig, TextEncoderConfig
from .frozen import FrozenModel
from .image import CompactImageEncoder, StubImageEncoder
from .text import CompactTextEncoder

if TYPE_CHECKING:
    from .clip import ClipTextEncoder
    from .vit import VitImageEncoder


def image_encoder(
    config: ImageEncoderConfig, image_size: int
) -> CompactImageEncoder | StubImageEncoder | VitImageEncoder:
    """The image encoder that a configuration names, for images of `image_size` pixels a side.

    Raises:
        CheckpointError: Its weights are not there or do not fit.
    """
    if config.kind == "compact":
        return CompactImageEncoder(config)
    if config.kind == "stub":
        return StubImageEncoder(config)
    from .vit import VitImageEncoder

    return VitImageEncoder(config, image_size)


def text_encoder(config: TextEncoderConfig) -> CompactTextEncoder | ClipTextEncoder:
    """The language encoder that a configuration names.

    Raises:
        CheckpointError: Its weights or its tokeniser are not there or do not fit.
    """
    if config.kind == "compact":
        return CompactTextEncoder(config)
    from .clip import ClipTextEncoder

    return ClipTextEncoder(config)


def frozen_encoders(policy: nn.Module) -> dict[str, FrozenModel]:
    """The frozen encoders inside a policy, by dotted module name."""
    return {name: module for name, module in policy.named_modules() if isinstance(module, FrozenModel)}

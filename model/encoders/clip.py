"""The frozen text tower of a CLIP from `transformers`: ViT-B/32 in the paper.

The vector is the feature at the end-of-text token after CLIP's text projection, scaled to length one.

Dimensions: b batch, s token, d width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..config_encoders import TextEncoderConfig
from ..errors import CheckpointError
from .frozen import FrozenModel, find_folder, load_pretrained, same_every_time
from .text import PADDING, pad_rows, word_hashes

_FIELD = "text.weights"
_EPS = 1e-6


class ClipTextEncoder(FrozenModel):
    """Instruction to unit vector.

    Args:
        config: `weights` names the CLIP (a text-only folder will do); its projection must be `width` wide.

    Raises:
        CheckpointError: Weights or tokeniser are not there, damaged, incomplete, or of another size.
    """

    def __init__(self, config: TextEncoderConfig):
        self._tokenizer: Any = None
        if config.weights is None:
            super().__init__(_random_clip(config))
        else:
            from transformers import CLIPTextModelWithProjection

            folder = find_folder(config.weights, _FIELD)
            super().__init__(load_pretrained(CLIPTextModelWithProjection, folder, _FIELD))
            self._tokenizer = _load_tokenizer(folder)
        self.max_tokens = config.max_tokens
        self._check_fit(config)

    def tokenize(self, texts: Sequence[str]) -> Int64[Tensor, "b s"]:
        """Token ids between CLIP's marks of start and end, right-padded with 0.

        What stands behind the end mark cannot change its feature: attention in this tower is causal. A random CLIP has
        no tokeniser: words are hashed.
        """
        if self._tokenizer is not None:
            rows = self._tokenizer(list(texts), truncation=True, max_length=self.max_tokens)["input_ids"]
        else:
            size = self.model.config.vocab_size
            start, end = size - 2, size - 1
            rows = [
                [start, *(1 + word % (size - 3) for word in word_hashes(text)[: self.max_tokens - 2]), end]
                for text in texts
            ]
        return pad_rows(rows, self.max_tokens)

    def forward(self, text: Int64[Tensor, "b s"]) -> Float[Tensor, "b d"]:
        """One unit vector an instruction, in float32."""
        vector = self.model(input_ids=text).text_embeds.float()
        return vector / (vector.norm(dim=-1, keepdim=True) + _EPS)

    def _check_fit(self, config: TextEncoderConfig) -> None:
        sizes = self.model.config
        if sizes.projection_dim != config.width:
            raise CheckpointError(
                f"{_FIELD} = {config.weights}: projects to {sizes.projection_dim}, the policy's text.width is "
                f"{config.width}; it needs a CLIP of that size"
            )
        if sizes.max_position_embeddings < config.max_tokens:
            raise CheckpointError(
                f"{_FIELD} = {config.weights}: reads {sizes.max_position_embeddings} tokens, the policy's "
                f"text.max_tokens is {config.max_tokens}; it needs a CLIP that reads as many"
            )


def _random_clip(config: TextEncoderConfig) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    sizes = CLIPTextConfig(
        vocab_size=config.vocabulary,
        hidden_size=config.width,
        intermediate_size=4 * config.width,
        projection_dim=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=config.max_tokens,
        pad_token_id=PADDING,
        bos_token_id=config.vocabulary - 2,
        eos_token_id=config.vocabulary - 1,
    )
    with same_every_time():
        return CLIPTextModelWithProjection(sizes)


def _load_tokenizer(folder: Path) -> Any:
    """CLIP's own tokeniser, from the same folder."""
    from transformers import CLIPTokenizer

    if not (folder / "tokenizer.json").is_file() and not all(
        (folder / name).is_file() for name in ("vocab.json", "merges.txt")
    ):
        raise CheckpointError(
            f"{_FIELD} = {folder}: has no tokeniser (tokenizer.json, or vocab.json with merges.txt); download those too"
        )
    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{_FIELD} = {folder}: its tokeniser cannot be read ({error})") from error

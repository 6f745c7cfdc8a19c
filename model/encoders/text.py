"""The compact language encoder: words hashed into two tables, attention over the words, one vector.

Dimensions: b batch, s word, d width.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ..config_encoders import TextEncoderConfig
from ..transformer import INIT_STD, Block

_WORD = re.compile(r"[a-z0-9]+")
PADDING = 0


def tokenize_words(texts: Sequence[str], max_tokens: int) -> Int64[Tensor, "b s"]:
    """Lower-cased words as stable 32-bit hashes (CRC-32), right-padded with 0.

    Every run and every machine gives the same ids. An empty text becomes one word of its own.
    """
    return pad_rows([[word + 1 for word in word_hashes(text)] or [1] for text in texts], max_tokens)


def word_hashes(text: str) -> list[int]:
    """CRC-32 of every lower-cased word."""
    return [zlib.crc32(word.encode()) for word in _WORD.findall(text.lower())]


def pad_rows(rows: Sequence[Sequence[int]], max_tokens: int) -> Int64[Tensor, "b s"]:
    """Token ids cut to `max_tokens` and right-padded with 0."""
    ids = torch.full((len(rows), max_tokens), PADDING, dtype=torch.int64)
    for row, words in zip(ids, rows, strict=True):
        kept = list(words[:max_tokens])
        row[: len(kept)] = torch.tensor(kept)
    return ids


class CompactTextEncoder(nn.Module):
    """Instruction to vector, trained with the policy.

    A word's embedding is the sum of one row of each of two tables, chosen by different digits of its hash: two words
    are the same only if both collide (about one pair in vocabulary squared), so "left" and "right" stay apart.
    """

    def __init__(self, config: TextEncoderConfig):
        super().__init__()
        self.max_tokens = config.max_tokens
        self.vocabulary = config.vocabulary
        self.words = nn.ModuleList(nn.Embedding(config.vocabulary, config.width) for _ in range(2))
        self.position = nn.Parameter(torch.randn(config.max_tokens, config.width) * INIT_STD)
        self.blocks = nn.ModuleList(Block(config.width, config.heads, 4, "relu") for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)

    def tokenize(self, texts: Sequence[str]) -> Int64[Tensor, "b s"]:
        """Token ids of some instructions."""
        return tokenize_words(texts, self.max_tokens)

    def forward(self, text: Int64[Tensor, "b s"]) -> Float[Tensor, "b d"]:
        """One vector an instruction: the mean over its words after attention."""
        first, second = self.words
        x = (
            first(text % self.vocabulary)
            + second(text // self.vocabulary % self.vocabulary)
            + self.position[: text.shape[1]]
        )
        real = text != PADDING
        for block in self.blocks:
            x, _ = block(x, real[:, None, None, :].expand(-1, 1, x.shape[1], -1))
        weight = real[..., None].to(x.dtype)
        return (self.norm(x) * weight).sum(1) / weight.sum(1)

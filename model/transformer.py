"""Pre-LN transformer blocks and the causal trunk made of them (GPT-2 style).

Dimensions: b batch, n tokens, r captured rows, d width, h heads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from .attention import Attention
from .config import TrunkConfig

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": functional.gelu, "relu": functional.relu}
INIT_STD = 0.02


class Mlp(nn.Module):
    """Two linear layers with an activation between."""

    def __init__(self, width: int, ratio: int, activation: Literal["gelu", "relu"]):
        super().__init__()
        self.up = nn.Linear(width, ratio * width)
        self.down = nn.Linear(ratio * width, width)
        self.activation = _ACTIVATIONS[activation]

    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d"]:
        """The same width out."""
        return self.down(self.activation(self.up(x)))


class Block(nn.Module):
    """x + attention(LN x), then x + mlp(LN x)."""

    def __init__(
        self, width: int, heads: int, ratio: int, activation: Literal["gelu", "relu"], *, dropout: float = 0.0
    ):
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads, dropout=dropout)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = Mlp(width, ratio, activation)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        mask: Bool[Tensor, "#b 1 n n"] | None = None,
        rows: Int64[Tensor, " r"] | slice | None = None,
        outputs: Int64[Tensor, " o"] | slice | None = None,
        heads: tuple[int, ...] | None = None,
    ) -> tuple[Float[Tensor, "b _o d"], Float[Tensor, "b h r n"] | None]:
        """The tokens, and the attention of `rows` if asked for.

        Args:
            x: Tokens.
            mask: True where row may attend to column.
            rows: Rows (of the computed ones) whose attention is returned.
            outputs: Tokens to compute, all if None; the others serve as keys and values only.
            heads: Heads whose attention is returned, all if None.
        """
        context = self.attention_norm(x)
        queries = context
        if outputs is not None:
            x, queries = x[:, outputs], context[:, outputs]
            mask = None if mask is None else mask[:, :, outputs]
        mixed, probabilities = self.attention(queries, context, mask=mask, rows=rows, heads=heads)
        x = x + self.dropout(mixed)
        return x + self.dropout(self.mlp(self.mlp_norm(x))), probabilities


class Trunk(nn.Module):
    """The causal transformer: it knows nothing of tokens' meaning, the mask says it all."""

    def __init__(self, config: TrunkConfig):
        super().__init__()
        self.checkpointing = config.checkpointing
        self.blocks = nn.ModuleList(
            Block(config.width, config.heads, config.mlp_ratio, "relu", dropout=config.dropout)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self._initialise(config.layers)

    def _initialise(self, layers: int) -> None:
        """GPT-2: N(0, 0.02), zero bias, residual outputs smaller by sqrt(2 * layers)."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                residual = name.endswith(("attention.out.weight", "mlp.down.weight"))
                nn.init.normal_(parameter, std=INIT_STD / (2 * layers) ** 0.5 if residual else INIT_STD)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        mask: Bool[Tensor, "#b 1 n n"],
        *,
        rows: Int64[Tensor, " r"] | None = None,
        wanted: Callable[[int], bool] | None = None,
        heads: tuple[int, ...] | None = None,
        outputs: Int64[Tensor, " o"] | slice | None = None,
    ) -> tuple[Float[Tensor, "b _o d"], dict[int, Float[Tensor, "b h r n"]]]:
        """Runs all layers.

        Args:
            x: Assembled tokens.
            mask: True where row may attend to column.
            rows: Rows whose attention is returned.
            wanted: Which layers return it; all if None.
            heads: Which heads return it; all if None.
            outputs: Tokens whose outputs are wanted, all if None: the last layer computes no others. Not with `rows`,
                which count all tokens.

        Returns:
            The normed outputs, and attention by layer (empty without `rows`).
        """
        captured: dict[int, Tensor] = {}
        for layer, block in enumerate(self.blocks):
            capture = rows is not None and (wanted is None or wanted(layer))
            last = outputs if layer == len(self.blocks) - 1 else None
            if self.checkpointing and torch.is_grad_enabled() and not capture:
                x, _ = checkpoint(block, x, mask, None, last, use_reentrant=False)
                continue
            x, probabilities = block(x, mask, rows if capture else None, last, heads)
            if probabilities is not None:
                captured[layer] = probabilities
        return self.norm(x), captured

"""From an observation to the assembled tokens of the window: encoders, projections, queries, time.

Dimensions: b batch, t frame of the window, v view, n token, d width, r latents, h w pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .batch import Observation
from .config import PolicyConfig
from .encoders.image import ImageFeatures, image_encoder, prepare_rgb
from .encoders.resampler import Resampler
from .encoders.state import StateEncoder
from .encoders.text import CompactTextEncoder
from .tokens import VIEW_LETTER, Role, TokenLayout
from .transformer import INIT_STD


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """The encoded observation.

    Attributes:
        tokens: All tokens of the window, in the order of the layout.
        features: Of every image; rows are (b, t, v) flattened.
        rgb: The normalised images, rows alike.
        shape: (b, t, v).
        resampled: The resampler's attention by layer, if captured: (b, t, v, heads, latents, patches + latents).
    """

    tokens: Float[Tensor, "b n d"]
    features: ImageFeatures
    rgb: Float[Tensor, "_btv 3 h w"]
    shape: tuple[int, int, int]
    resampled: list[Float[Tensor, "b t v _heads _r _k"]]

    def pick(self, x: Tensor, frames: list[int], view: int | None = None) -> Tensor:
        """Rows (b t v) of `x` for chosen frames, flattened to (b a v), or to (b a) for one view."""
        x = x.unflatten(0, self.shape)[:, frames]
        return x.flatten(0, 2) if view is None else x[:, :, view].flatten(0, 1)

    def pick_features(self, frames: list[int], view: int | None = None) -> ImageFeatures:
        """Features of chosen frames, rows as in `pick`."""
        return ImageFeatures(
            cls=self.pick(self.features.cls, frames, view),
            patches=self.pick(self.features.patches, frames, view),
            maps=tuple(self.pick(level, frames, view) for level in self.features.maps),
        )


class Embedding(nn.Module):
    """Encoders of all inputs and the learned queries.

    Args:
        config: Of the policy.
        layout: Its token layout.
    """

    state_scale: Tensor

    def __init__(self, config: PolicyConfig, layout: TokenLayout):
        super().__init__()
        self.views, self.layout = config.views, layout
        self.time_on_queries = config.tokens.time_on_queries
        width, stats = config.trunk.width, config.stats
        self.image = image_encoder(config.image)
        self.resampler = Resampler(config.image.width, config.resampler)
        self.text = CompactTextEncoder(config.text)
        self.state = StateEncoder(width)
        self.text_token = nn.Linear(config.text.width, width)
        self.cls_token = nn.ModuleDict({view: nn.Linear(config.image.width, width) for view in config.views})
        self.patch_token = nn.ModuleDict({view: nn.Linear(config.image.width, width) for view in config.views})
        self.queries = nn.ParameterDict(
            {
                group.name: nn.Parameter(torch.randn(group.count, width) * INIT_STD)
                for group in layout.groups
                if group.role is not Role.INPUT
            }
        )
        self.time = nn.Parameter(torch.randn(layout.n_frames, width) * INIT_STD)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.trunk.dropout)
        # Centimetres and degrees would vanish beside the gripper's one-hot: one unit is what one action can command.
        scale = (stats.action_metres_per_unit,) * 3 + (stats.action_radians_per_unit,) * 3
        self.register_buffer("state_scale", torch.tensor(scale), persistent=False)

    def forward(self, observation: Observation, *, capture: bool = False) -> Embedded:
        """Encodes and lays out everything; `capture` also returns the resampler's attention."""
        b, t, v = observation.rgb.shape[:3]
        rgb = prepare_rgb(observation.rgb.flatten(0, 2))
        features = self.image(rgb)
        latents, resampled = self.resampler(features.patches, capture=capture)
        latents, cls = latents.unflatten(0, (b, t, v)), features.cls.unflatten(0, (b, t, v))
        groups: dict[str, Tensor] = {
            "LANG": self.text_token(self.text(observation.text))[:, None, None].expand(-1, t, -1, -1),
            "STATE": self.state(observation.state_arm / self.state_scale, observation.state_gripper)[:, :, None],
        }
        for index, view in enumerate(self.views):
            letter = VIEW_LETTER[view]
            groups[f"{letter}_PATCH"] = self.patch_token[view](latents[:, :, index])
            groups[f"{letter}_CLS"] = self.cls_token[view](cls[:, :, index])[:, :, None]
        time = self.time[:, None]
        groups = {name: group + time for name, group in groups.items()}
        for name, query in self.queries.items():
            row = query + time if self.time_on_queries else query.expand(t, -1, -1)
            groups[name] = row.expand(b, -1, -1, -1)
        tokens = torch.cat([groups[group.name] for group in self.layout.groups], 2).flatten(1, 2)
        return Embedded(
            tokens=self.dropout(self.norm(tokens)),
            features=features,
            rgb=rgb,
            shape=(b, t, v),
            resampled=[item.unflatten(0, (b, t, v)) for item in resampled],
        )

"""From an observation to the assembled tokens of the window: encoders, projections, queries, time.

Dimensions: b batch, t frame of the window, v view, n token, d width, i images, r latents, m tokens of one image,
h w pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from .batch import Observation, SharedObservation
from .config import PolicyConfig
from .encoders.choose import image_encoder, text_encoder
from .encoders.image_features import ImageFeatures, prepare_rgb
from .encoders.resampler import Resampler
from .encoders.state import StateEncoder
from .errors import ConfigError
from .tokens import VIEW_LETTER, Role, TokenLayout
from .transformer import INIT_STD

_GOAL = "goal"


@dataclass(frozen=True, kw_only=True)
class EncodedImages:
    """What encoder and resampler make of some images, each by itself.

    Attributes:
        features: Of the encoder.
        latents: Of the resampler.
        rgb: The normalised images.
        resampled: The resampler's attention by layer, if captured.
    """

    features: ImageFeatures
    latents: Float[Tensor, "i r c"]
    rgb: Float[Tensor, "i 3 h w"]
    resampled: list[Float[Tensor, "i _heads r _k"]]


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """The encoded observation.

    Attributes:
        tokens: All tokens of the window, in the order of the layout.
        images: The encoded images.
        image_of: Which of them view v of frame t is; None: they are (b, t, v) flattened.
        shape: (b, t, v).
    """

    tokens: Float[Tensor, "b n d"]
    images: EncodedImages
    image_of: Int64[Tensor, "b t v"] | None
    shape: tuple[int, int, int]

    @property
    def resampled(self) -> list[Float[Tensor, "b t v _heads _r _k"]]:
        """The resampler's attention by layer, if captured: columns are patches, then latents."""
        return [spread(item, self.image_of, self.shape) for item in self.images.resampled]

    def pick(self, x: Tensor, frames: list[int], view: int | None = None) -> Tensor:
        """Rows of images for chosen frames, flattened to (b a v), or to (b a) for one view."""
        if self.image_of is not None:
            index = self.image_of[:, frames]
            return x[index.flatten() if view is None else index[:, :, view].flatten()]
        x = x.unflatten(0, self.shape)[:, frames]
        return x.flatten(0, 2) if view is None else x[:, :, view].flatten(0, 1)

    def pick_features(self, frames: list[int], view: int | None = None) -> ImageFeatures:
        """Features of chosen frames, rows as in `pick`."""
        features = self.images.features
        return ImageFeatures(
            cls=self.pick(features.cls, frames, view),
            patches=self.pick(features.patches, frames, view),
            maps=tuple(self.pick(level, frames, view) for level in features.maps),
        )

    def pick_rgb(self, frames: list[int]) -> Float[Tensor, "_bav 3 h w"]:
        """Normalised images of chosen frames, rows as in `pick`."""
        return self.pick(self.images.rgb, frames)


def spread(x: Tensor, image_of: Int64[Tensor, "b t v"] | None, shape: tuple[int, int, int]) -> Tensor:
    """Rows of images to (b, t, v)."""
    return x.unflatten(0, shape) if image_of is None else x[image_of]


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
        self.image = image_encoder(config.image, config.image_size)
        self.resampler = Resampler(config.image.width, config.resampler)
        self.text = text_encoder(config.text)
        self.state = StateEncoder(width)
        self.text_token = nn.Linear(config.text.width, width)
        sources = (*config.views, *([_GOAL] if config.goal_image else []))
        self.cls_token = nn.ModuleDict({source: nn.Linear(config.image.width, width) for source in sources})
        self.patch_token = nn.ModuleDict({source: nn.Linear(config.image.width, width) for source in sources})
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
        shape = (len(observation.rgb), observation.rgb.shape[1], observation.rgb.shape[2])
        rgb, text, image_of = observation.rgb.flatten(0, 2), observation.text, None
        if isinstance(observation, SharedObservation):
            rgb, text, image_of = rgb[observation.images], text[observation.texts], observation.image_of
        images, language = self.encode_images(rgb, capture=capture), self.encode_text(text)
        if isinstance(observation, SharedObservation):
            language = language[observation.text_of]
        latents, cls = (spread(x, image_of, shape) for x in (images.latents, images.features.cls))
        # A masked token still enters the sums with weight zero, and zero times NaN is NaN.
        arm = observation.state_arm.masked_fill(~observation.frame_mask[..., None], 0.0)
        state = self.state_tokens(arm, observation.state_gripper)
        goal = None if observation.goal_rgb is None else self.goal_tokens(observation.goal_rgb)
        tokens = self.assemble(language, state, self.image_tokens(latents, cls), goal)
        return Embedded(tokens=tokens, images=images, image_of=image_of, shape=shape)

    def encode_images(self, rgb: UInt8[Tensor, "i 3 h w"], *, capture: bool = False) -> EncodedImages:
        """Features and latents of images; they depend on nothing but the image itself."""
        prepared = prepare_rgb(rgb).to(self.state_scale.dtype)
        features = self.image(prepared)
        latents, resampled = self.resampler(features.patches, capture=capture)
        return EncodedImages(features=features, latents=latents, rgb=prepared, resampled=resampled)

    def encode_text(self, text: Int64[Tensor, "b s"]) -> Float[Tensor, "b d"]:
        """One LANG token an instruction, before its time is added."""
        return self.text_token(self.text(text).to(self.state_scale.dtype))

    def state_tokens(self, arm: Float[Tensor, "b t 6"], gripper: Int64[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        """The STATE token of every frame, before its time is added; arguments as in `Observation`."""
        return self.state(arm / self.state_scale, gripper)

    def image_tokens(
        self, latents: Float[Tensor, "b t v r c"], cls: Float[Tensor, "b t v c"]
    ) -> Float[Tensor, "b t v m d"]:
        """The tokens of every image in the layout's order, latents then CLS, before their time is added."""
        views = [
            torch.cat([self.patch_token[view](latents[:, :, index]), self.cls_token[view](cls[:, :, index, None])], 2)
            for index, view in enumerate(self.views)
        ]
        return torch.stack(views, 2)

    def goal_tokens(self, rgb: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b m d"]:
        """The prefix: latents, then CLS of the goal image. It has no time.

        Raises:
            ConfigError: The policy knows no goal image.
        """
        if not self.layout.prefix:
            raise ConfigError("Observation.goal_rgb must be None: this policy knows no goal image")
        images = self.encode_images(rgb)
        return torch.cat(
            [self.patch_token[_GOAL](images.latents), self.cls_token[_GOAL](images.features.cls[:, None])], 1
        )

    def assemble(
        self,
        language: Float[Tensor, "b d"],
        state: Float[Tensor, "b t d"],
        images: Float[Tensor, "b t v m d"],
        goal: Float[Tensor, "b m d"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        """Adds time and queries and lays everything out: what enters the trunk.

        Raises:
            ConfigError: The policy needs a goal image and there is none.
        """
        if goal is None and self.layout.prefix:
            raise ConfigError("Observation.goal_rgb must be set: this policy is given a goal image")
        b, t = state.shape[:2]
        time = self.time[:, None]
        groups: dict[str, Tensor] = {"LANG": language[:, None, None].expand(-1, t, -1, -1), "STATE": state[:, :, None]}
        for index, view in enumerate(self.views):
            letter = VIEW_LETTER[view]
            groups[f"{letter}_PATCH"] = images[:, :, index, :-1]
            groups[f"{letter}_CLS"] = images[:, :, index, -1:]
        groups = {name: group + time for name, group in groups.items()}
        for name, query in self.queries.items():
            row = query + time if self.time_on_queries else query.expand(t, -1, -1)
            groups[name] = row.expand(b, -1, -1, -1)
        tokens = torch.cat([groups[group.name] for group in self.layout.groups], 2).flatten(1, 2)
        if goal is not None:
            tokens = torch.cat([goal.to(tokens.dtype), tokens], 1)
        return self.dropout(self.norm(tokens))

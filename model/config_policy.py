"""The whole of a policy's configuration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .config_check import ADDED, added, require
from .config_decoders import ActionDecoderConfig, FlowDecoderConfig, PatchDecoderConfig, ProgressDecoderConfig
from .config_encoders import ImageEncoderConfig, ResamplerConfig, TextEncoderConfig
from .config_parts import LossWeights, Statistics, TokenConfig, TrunkConfig, WindowConfig

View = Literal["static", "wrist"]
Foresight = Literal["depth", "future", "flow"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyConfig:
    """A whole policy.

    Attributes:
        name: The preset it started from.
        views: Camera order of every tensor with a view axis; `static` first.
        flow_view: The view whose points move; `both`: points of either view, each read from queries of its own.
        image_size: Pixels a side at the policy's input.
        foresight: Which predictions beside the action exist.
        depth_source: What the current-depth decoder reads.
        future_readout: `absolute`: the decoder paints every pixel. `composite`: it chooses per pixel between the
            current image, the current image moved by a predicted warp, and newly painted colours.
        future_depth: Decodes the future's depth beside its RGB ...
        future_depth_trunk: ... from the same decoder trunk (`shared`), from one of its own that reads the same queries
            (`own`), or from one of its own that reads queries of its own (`own_queries`).
        norm_pix: The RGB loss compares patches of zero mean and unit deviation (the paper's backbone).
        goal_image: A picture of the goal is given as well, as a prefix of the sequence (GR-MG).
        progress: The share of the task that is done is predicted from a query of its own (GR-MG).
    """

    name: str
    window: WindowConfig = field(default_factory=WindowConfig)
    views: tuple[View, ...] = ("static", "wrist")
    flow_view: Literal["static", "wrist", "both"] = "static"
    image_size: int = 224
    stats: Statistics = field(default_factory=Statistics)
    image: ImageEncoderConfig = field(default_factory=ImageEncoderConfig)
    text: TextEncoderConfig = field(default_factory=TextEncoderConfig)
    resampler: ResamplerConfig = field(default_factory=ResamplerConfig)
    tokens: TokenConfig = field(default_factory=TokenConfig)
    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    foresight: tuple[Foresight, ...] = ("depth", "future", "flow")
    depth_source: Literal["image_tokens", "future_query", "depth_query"] = "image_tokens"
    depth: PatchDecoderConfig = field(default_factory=PatchDecoderConfig)
    future: PatchDecoderConfig = field(default_factory=PatchDecoderConfig)
    future_readout: Literal["absolute", "composite"] = "absolute"
    future_depth: bool = True
    flow: FlowDecoderConfig = field(default_factory=FlowDecoderConfig)
    action: ActionDecoderConfig = field(default_factory=ActionDecoderConfig)
    norm_pix: bool = True
    loss: LossWeights = field(default_factory=LossWeights)
    future_depth_trunk: Literal["shared", "own", "own_queries"] = added("shared")
    goal_image: bool = added(False)
    progress: bool = added(False)
    progress_decoder: ProgressDecoderConfig = field(default_factory=ProgressDecoderConfig, metadata=ADDED)

    def __post_init__(self) -> None:
        require(self.views in (("static",), ("static", "wrist")), f"views must start with static, got {self.views}")
        require(
            set(self.flow_views) <= set(self.views),
            f"flow_view must be one of views = {self.views}, or both of two, got {self.flow_view}",
        )
        require(
            len(self.stats.depth_mean) == len(self.views),
            f"stats.depth_mean needs one entry a view ({len(self.views)}), got {len(self.stats.depth_mean)}",
        )
        require(len(set(self.foresight)) == len(self.foresight), f"foresight names one twice: {self.foresight}")
        for name, patch in (
            ("image", self.image.patch_size),
            ("depth", self.depth.patch_size),
            ("future", self.future.patch_size),
        ):
            require(
                self.image_size % patch == 0,
                f"image_size must be a multiple of {name}.patch_size = {patch}, got {self.image_size}",
            )
        self._check_decoders()

    @property
    def flow_views(self) -> tuple[View, ...]:
        """The views whose points move, in the order in which tensors hold their points."""
        return ("static", "wrist") if self.flow_view == "both" else (self.flow_view,)

    @property
    def future_depth_queries(self) -> bool:
        """The future's depth is read from queries of its own."""
        return "future" in self.foresight and self.future_depth and self.future_depth_trunk == "own_queries"

    @property
    def flow_scale(self) -> tuple[float, float, float]:
        """One unit of each coordinate of the flow, in those of `flow.coordinates`."""
        stats = self.stats
        across = stats.flow_scale_xy if self.flow.coordinates == "image" else stats.flow_scale_lateral
        return across, across, stats.flow_scale_depth

    def _check_decoders(self) -> None:
        require(
            self.depth_source != "future_query" or "depth" not in self.foresight or "future" in self.foresight,
            "depth_source = future_query needs 'future' in foresight",
        )
        composite = self.future_readout == "composite" and "future" in self.foresight
        require(
            not (composite and self.future_depth) or "depth" in self.foresight,
            "future_readout = composite with future_depth blends the predicted current depth: it needs 'depth' in "
            "foresight",
        )
        require(not (composite and self.norm_pix), "norm_pix needs future_readout = absolute")
        require(
            not composite or self.future_depth_trunk == "shared",
            "future_readout = composite blends depth with the weights of the RGB: it needs future_depth_trunk = shared",
        )
        require(not composite or self.future.refine > 0, "future_readout = composite needs future.refine > 0")
        for name, decoder in (("depth", self.depth), ("future", self.future)):
            require(
                decoder.refine == 0 or self.image.kind == "compact",
                f"{name}.refine needs the features of image.kind = compact, got {self.image.kind}",
            )
            require(
                decoder.patch_input == "mask_token" or decoder.patch_size == self.image.patch_size,
                f"{name}.patch_size must equal image.patch_size = {self.image.patch_size} with current_features, "
                f"got {decoder.patch_size}",
            )

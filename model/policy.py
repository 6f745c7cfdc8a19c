"""The policy: embedded tokens, the causal trunk and the decoders wired together.

Dimensions: b batch, t frame of the window, a supervised frame, v view, n token, d width, p point, l flow step,
k action step, r positions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from .attention import Capture, attention_mask, visible_keys
from .batch import Observation, Prediction
from .config import PolicyConfig
from .decoders.action import ActionDecoder, sample_latent
from .decoders.flow import FlowDecoder
from .decoders.images import ImageDecoders
from .embedding import Embedded, Embedding
from .tokens import TokenLayout, token_layout
from .transformer import Trunk

ALL_DECODERS = frozenset({"depth", "future", "flow", "action"})


class Policy(nn.Module):
    """Predicts the action and, from the same forward pass, current depth, future RGB-D and 3D flow.

    Args:
        config: All sizes and choices; `layout`, the token layout, follows from it.
    """

    mask: Tensor
    flow_scale: Tensor
    start_units: Tensor

    def __init__(self, config: PolicyConfig):
        super().__init__()
        self.config = config
        self.layout: TokenLayout = token_layout(config)
        self.embedding = Embedding(config, self.layout)
        self.trunk = Trunk(config.trunk)
        map_channels = self.embedding.image.map_channels
        self.images = ImageDecoders(config, self.layout, map_channels)
        self.flow = FlowDecoder(config, map_channels) if "flow" in config.foresight else None
        self.action = ActionDecoder(config)
        stats, view = config.stats, config.views.index(config.flow_view)
        scale = (stats.flow_scale_xy, stats.flow_scale_xy, stats.flow_scale_depth)
        self.register_buffer("flow_scale", torch.tensor(scale), persistent=False)
        start = torch.tensor([[0.0, 0.0, stats.depth_mean[view]], [1.0, 1.0, stats.depth_std[view]]])
        self.register_buffer("start_units", start, persistent=False)
        self.register_buffer("mask", attention_mask(self.layout, config.tokens), persistent=False)

    def tokenize(self, texts: Sequence[str]) -> Int64[Tensor, "b s"]:
        """Token ids for `Observation.text`."""
        return self.embedding.text.tokenize(texts)

    def forward(
        self,
        observation: Observation,
        *,
        frames: Int64[Tensor, " a"],
        flow_start: Float[Tensor, "b a p 3"] | None = None,
        action: Float[Tensor, "b t k 7"] | None = None,
        decoders: frozenset[str] = ALL_DECODERS,
        capture: Capture | None = None,
    ) -> Prediction:
        """Predicts for the window; padded frames give meaningless rows that the losses ignore.

        Args:
            observation: What the policy sees.
            frames: Frames whose depth, future and flow are decoded.
            flow_start: Start points of the flow; without them no flow is decoded.
            action: True chunks: the CVAE's posterior is sampled. Without them its latent is zero.
            decoders: What to decode; the rest of the prediction is None.
            capture: Attention to return.
        """
        chosen = [int(frame) for frame in frames]
        seen = self.embedding(observation, capture=capture is not None)
        keep = None if capture else self._needed(decoders, chosen)
        hidden, attention = self._run_trunk(seen, observation, keep, capture)
        images = self.images(hidden, seen, chosen, decoders)
        delta = visible = chunk = mean = logvar = None
        if "flow" in decoders and self.flow is not None and flow_start is not None:
            tokens = hidden[:, chosen][:, :, self.layout.within_frame("FLOW")].flatten(0, 1)
            delta, visible, rows = self._decode_flow(self.flow, tokens, seen, chosen, flow_start, capture is not None)
            attention |= {f"flow.{layer}": item for layer, item in enumerate(rows)}
        if "action" in decoders:
            chunk, mean, logvar = self._decode_action(hidden, action)
        return Prediction(
            depth=images.depth,
            future_rgb=images.future_rgb,
            future_depth=images.future_depth,
            flow_delta=delta,
            flow_visible_logit=visible,
            action=chunk,
            latent_mean=mean,
            latent_logvar=logvar,
            attention=attention if capture else None,
        )

    @torch.no_grad()
    def act(self, observation: Observation) -> Float[Tensor, "b k 7"]:
        """The chunk of the newest valid frame, gripper as probability of open; nothing else is computed.

        Only that frame's ACT queries, and what the mask lets them see, enter the trunk: the action is the one of the
        full forward pass.
        """
        lengths = observation.frame_mask.sum(1)
        chunks = torch.empty(len(lengths), self.config.window.chunk_size, 7, device=lengths.device)
        for length in lengths.unique().tolist():
            rows = lengths == length
            values = {item.name: getattr(observation, item.name)[rows] for item in dataclasses.fields(observation)}
            part, last = Observation(**values), length - 1
            seen = self.embedding(part)
            hidden, _ = self._run_trunk(seen, part, self._closure({"ACT": {last}}), None)
            chunks[rows] = self.action(hidden[:, last, self.layout.within_frame("ACT")])
        return torch.cat([chunks[..., :6], chunks[..., 6:].sigmoid()], -1)

    def _needed(self, decoders: frozenset[str], frames: Iterable[int]) -> Int64[Tensor, " r"]:
        """Positions that the asked predictions depend on; leaving out the rest changes nothing but the cost."""
        chosen = set(frames)
        wanted: dict[str, set[int]] = {name: set(chosen) for name in self.images.sources(decoders)}
        if "flow" in decoders and self.flow is not None:
            wanted["FLOW"] = chosen
        if "action" in decoders:
            wanted["ACT"] = set(range(self.layout.n_frames))
        return self._closure(wanted)

    def _closure(self, wanted: dict[str, set[int]]) -> Int64[Tensor, " r"]:
        """All inputs, the wanted queries (group -> frames), and the queries that the mask lets those see."""
        queries = self.embedding.queries
        frames: dict[str, set[int]] = {name: set() for name in queries}
        pending = [(name, where) for name, where in wanted.items() if name in queries]
        while pending:
            name, where = pending.pop()
            if where <= frames[name]:
                continue
            frames[name] |= where
            pending += [(other, where) for other in queries if self._sees(name, other)]
        rows = [self.layout.indices(name, sorted(where)) for name, where in frames.items()]
        return torch.cat([self.layout.inputs(), *rows]).sort().values

    def _sees(self, name: str, other: str) -> bool:
        """Whether a group may attend to another within a frame."""
        rows, columns = self.layout.indices(name, [0]), self.layout.indices(other, [0])
        return bool(self.mask[rows][:, columns].any())

    def _run_trunk(
        self, seen: Embedded, observation: Observation, keep: Int64[Tensor, " r"] | None, capture: Capture | None
    ) -> tuple[Float[Tensor, "b t n d"], dict[str, Tensor]]:
        """Trunk outputs by frame (zero where a token was left out) and captured attention."""
        keys = visible_keys(self.layout, self.config.views, observation.frame_mask, observation.view_mask)
        tokens, mask = seen.tokens, self.mask
        if keep is not None:
            keep = keep.to(tokens.device)
            tokens, mask, keys = tokens[:, keep], mask[keep][:, keep], keys[:, keep]
        allowed = (mask & keys[:, None])[:, None]
        rows = capture.positions(self.layout).flatten().to(tokens.device) if capture else None
        heads = capture.heads if capture else None
        out, captured = self.trunk(tokens, allowed, rows=rows, wanted=capture.wants if capture else None, heads=heads)
        if keep is not None:
            out = out.new_zeros(seen.tokens.shape).index_copy(1, keep, out)
        frames = (self.layout.n_frames, -1)
        attention = {f"trunk.{layer}": item.unflatten(2, frames).transpose(1, 2) for layer, item in captured.items()}
        attention |= {f"resampler.{layer}": item for layer, item in enumerate(seen.resampled)}
        return out.unflatten(1, frames), attention

    def _decode_flow(
        self,
        decoder: FlowDecoder,
        tokens: Float[Tensor, "ba f d"],
        seen: Embedded,
        frames: list[int],
        start: Float[Tensor, "b a p 3"],
        capture: bool,
    ) -> tuple[Float[Tensor, "b a p l 3"], Float[Tensor, "b a p l"], list[Float[Tensor, "b a _heads p _c"]]]:
        """Displacements in image fractions and metres, visibility logits, attention of the points."""
        shift, scale = self.start_units
        points = ((start - shift) / scale).flatten(0, 1)
        features = seen.pick_features(frames, self.config.views.index(self.config.flow_view))
        delta, visible, captured = decoder(tokens, points, features, capture=capture)
        shape = start.shape[:2]
        return (
            delta.unflatten(0, shape) * self.flow_scale,
            visible.unflatten(0, shape),
            [item.unflatten(0, shape) for item in captured],
        )

    def _decode_action(
        self, hidden: Tensor, action: Float[Tensor, "b t k 7"] | None
    ) -> tuple[Float[Tensor, "b t k 7"], Float[Tensor, "b t z"] | None, Float[Tensor, "b t z"] | None]:
        """Chunks of every frame, and the posterior if true chunks were given."""
        condition = hidden[:, :, self.layout.within_frame("ACT")].flatten(0, 1)
        shape = hidden.shape[:2]
        if action is None:
            return self.action(condition).unflatten(0, shape), None, None
        mean, logvar = self.action.encoder(action.flatten(0, 1))
        chunk = self.action(condition, sample_latent(mean, logvar))
        return chunk.unflatten(0, shape), mean.unflatten(0, shape), logvar.unflatten(0, shape)

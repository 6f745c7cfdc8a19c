"""The policy: embedded tokens, the causal trunk and the decoders wired together.

Dimensions: b batch, t frame of the window, a supervised frame, v view, n token, d width, p point, l flow step,
k action step, r positions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from .attention import Capture, attention_mask, presence_columns, real_tokens
from .batch import Observation, Prediction
from .config import PolicyConfig, View
from .decoders.action import ActionDecoder, sample_latent
from .decoders.flow import FlowDecoder
from .decoders.images import ImageDecoders
from .decoders.progress import ProgressDecoder
from .embedding import Embedded, Embedding
from .tokens import Role, TokenLayout, token_layout
from .transformer import Trunk

ALL_DECODERS = frozenset({"depth", "future", "flow", "action", "progress"})


class Policy(nn.Module):
    """Predicts the action and, from the same forward pass, current depth, future RGB-D and 3D flow.

    Args:
        config: All sizes and choices; `layout`, the token layout, follows from it.
    """

    mask: Tensor
    presence: Tensor
    input_positions: Tensor
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
        self.progress = ProgressDecoder(config) if config.progress else None
        self.flow_groups = tuple(group.name for group in self.layout.groups if group.role is Role.FLOW)
        self.register_buffer("flow_scale", torch.tensor(config.flow_scale), persistent=False)
        self.register_buffer("start_units", _start_units(config), persistent=False)
        self.register_buffer("mask", attention_mask(self.layout, config.tokens), persistent=False)
        self.register_buffer("presence", presence_columns(self.layout, config.views), persistent=False)
        self.register_buffer("input_positions", self.layout.inputs(), persistent=False)
        names = list(self.embedding.queries)
        self._visible = {name: frozenset(other for other in names if self._sees(name, other)) for name in names}

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
            flow_start: Start points as in `Targets.flow_start`; without them no flow is decoded.
            action: True chunks: the CVAE's posterior is sampled. Without them its latent is zero.
            decoders: What to decode; the rest of the prediction is None.
            capture: Attention to return.
        """
        hidden, seen, attention = self.trunk_outputs(observation, frames=frames, decoders=decoders, capture=capture)
        predicted = self.decode(
            hidden,
            seen,
            frames=frames,
            flow_start=flow_start,
            action=action,
            decoders=decoders,
            capture=capture is not None,
        )
        if capture is None:
            return predicted
        return dataclasses.replace(predicted, attention=attention | (predicted.attention or {}))

    def trunk_outputs(
        self,
        observation: Observation,
        *,
        frames: Int64[Tensor, " a"],
        decoders: frozenset[str] = ALL_DECODERS,
        capture: Capture | None = None,
    ) -> tuple[Float[Tensor, "b t n d"], Embedded, dict[str, Tensor]]:
        """What `decode` turns into predictions, as often as it is asked to; arguments as in `forward`.

        Returns:
            Trunk outputs by frame, without the prefix (zero where the asked predictions do not need them); the embedded
            observation; the captured attention, that of the flow decoder left out.
        """
        seen = self.embedding(observation, capture=capture is not None)
        needed = None if capture else self._needed(decoders, [int(frame) for frame in frames])
        hidden, attention = self._run_trunk(seen, observation, needed, capture)
        return hidden, seen, attention

    def decode(
        self,
        hidden: Float[Tensor, "b t n d"],
        seen: Embedded,
        *,
        frames: Int64[Tensor, " a"],
        flow_start: Float[Tensor, "b a p 3"] | None = None,
        action: Float[Tensor, "b t k 7"] | None = None,
        decoders: frozenset[str] = ALL_DECODERS,
        capture: bool = False,
    ) -> Prediction:
        """Trunk outputs by frame (without the prefix) to predictions.

        Args:
            hidden: Trunk outputs.
            seen: The embedded observation they come from.
            frames: See `forward`, like all that follow.
            flow_start: Start points of the flow.
            action: True chunks.
            decoders: What to decode.
            capture: Also return the attention of the flow decoder.
        """
        chosen = [int(frame) for frame in frames]
        images = self.images(hidden, seen, chosen, decoders)
        attention: dict[str, Tensor] = {}
        delta = visible = chunk = mean = logvar = progress = None
        if "flow" in decoders and self.flow is not None and flow_start is not None:
            of_frames = hidden[:, chosen]
            tokens = [of_frames[:, :, self.layout.within_frame(name)].flatten(0, 1) for name in self.flow_groups]
            delta, visible, rows = self.decode_flow(self.flow, tokens, seen, chosen, flow_start, capture)
            attention = {f"flow.{layer}": item for layer, item in enumerate(rows)}
        if "action" in decoders:
            chunk, mean, logvar = self._decode_action(hidden, action)
        if "progress" in decoders and self.progress is not None:
            tokens = hidden[:, :, self.layout.within_frame("PROG")]
            progress = self.progress(tokens.flatten(0, 1)).unflatten(0, tokens.shape[:2])
        return Prediction(
            depth=images.depth,
            future_rgb=images.future_rgb,
            future_depth=images.future_depth,
            flow_delta=delta,
            flow_visible_logit=visible,
            action=chunk,
            progress=progress,
            latent_mean=mean,
            latent_logvar=logvar,
            attention=attention if capture else None,
        )

    @torch.no_grad()
    def act(self, observation: Observation) -> Float[Tensor, "b k 7"]:
        """The chunk of the newest valid frame, gripper as probability of open; nothing else is computed.

        For acting step after step see `model.inference.Engine`, which encodes every image once.
        """
        seen = self.embedding(observation)
        return self.chunk(self.newest(seen.tokens, observation.frame_mask, observation.view_mask, ("ACT",))["ACT"])

    def chunk(self, act: Float[Tensor, "b q d"]) -> Float[Tensor, "b k 7"]:
        """ACT outputs to the most likely chunk, gripper as probability of open."""
        chunk = self.action(act)
        return torch.cat([chunk[..., :6], chunk[..., 6:].sigmoid()], -1)

    def newest(
        self,
        tokens: Float[Tensor, "b n d"],
        frame_mask: Bool[Tensor, "b t"],
        view_mask: Bool[Tensor, "b v"],
        names: Sequence[str],
    ) -> dict[str, Float[Tensor, "b _q d"]]:
        """Trunk outputs of some query groups in every window's newest frame, equal to those of the full pass.

        Only the inputs, these queries and the queries that the mask lets them see enter the trunk (231 of 530 tokens
        for ACT in the paper's sizes), and its last layer computes only the rows asked for. Windows of different length
        go together: each has its own positions.
        """
        seen = self._closure({name: {0} for name in names})
        order = [name for name, frames in seen.items() if frames and name not in names] + list(names)
        inside = [self.layout.within_frame(name) for name in order]
        first = torch.cat([torch.arange(at.start, at.stop, device=tokens.device) for at in inside])
        first = first + self.layout.prefix_length
        shift = (frame_mask.sum(1, keepdim=True) - 1) * self.layout.frame_length
        positions = torch.cat([self.input_positions.expand(len(tokens), -1), first + shift], 1)
        keys = real_tokens(self.presence, frame_mask, view_mask).gather(1, positions)
        mask = self.mask[positions[:, :, None], positions[:, None]] & keys[:, None]
        tokens = tokens.gather(1, positions[..., None].expand(-1, -1, tokens.shape[2]))
        counts = [at.stop - at.start for at in inside[-len(names) :]]
        out, _ = self.trunk(tokens, mask[:, None], outputs=slice(-sum(counts), None))
        return dict(zip(names, out.split(counts, 1), strict=True))

    def _needed(
        self, decoders: frozenset[str], frames: Iterable[int]
    ) -> tuple[Int64[Tensor, " r"], Int64[Tensor, " o"]]:
        """Positions that the asked predictions depend on and, among these, the rows that decoders read.

        Leaving out the rest changes nothing but the cost.
        """
        chosen = set(frames)
        wanted: dict[str, set[int]] = {name: set(chosen) for name in self.images.sources(decoders)}
        if "flow" in decoders and self.flow is not None:
            wanted |= {name: set(chosen) for name in self.flow_groups}
        if "action" in decoders:
            wanted["ACT"] = set(range(self.layout.n_frames))
        if "progress" in decoders and self.progress is not None:
            wanted["PROG"] = set(range(self.layout.n_frames))
        queries = self._closure(wanted)
        rows = [self.layout.indices(name, sorted(where)) for name, where in queries.items()]
        keep = torch.cat([self.layout.inputs(), *rows]).sort().values
        read = torch.cat([self.layout.indices(name, sorted(where)) for name, where in wanted.items()]).sort().values
        return keep, torch.searchsorted(keep, read)

    def _closure(self, wanted: dict[str, set[int]]) -> dict[str, set[int]]:
        """The wanted queries (group -> frames) and the queries that the mask lets those see."""
        queries = self.embedding.queries
        frames: dict[str, set[int]] = {name: set() for name in queries}
        pending = [(name, where) for name, where in wanted.items() if name in queries]
        while pending:
            name, where = pending.pop()
            if where <= frames[name]:
                continue
            frames[name] |= where
            pending += [(other, where) for other in queries if other in self._visible[name]]
        return frames

    def _sees(self, name: str, other: str) -> bool:
        """Whether a group may attend to another within a frame."""
        rows, columns = self.layout.indices(name, [0]), self.layout.indices(other, [0])
        return bool(self.mask[rows][:, columns].any())

    def _run_trunk(
        self,
        seen: Embedded,
        observation: Observation,
        needed: tuple[Int64[Tensor, " r"], Int64[Tensor, " o"]] | None,
        capture: Capture | None,
    ) -> tuple[Float[Tensor, "b t n d"], dict[str, Tensor]]:
        """Trunk outputs by frame (zero where they are not needed) and captured attention."""
        out, captured = self.contextualise(
            seen.tokens, observation.frame_mask, observation.view_mask, needed=needed, capture=capture
        )
        frames = (self.layout.n_frames, -1)
        attention = {f"trunk.{layer}": item.unflatten(2, frames).transpose(1, 2) for layer, item in captured.items()}
        attention |= {f"resampler.{layer}": item for layer, item in enumerate(seen.resampled)}
        return out[:, self.layout.prefix_length :].unflatten(1, frames), attention

    def contextualise(
        self,
        tokens: Float[Tensor, "b n d"],
        frame_mask: Bool[Tensor, "b t"],
        view_mask: Bool[Tensor, "b v"],
        *,
        needed: tuple[Int64[Tensor, " r"], Int64[Tensor, " o"]] | None = None,
        capture: Capture | None = None,
    ) -> tuple[Float[Tensor, "b n d"], dict[int, Float[Tensor, "b _h _r _k"]]]:
        """Assembled tokens through the trunk under mask and padding: where the mask can be proved.

        Args:
            tokens: In the order of the layout.
            frame_mask: True for real frames.
            view_mask: True for cameras that are there.
            needed: Positions that enter the trunk, and which of these it returns; all if None.
            capture: Attention to return.

        Returns:
            Outputs of all positions (zero where they are not needed), and captured attention by layer.
        """
        keys = real_tokens(self.presence, frame_mask, view_mask)
        kept, mask, outputs, written = tokens, self.mask, None, None
        if needed is not None:
            keep, outputs = (part.to(tokens.device) for part in needed)
            kept, mask, keys, written = tokens[:, keep], mask[keep][:, keep], keys[:, keep], keep[outputs]
        rows = capture.positions(self.layout).flatten().to(tokens.device) if capture else None
        out, captured = self.trunk(
            kept,
            (mask & keys[:, None])[:, None],
            rows=rows,
            wanted=capture.wants if capture else None,
            heads=capture.heads if capture else None,
            outputs=outputs,
        )
        if written is not None:
            out = out.new_zeros(tokens.shape).index_copy(1, written, out)
        return out, captured

    def decode_flow(
        self,
        decoder: FlowDecoder,
        tokens: Sequence[Float[Tensor, "ba f d"]],
        seen: Embedded,
        frames: list[int],
        start: Float[Tensor, "b a p 3"],
        capture: bool,
    ) -> tuple[Float[Tensor, "b a p l 3"], Float[Tensor, "b a p l"], list[Float[Tensor, "b a _heads p _c"]]]:
        """Displacements as in `Prediction.flow_delta`, visibility logits, attention of the points.

        Args:
            decoder: Of this policy, one for all views.
            tokens: Trunk outputs of every group of `flow_groups`.
            seen: The embedded observation they come from.
            frames: Frames to decode (a).
            start: Start points, as many in each flow view.
            capture: Also return the points' attention: columns are the FLOW tokens of their own view, then
                (`flow.attention = "full"` only) its points.
        """
        views = self.config.flow_views
        if start.shape[2] % len(views):
            raise ValueError(f"{start.shape[2]} start points cannot be the same number in each of {views}")
        parts = zip(views, tokens, start.chunk(len(views), 2), self.start_units, strict=True)
        found = [
            self._decode_flow_of(view, decoder, queries, points, units, seen, frames, capture)
            for view, queries, points, units in parts
        ]
        deltas, visible, captured = zip(*found, strict=True)
        layers = [torch.cat(layer, 3) for layer in zip(*captured, strict=True)]
        return torch.cat(deltas, 2), torch.cat(visible, 2), layers

    def _decode_flow_of(
        self,
        view: View,
        decoder: FlowDecoder,
        tokens: Float[Tensor, "ba f d"],
        start: Float[Tensor, "b a p 3"],
        units: Float[Tensor, "2 3"],
        seen: Embedded,
        frames: list[int],
        capture: bool,
    ) -> tuple[Float[Tensor, "b a p l 3"], Float[Tensor, "b a p l"], list[Float[Tensor, "b a _heads p _c"]]]:
        shift, scale = units
        features = seen.pick_features(frames, self.config.views.index(view))
        out = decoder(tokens, ((start - shift) / scale).flatten(0, 1), features, capture=capture)
        shape = start.shape[:2]
        delta, visible = (item.unflatten(0, shape) for item in out[:2])
        absolute = self.config.flow.readout == "absolute"
        delta = delta * scale + shift - start[..., None, :] if absolute else delta * self.flow_scale
        return delta, visible, [item.unflatten(0, shape) for item in out[2]]

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


def _start_units(config: PolicyConfig) -> Float[Tensor, "f 2 3"]:
    """By flow view: what is taken off a start point, and one unit of it."""
    stats, views = config.stats, [config.views.index(view) for view in config.flow_views]
    return torch.tensor([[[0.0, 0.0, stats.depth_mean[view]], [1.0, 1.0, stats.depth_std[view]]] for view in views])

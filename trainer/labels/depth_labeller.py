"""Labels with pseudo-depth: a network's word for every frame, brought to metres by one scale and shift per clip.

A temporal model's clip is consistent over time and the per-frame model may know the scale: without anchors the first
is aligned to the second (the paper combines Video-Depth-Anything with Depth-Anything-V2; how is our choice). Anchors,
where the episode has them, fix the scale better than any network. Without anchors and without a metric network depth
stays relative, and says so.

Dimensions: f frame, h w pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from model.errors import ConfigError, EpisodeError
from trainer.episodes.episode import Episode, View

from .align import AlignedSpace, Alignment, align
from .anchors import AnchorSource, find_anchors
from .depth_codes import encode
from .depth_network import DepthNetwork, PluginDepth, TransformersDepth
from .labeller import Label, LabelKind

_VERSION = 1
_SAMPLES = 400


@dataclass(frozen=True, kw_only=True)
class DepthLabeller:
    """Estimates depth from colour.

    Attributes:
        model: Folder or downloaded hub id of a Depth-Anything-like model, relative or metric; None = `temporal` alone.
        temporal: FILE.py:FUNCTION of a temporal model.
        anchors: What fixes the scale; None = only what the network knows.
        plane_height: For anchors = plane: its z in the world, metres.
        view: Whose frames.
        max_side: Depth is kept at this many pixels a side at most.
    """

    model: str | None = None
    temporal: str | None = None
    anchors: AnchorSource | None = None
    plane_height: float | None = None
    view: View = "static"
    max_side: int = 256

    def __post_init__(self) -> None:
        if self.model is None and self.temporal is None:
            raise ConfigError("depth needs a network: --model FOLDER_OR_HUB_ID, --temporal FILE.py:FUNCTION, or both")

    def __getstate__(self) -> dict[str, Any]:
        """The parameters alone: every process loads its own network."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}

    @property
    def kind(self) -> LabelKind:
        """Depth."""
        return "depth"

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides the result; models by their content, not by where they lie."""
        return {
            "name": "monocular-depth",
            "version": _VERSION,
            "weights_sha256": None if self._single is None else self._single.content_hash,
            "temporal_sha256": None if self._temporal is None else self._temporal.content_hash,
            "anchors": self.anchors,
            "plane_height": self.plane_height,
            "view": self.view,
            "max_side": self.max_side,
        }

    def label(self, episode: Episode) -> Label:
        """Depth of every frame of the view, metric where its scale is known."""
        if not episode.has("rgb", self.view):
            raise EpisodeError(f"{episode.name}: has no camera '{self.view}' whose frames could be looked at")
        frames = [episode.rgb(self.view, int(step)) for step in episode.frame_steps]
        network = self._network
        raw, audit, metric = network(frames).astype(np.float64), None, network.space == "depth"
        if self.anchors is not None:
            found = find_anchors(episode, self.view, self.anchors, plane_height=self.plane_height)
            fit = align(raw[found.frame, found.rows, found.columns], found.z, found.frame, network.space)
            raw, metric = fit.metres(raw), True
            audit = {"anchors_from": self.anchors, **dataclasses.asdict(fit)}
        elif self._temporal is not None and self._single is not None and self._single.space == "depth":
            fit = _align_clips(raw, self._temporal.space, self._single(frames))
            raw, metric = fit.metres(raw), True
            audit = {"anchors_from": "model", **dataclasses.asdict(fit)}
        codes, coding = encode(_shrunk(raw, self.max_side), metric=metric)
        facts = {
            "scale_audit": audit,
            "labeller": dict(self.identity),
            "view": self.view,
            "origin": "pseudo",
            "scale": "metric" if metric else "relative",
            "coding": coding,
            "size": list(episode.image_size(self.view)),
        }
        return Label(arrays={f"{self.view}.depth": codes}, facts=facts)

    @property
    def _network(self) -> DepthNetwork:
        """The one whose word is stored."""
        found = self._temporal or self._single
        if found is None:  # checked on construction
            raise ConfigError("depth needs a network")
        return found

    @cached_property
    def _single(self) -> DepthNetwork | None:
        return None if self.model is None else TransformersDepth(self.model)

    @cached_property
    def _temporal(self) -> DepthNetwork | None:
        return None if self.temporal is None else PluginDepth(self.temporal)


def _align_clips(
    raw: Float[np.ndarray, "f h w"], space: AlignedSpace, metric: Float32[np.ndarray, "f h w"]
) -> Alignment:
    """One scale and shift that brings a clip to what a metric network says of its frames."""
    rng = np.random.default_rng(0)
    n_frames, height, width = raw.shape
    frame = np.arange(n_frames).repeat(_SAMPLES)
    at = (frame, rng.integers(0, height, len(frame)), rng.integers(0, width, len(frame)))
    return align(raw[at], metric[at].astype(np.float64), frame, space)


def _shrunk(depth: Float[np.ndarray, "f h w"], side: int) -> Float[np.ndarray, "f h w"]:
    """Every n-th pixel, so that no side is longer than asked."""
    step = -(-max(depth.shape[1:]) // side)
    return depth[:, step // 2 :: step, step // 2 :: step]

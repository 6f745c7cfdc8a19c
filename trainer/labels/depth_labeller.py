"""Labels with pseudo-depth: a network's word for every frame, brought to metres by one scale and shift per clip.

A temporal model's clip is consistent over time and the per-frame model may know the scale: without anchors the first
is aligned to the second (the paper combines Video-Depth-Anything with Depth-Anything-V2; how is our choice). Anchors,
where the episode has them, fix the scale better than any network. Without anchors and without a metric network depth
stays relative, and says so.

The key of a label names the model, not the machine: on a GPU with bf16 the same model rounds otherwise, and the label
says on what it was computed.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from model.errors import CheckpointError, ConfigError, EpisodeError
from trainer.episodes.episode import Episode, View

from .align import align
from .anchors import AnchorSource, Pixels, find_anchors
from .depth_clip import look
from .depth_codes import encode
from .depth_network import DepthNetwork, PluginDepth, TransformersDepth
from .labeller import Label, LabelKind

_VERSION = 2
_SAMPLES = 400
_NONE = np.zeros(0, np.int64)
_NOWHERE = Pixels(frame=_NONE, rows=_NONE, columns=_NONE)


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
        if self.max_side < 1:
            raise ConfigError(f"--max-side must be at least 1, got {self.max_side}")

    def __getstate__(self) -> dict[str, Any]:
        """The parameters and what they amount to: a process loads its own network when it has something to label.

        Only then does it find out whether that is the same network, see `label`.
        """
        return {
            **{item.name: getattr(self, item.name) for item in dataclasses.fields(self)},
            "_identity": self._identity,
        }

    @property
    def kind(self) -> LabelKind:
        """Depth."""
        return "depth"

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides the result; models by their content, not by where they lie."""
        return self._identity

    @cached_property
    def _identity(self) -> Mapping[str, Any]:
        """Of the process that began the run."""
        return self._own_identity

    @cached_property
    def _own_identity(self) -> Mapping[str, Any]:
        """Of this process, by the networks that it loaded."""
        return {
            "name": "monocular-depth",
            "version": _VERSION,
            "model_sha256": None if self._single is None else self._single.content_hash,
            "temporal_sha256": None if self._temporal is None else self._temporal.content_hash,
            "anchors": self.anchors,
            "plane_height": self.plane_height,
            "view": self.view,
            "max_side": self.max_side,
        }

    def label(self, episode: Episode) -> Label:
        """Depth of every frame of the view, metric where its scale is known.

        Raises:
            CheckpointError: The run began with another network than lies here under the same name.
            EpisodeError: The episode lacks what is needed, cannot be read, or a network failed on it.
        """
        self._check_network()
        if not episode.has("rgb", self.view):
            raise EpisodeError(f"{episode.name}: has no camera '{self.view}' whose frames could be looked at")
        network, fit = self._network, None
        show = partial(look, episode=episode, view=self.view, side=self.max_side)
        if self.anchors is not None:
            found = find_anchors(episode, self.view, self.anchors, plane_height=self.plane_height)
            said = show(network, pixels=found)
            fit = align(said.at, found.z, found.frame, network.space)
        elif self._temporal is not None and self._single is not None and self._single.space == "depth":
            some = _anywhere(len(episode.frame_steps), episode.image_size(self.view))
            said = show(network, pixels=some)
            fit = align(said.at, show(self._single, pixels=some).at, some.frame, network.space)
        else:
            said = show(network, pixels=_NOWHERE)
        metric = fit is not None or network.space == "depth"
        codes, coding = encode(said.kept, (fit.metres if fit else np.asarray) if metric else None)
        facts = {
            "scale_audit": fit and {"anchors_from": self.anchors or "model", **dataclasses.asdict(fit)},
            "labeller": dict(self.identity),
            "computed_on": network.computed_on,
            "view": self.view,
            "origin": "pseudo",
            "scale": "metric" if metric else "relative",
            "coding": coding,
            "size": list(episode.image_size(self.view)),
        }
        return Label(arrays={f"{self.view}.depth": codes}, facts=facts)

    def _check_network(self) -> None:
        """A node of a cluster may have other weights under the same path; its labels would bear a wrong name."""
        if self._own_identity != self._identity:
            what = ", ".join(name for name in (self.model, self.temporal) if name is not None)
            raise CheckpointError(
                f"{what}: not the same here ({platform.node()}) as where the run began; copy it to every machine, then "
                "label again with --retry-failed"
            )

    @property
    def _network(self) -> DepthNetwork:
        """The one whose word is stored."""
        found = self._temporal or self._single
        if found is None:  # checked on construction
            raise ConfigError("depth needs a network")
        return found

    @property
    def wants_gpu(self) -> bool:
        """Any depth network does."""
        return True

    @cached_property
    def _single(self) -> DepthNetwork | None:
        return None if self.model is None else TransformersDepth(self.model)

    @cached_property
    def _temporal(self) -> DepthNetwork | None:
        return None if self.temporal is None else PluginDepth(self.temporal)


def _anywhere(frames: int, size: tuple[int, int]) -> Pixels:
    """Pixels of every frame at which one network's clip is compared with another's."""
    rng = np.random.default_rng(0)
    frame = np.arange(frames).repeat(_SAMPLES)
    rows, columns = (rng.integers(0, length, len(frame)) for length in size)
    return Pixels(frame=frame, rows=rows, columns=columns)

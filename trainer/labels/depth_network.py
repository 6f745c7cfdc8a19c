"""Monocular depth networks: Depth Anything V2 and its like through `transformers`, temporal ones as a plug-in.

Dimensions: f frame, h w pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from model.errors import CheckpointError, EpisodeError

from .align import AlignedSpace

_FIELD = "--depth-model"


@runtime_checkable  # so that the tests can check annotations
class DepthNetwork(Protocol):
    """Says something about depth for every pixel of a clip."""

    @property
    def space(self) -> AlignedSpace:
        """inverse: large = near, up to scale and shift; depth: metres up to a scale error."""
        ...

    @property
    def content_hash(self) -> str:
        """Of the weights, or of the plug-in's file."""
        ...

    def __call__(self, frames: Sequence[UInt8[np.ndarray, "h w 3"]]) -> Float32[np.ndarray, "f h w"]:
        """What it says, at the size of the frames."""
        ...


class TransformersDepth:
    """A model for depth estimation from a folder or a downloaded hub id; frames are looked at one by one.

    Args:
        weights: A folder saved by `transformers`, its name inside $FORESIGHT_ENCODERS, or a downloaded hub id.

    Raises:
        CheckpointError: It is not there, incomplete, or no such model.
    """

    def __init__(self, weights: str):
        from transformers import AutoModelForDepthEstimation, DPTImageProcessorPil

        from model.encoders.frozen import FrozenModel, find_folder, load_pretrained

        folder = find_folder(weights, _FIELD)
        self._model = FrozenModel(load_pretrained(AutoModelForDepthEstimation, folder, _FIELD))
        try:
            self._processor: Any = DPTImageProcessorPil.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{_FIELD} = {folder}: has no preprocessor_config.json ({error})") from error
        kind = getattr(self._model.model.config, "depth_estimation_type", "relative")
        self._space: AlignedSpace = "depth" if kind == "metric" else "inverse"

    @property
    def space(self) -> AlignedSpace:
        """As the model's configuration says: relative models give inverse depth."""
        return self._space

    @property
    def content_hash(self) -> str:
        """sha256 of the weights."""
        return self._model.content_hash()

    def __call__(self, frames: Sequence[UInt8[np.ndarray, "h w 3"]]) -> Float32[np.ndarray, "f h w"]:
        """Resized and normalised as the model was trained, and back to the size of the frames."""
        import torch

        said: list[Float32[np.ndarray, "h w"]] = []
        for frame in frames:
            inputs = self._processor(images=frame, return_tensors="pt")
            with torch.inference_mode():
                outputs = self._model.model(**inputs)
            sized = self._processor.post_process_depth_estimation(outputs, target_sizes=[frame.shape[:2]])
            said.append(sized[0]["predicted_depth"].float().numpy())
        return np.stack(said)


class PluginDepth:
    """A temporal model from the user's own clone: FILE.py:FUNCTION, frames (f, h, w, 3) in, (f, h, w) out.

    Its result is taken for inverse depth unless the function has an attribute `space = "depth"`.
    """

    def __init__(self, name: str):
        from .plugin import load_plugin

        self._function, self._hash = load_plugin(name, "--temporal")
        self._space: AlignedSpace = "depth" if getattr(self._function, "space", "inverse") == "depth" else "inverse"

    @property
    def space(self) -> AlignedSpace:
        """What the function says of itself."""
        return self._space

    @property
    def content_hash(self) -> str:
        """sha256 of the file; the weights it loads are its own business."""
        return self._hash

    def __call__(self, frames: Sequence[UInt8[np.ndarray, "h w 3"]]) -> Float32[np.ndarray, "f h w"]:
        """The whole clip at once."""
        clip = np.stack(list(frames))
        said = np.asarray(self._function(clip), np.float32)
        if said.shape != clip.shape[:3]:
            raise EpisodeError(f"the temporal depth model returned {said.shape} for {clip.shape[:3]} pixels")
        return said

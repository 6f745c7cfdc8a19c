"""Monocular depth networks: Depth Anything V2 and its like through `transformers`, temporal ones as a plug-in.

Dimensions: f frame, h w pixels.
"""

from __future__ import annotations

import hashlib
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from model.errors import CheckpointError, EpisodeError
from trainer.files import sha256_of

from .align import AlignedSpace
from .gpus import computes_bf16, network_device
from .plugin import ask, load_plugin

_FIELD = "--model"
_GPU_BATCH = 16
_SETTINGS = ("config.json", "preprocessor_config.json", "processor_config.json")


@runtime_checkable  # so that the tests can check annotations
class DepthNetwork(Protocol):
    """Says something about depth for every pixel of a clip."""

    @property
    def space(self) -> AlignedSpace:
        """inverse: large = near, up to scale and shift; depth: metres up to a scale error."""
        ...

    @property
    def content_hash(self) -> str:
        """Of the weights and what is set beside them, or of the plug-in's file."""
        ...

    @property
    def at_once(self) -> int | None:
        """Frames that it is shown at once; None = the whole clip."""
        ...

    @property
    def computed_on(self) -> str | None:
        """Device and arithmetic, None if that is not known."""
        ...

    def __call__(self, frames: UInt8[np.ndarray, "f h w 3"]) -> Float32[np.ndarray, "f h w"]:
        """What it says, at the size of the frames.

        Raises:
            EpisodeError: It failed, or returned something of another shape.
        """
        ...


class TransformersDepth:
    """A model for depth estimation from a folder or a downloaded hub id; each frame is looked at by itself.

    It runs on a GPU where there is one, there in bf16 where the hardware has it; see `gpus`.

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
        files = [folder / name for name in _SETTINGS]
        self._settings = " ".join(sha256_of(file) for file in files if file.is_file())
        self._space: AlignedSpace = "depth" if kind == "metric" else "inverse"
        self._device = network_device()
        self._bf16 = computes_bf16(self._device)

    @property
    def space(self) -> AlignedSpace:
        """As the model's configuration says: relative models give inverse depth."""
        return self._space

    @property
    def content_hash(self) -> str:
        """sha256 of the weights, and of the files that say what they mean: metric or relative, at which size."""
        return hashlib.sha256(f"{self._model.content_hash()} {self._settings}".encode()).hexdigest()

    @property
    def at_once(self) -> int:
        """More than one frame fills a GPU; a processor is full with one."""
        return _GPU_BATCH if self._device.type == "cuda" else 1

    @property
    def computed_on(self) -> str:
        """Device and arithmetic."""
        return f"{self._device.type}, {'bf16' if self._bf16 else 'float32'}"

    def __call__(self, frames: UInt8[np.ndarray, "f h w 3"]) -> Float32[np.ndarray, "f h w"]:
        """Resized and normalised as the model was trained, and back to the size of the frames."""
        return ask("the depth network", self._said, frames)

    def _said(self, frames: UInt8[np.ndarray, "f h w 3"]) -> Float32[np.ndarray, "f h w"]:
        import torch

        model = self._model.to(self._device).model  # on first use: a process that only plans needs no GPU memory
        inputs = self._processor(images=list(frames), return_tensors="pt").to(self._device)
        autocast = torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._bf16)
        with torch.inference_mode(), autocast:
            outputs = model(**inputs)
        outputs.predicted_depth = outputs.predicted_depth.float()
        sizes = [frames.shape[1:3]] * len(frames)
        sized = self._processor.post_process_depth_estimation(outputs, target_sizes=sizes)
        return torch.stack([one["predicted_depth"] for one in sized]).cpu().numpy()


class PluginDepth:
    """A temporal model from the user's own clone: FILE.py:FUNCTION, frames (f, h, w, 3) in, (f, h, w) out.

    Its result is taken for inverse depth unless the function has an attribute `space = "depth"`.
    """

    def __init__(self, name: str):
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

    @property
    def at_once(self) -> None:
        """A temporal model wants the whole clip."""
        return

    @property
    def computed_on(self) -> None:
        """Its own choice."""
        return

    def __call__(self, frames: UInt8[np.ndarray, "f h w 3"]) -> Float32[np.ndarray, "f h w"]:
        """The whole clip at once."""
        said = ask("the temporal depth model", lambda: np.asarray(self._function(frames), np.float32))
        if said.shape != frames.shape[:3]:
            raise EpisodeError(f"the temporal depth model returned {said.shape} for {frames.shape[:3]} pixels")
        return said

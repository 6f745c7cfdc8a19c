"""Pretrained encoders from `transformers`: found on this machine, loaded whole or not at all, never trained or saved.

Nothing is ever downloaded here: a checkpoint must not make the reader's machine fetch what its author names. Only
safetensors are read.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from ..errors import CheckpointError

ENCODERS_VARIABLE = "FORESIGHT_ENCODERS"
_CONFIG = "config.json"
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


class FrozenModel(nn.Module):
    """Holds a model that moves between devices and dtypes with its owner, and takes part in nothing else.

    It is registered nowhere: no parameter of it is listed, optimised, averaged or saved, and it stays in evaluation
    mode. Inputs may still ask for gradients through it.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self._held = (model.eval().requires_grad_(False),)  # a tuple, so that nn.Module does not see it
        self._hash: str | None = None

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> FrozenModel:
        """What `.to`, `.cuda`, `.double` and their like go through."""
        super()._apply(fn, recurse)
        self._held[0]._apply(fn, recurse)
        return self

    @property
    def model(self) -> Any:
        """The model of `transformers`."""
        return self._held[0]

    @property
    def n_parameters(self) -> int:
        """Its parameters, none of which are in `parameters()`."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def content_hash(self) -> str:
        """sha256 hex over names, shapes and float32 values of all tensors: equal for equal features.

        The same weights have the same hash whichever folder or hub they come from. Computed once.
        """
        if self._hash is None:
            digest = hashlib.sha256()
            for name, value in sorted(self.model.state_dict().items()):
                digest.update(f"{name}{tuple(value.shape)}".encode())
                digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
            self._hash = digest.hexdigest()
        return self._hash


def find_folder(weights: str, field: str) -> Path:
    """The folder that `weights` names: a folder, one inside $FORESIGHT_ENCODERS, or a downloaded hub model.

    Args:
        weights: As in the configuration.
        field: Its dotted name, for the message.

    Raises:
        CheckpointError: There is none; the message says how to get one.
    """
    for folder in _candidates(weights):
        if folder.is_dir():
            _check_files(folder, field)
            return folder
    hub_id = weights if _HUB_ID.fullmatch(weights) else "HUB_ID"
    raise CheckpointError(
        f"{field} = {weights}: neither a folder, nor one inside ${ENCODERS_VARIABLE} "
        f"({os.environ.get(ENCODERS_VARIABLE) or 'not set'}), nor a hub model downloaded to this machine; fetch it "
        f"with `hf download {hub_id} --local-dir FOLDER` and name that folder"
    )


def _candidates(weights: str) -> Generator[Path]:
    yield Path(weights).expanduser()
    if root := os.environ.get(ENCODERS_VARIABLE):
        yield from (Path(root) / weights, Path(root) / Path(weights).name)
    from huggingface_hub import snapshot_download

    try:
        yield Path(snapshot_download(weights, local_files_only=True))
    except (OSError, ValueError):  # not downloaded; not a hub id
        return


def _check_files(folder: Path, field: str) -> None:
    if not (folder / _CONFIG).is_file():
        raise CheckpointError(f"{field} = {folder}: has no {_CONFIG}; it must be a folder saved by `transformers`")
    if not any(folder.glob("*.safetensors")):
        raise CheckpointError(
            f"{field} = {folder}: has no *.safetensors; other formats can run code and are not read. Load it once in a "
            f"place you trust and call save_pretrained"
        )


def load_pretrained(model_class: Any, folder: Path, field: str, **options: Any) -> nn.Module:
    """`model_class.from_pretrained(folder)` in float32, and nothing that the folder lacks is made up.

    Raises:
        CheckpointError: Tensors are missing, reshaped or unreadable; the message names the first.
    """
    with _quiet():
        try:
            model, info = model_class.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
                dtype=torch.float32,
                **options,
            )
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            raise CheckpointError(f"{field} = {folder}: cannot be read ({error}); download it again") from error
    if missing := sorted(info["missing_keys"]):
        raise CheckpointError(
            f"{field} = {folder}: lacks {len(missing)} tensors of its architecture ({', '.join(missing[:5])}); "
            f"download it again"
        )
    return model


@contextmanager
def _quiet() -> Generator[None]:
    """No progress bar and no report of keys of other heads: what matters is checked and raised."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()


@contextmanager
def same_every_time() -> Generator[None]:
    """Random weights drawn inside are the same on every construction, and leave the caller's random state alone.

    A random encoder is not saved either: this is how a checkpoint finds the same one again.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield

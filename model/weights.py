"""Weights to and from one safetensors file. Anything missing, unexpected, reshaped or not finite is an error."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from .errors import CheckpointError

_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class CompatibilityReport:
    """How well a file fits a module; `ok` if all of it does.

    Attributes:
        missing: Tensors that the module has and the file lacks.
        unexpected: Tensors that the file has and the module does not know.
        reshaped: "name: file shape, module shape" of those that differ.
        not_finite: Tensors with NaN or infinity.
        loaded: Number of tensors that fit.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    reshaped: tuple[str, ...] = ()
    not_finite: tuple[str, ...] = ()
    loaded: int = 0

    @property
    def ok(self) -> bool:
        """Everything fits."""
        return not (self.missing or self.unexpected or self.reshaped or self.not_finite)

    def __str__(self) -> str:
        """One line: each kind of misfit with its first names."""
        parts = [
            f"{len(names)} {kind} ({', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''})"
            for kind, names in self._kinds().items()
            if names
        ]
        return "; ".join([f"{self.loaded} tensors fit", *parts])

    def _kinds(self) -> dict[str, tuple[str, ...]]:
        return {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "reshaped": self.reshaped,
            "not finite": self.not_finite,
        }

    def listing(self) -> str:
        """Every name, one a line."""
        lines = [f"  {kind}: {name}" for kind, names in self._kinds().items() for name in names]
        return "\n".join([f"{self.loaded} tensors fit, {len(lines)} do not", *lines])


def save_weights(policy: nn.Module, path: Path) -> None:
    """Writes all parameters and persistent buffers to `path`, whole or not at all (temporary file, fsync, rename)."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in policy.state_dict().items()}
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(save(tensors))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load_weights(policy: nn.Module, path: Path) -> CompatibilityReport:
    """Loads `path` into `policy`, all of it or nothing.

    Raises:
        CheckpointError: The file is absent or damaged, or does not fit; the message lists every kind of misfit.
    """
    tensors = read_weights(path)
    report = compare_weights(policy, tensors)
    if not report.ok:
        raise CheckpointError(f"{path} does not fit its configuration: {report}; use the config.json it was saved with")
    policy.load_state_dict(tensors)
    return report


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, on the CPU."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; a checkpoint folder needs this file")
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not a complete safetensors file ({error}); copy the checkpoint again"
        ) from error


def compare_weights(policy: nn.Module, tensors: Mapping[str, Tensor]) -> CompatibilityReport:
    """Compares a file's tensors with what the module needs; changes nothing."""
    needed = policy.state_dict()
    shared = sorted(needed.keys() & tensors.keys())
    reshaped = [name for name in shared if needed[name].shape != tensors[name].shape]
    broken = [name for name in shared if tensors[name].is_floating_point() and not torch.isfinite(tensors[name]).all()]
    return CompatibilityReport(
        missing=tuple(sorted(needed.keys() - tensors.keys())),
        unexpected=tuple(sorted(tensors.keys() - needed.keys())),
        reshaped=tuple(f"{n}: file {tuple(tensors[n].shape)}, policy {tuple(needed[n].shape)}" for n in reshaped),
        not_finite=tuple(broken),
        loaded=len(set(shared) - set(reshaped) - set(broken)),
    )

"""What a policy is made of: frozen dataclasses, one preset function each. Numbers without a source are our choice.

Every item that the paper (arXiv 2502.10028) leaves open is one field here; a checkpoint stores all of them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import ConfigError

View = Literal["static", "wrist"]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowConfig:
    """Time, counted in control steps of the data set.

    Attributes:
        n_obs_steps: Frames in the window (T).
        obs_stride: Control steps between two frames of the window.
        future_offset: The future frame lies this many control steps ahead (n).
        flow_steps: Horizon of the 3D flow (L) ...
        flow_stride: ... and the control steps between two of them.
        chunk_size: Actions predicted, at the control rate (A).
    """

    n_obs_steps: int = 10
    obs_stride: int = 1
    future_offset: int = 3
    flow_steps: int = 5
    flow_stride: int = 1
    chunk_size: int = 5

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            _require(value > 0, f"window.{item.name} must be > 0, got {value}")

    @property
    def horizon(self) -> int:
        """Control steps needed after the newest frame so that all its targets exist."""
        return max(self.future_offset, self.flow_steps * self.flow_stride, self.chunk_size)


# --- the rest of this file is written by the model's author ---

"""Where networks of labellers run: on a GPU where there is one.

Written, tested on CPUs for which device is chosen; no GPU was here to run it on.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

WORKERS_A_GPU = 2
"""Worker processes that share a GPU: one decodes frames while the network of the other runs."""


def visible_gpus() -> list[str]:
    """The GPUs that torch may use on this machine, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    count = torch.cuda.device_count()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return (named or [str(index) for index in range(count)])[:count]


def network_device() -> torch.device:
    """The GPU where there is one: the pools let each worker see its own alone."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def computes_bf16(device: torch.device) -> bool:
    """Whether a GPU multiplies bf16 in hardware. On a CPU labels are made in float32."""
    import torch

    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def shared(workers: int, gpus: int) -> tuple[int, float]:
    """How many workers run at once where each needs a GPU, and the share of one that each gets.

    Args:
        workers: At most.
        gpus: 0 = none: then they run on processors, as many as are wanted.
    """
    if not gpus:
        return workers, 0.0
    return min(workers, gpus * WORKERS_A_GPU), 1 / WORKERS_A_GPU

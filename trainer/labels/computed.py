"""What a depth network takes on a GPU that is not here: its operations, counted, over the device's published rate.

Nothing in this file is measured. Operations are counted on the real architecture without weights (meta tensors); the
share of the published rate that such a network reaches is an assumption, and stands in the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_SIDE = 518  # as the processor of Depth Anything V2 makes it: the shorter side, multiples of 14
_LONG_SIDE = 686  # of a 4:3 image
_BYTES_PER_FRAME = 256 * 192 * 2
"""Of a label with --max-side 256, 4:3."""
REACHED = 0.3
"""Share of the published rate; well-kept vision transformers train and run at 30-40 % of it."""


@dataclass(frozen=True)
class Network:
    """Sizes of a published Depth Anything V2 (transformers' configuration of each)."""

    name: str
    width: int
    layers: int
    heads: int
    out: tuple[int, int, int, int]
    neck: tuple[int, int, int, int]
    fusion: int


@dataclass(frozen=True)
class Device:
    """A GPU with its maker's dense bf16 rate, operations a second."""

    name: str
    operations: float


@dataclass(frozen=True, kw_only=True)
class Computed:
    """A network on a device.

    Attributes:
        frames_per_s: Operations of a frame over the share of the published rate.
        bytes_per_frame: Of the label.
    """

    network: str
    device: str
    frames_per_s: float
    bytes_per_frame: float


NETWORKS = (
    Network("Depth Anything V2 Small", 384, 12, 6, (3, 6, 9, 12), (48, 96, 192, 384), 64),
    Network("Depth Anything V2 Large", 1024, 24, 16, (5, 12, 18, 24), (256, 512, 1024, 1024), 256),
)
DEVICES = (Device("NVIDIA L4", 121e12), Device("NVIDIA A100", 312e12))


def computed_rates() -> Iterator[Computed]:
    """Every network on every device."""
    for network in NETWORKS:
        operations = operations_per_frame(network)
        for device in DEVICES:
            yield Computed(
                network=network.name,
                device=device.name,
                frames_per_s=REACHED * device.operations / operations,
                bytes_per_frame=float(_BYTES_PER_FRAME),
            )


def operations_per_frame(network: Network) -> int:
    """Floating-point operations (a multiplication and an addition are two) for one 4:3 frame; imports torch."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    sizes: dict[str, Any] = {
        "hidden_size": network.width,
        "num_hidden_layers": network.layers,
        "num_attention_heads": network.heads,
        "image_size": _SIDE,
        "patch_size": 14,
        "out_indices": list(network.out),
        "reshape_hidden_states": False,
        "apply_layernorm": True,
    }
    backbone = Dinov2Config(**sizes)
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=network.width,
        neck_hidden_sizes=list(network.neck),
        fusion_hidden_size=network.fusion,
        head_hidden_size=32,
    )
    with torch.device("meta"):
        model = DepthAnythingForDepthEstimation(config).eval()
        frame = torch.zeros(1, 3, _SIDE, _LONG_SIDE)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(frame)
    return counter.get_total_flops()

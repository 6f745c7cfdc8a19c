"""Writes probe pictures without an imaging library: `trainer train` needs little more than torch."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from jaxtyping import Float, UInt8

# Eleven samples of matplotlib's viridis (CC0), dark to bright.
_VIRIDIS = np.array(
    [
        (68, 1, 84), (72, 36, 117), (65, 68, 135), (53, 95, 141), (42, 120, 142), (33, 145, 140),
        (34, 168, 132), (68, 191, 112), (122, 209, 81), (189, 223, 38), (253, 231, 37),
    ],
    dtype=np.float64,
)  # fmt: skip


def encode_png(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """An 8-bit RGB PNG."""
    height, width, _ = image.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, width * 3)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def colour_depth(depth: Float[np.ndarray, "h w"], near_m: float, far_m: float) -> UInt8[np.ndarray, "h w 3"]:
    """Viridis between two depths in metres, near = dark; invalid pixels are white."""
    scaled = np.clip((np.nan_to_num(depth) - near_m) / max(far_m - near_m, 1e-6), 0.0, 1.0) * (len(_VIRIDIS) - 1)
    stops = np.arange(len(_VIRIDIS))
    colours = np.stack([np.interp(scaled, stops, _VIRIDIS[:, c]) for c in range(3)], axis=-1)
    colours[~(np.isfinite(depth) & (depth > 0))] = 255
    return colours.astype(np.uint8)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

"""Good MCAP files, small, by the format's own writer; see `seeds`."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

from .mutate import Seed


def mcap_seeds(bait: Path, folder: Path) -> list[Seed]:
    """Colour and joints in small chunks, depth and a calibration in packed ones; no summary, which nobody reads.

    One has checksums; in the others a mutation reaches the messages.
    """
    from mcap.writer import CompressionType

    return [
        Seed(_mcap(CompressionType.NONE, ("/cam/color/image_raw", "/joint_states"))),
        Seed(_mcap(CompressionType.ZSTD, ("/cam/color/image_raw", "/cam/depth/image_raw", "/cam/color/camera_info"))),
        Seed(_mcap(CompressionType.LZ4, ("/cam/color/image_raw", "/cam/depth/image_raw"))),
    ]


def _mcap(compression: Any, topics: tuple[str, ...]) -> bytes:
    from mcap.writer import CompressionType
    from mcap_ros2.writer import Writer

    kinds = {
        "sensor_msgs/msg/Image": "uint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\n"
        "uint8[] data\n",
        "sensor_msgs/msg/CameraInfo": "uint32 height\nuint32 width\nfloat64[] d\nfloat64[9] k\n",
        "sensor_msgs/msg/JointState": "string[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort\n",
    }
    header = f"std_msgs/Header header\n{{}}{'=' * 80}\nMSG: std_msgs/Header\nstring frame_id\n"
    pixels = {"height": 4, "width": 4, "encoding": "rgb8", "is_bigendian": 0, "step": 12, "data": bytes(48)}
    messages = {
        "/cam/color/image_raw": ("sensor_msgs/msg/Image", pixels),
        "/cam/depth/image_raw": (
            "sensor_msgs/msg/Image",
            {**pixels, "encoding": "16UC1", "step": 8, "data": bytes(32)},
        ),
        "/cam/color/camera_info": (
            "sensor_msgs/msg/CameraInfo",
            {"height": 4, "width": 4, "d": [0.0], "k": [4.0, 0, 2, 0, 4, 2, 0, 0, 1]},
        ),
        "/joint_states": (
            "sensor_msgs/msg/JointState",
            {"name": ["finger"], "position": [0.1], "velocity": [], "effort": []},
        ),
    }
    buffer = io.BytesIO()
    sizes = {CompressionType.NONE: 600, CompressionType.ZSTD: 1200, CompressionType.LZ4: 1 << 20}
    checked = compression == CompressionType.ZSTD
    with Writer(buffer, chunk_size=sizes[compression], compression=compression, enable_crcs=checked) as writer:
        used = dict.fromkeys(messages[topic][0] for topic in topics)
        known = {kind: writer.register_msgdef(kind, header.format(kinds[kind])) for kind in used}
        for step in range(2):
            for topic in topics:
                kind, message = messages[topic]
                stamped = {"header": {"frame_id": "camera"}, **message}
                writer.write_message(topic, known[kind], stamped, log_time=step * 10**8, publish_time=0)
    return _without_summary(buffer.getvalue())


def _without_summary(data: bytes) -> bytes:
    """The footer alone behind the end of the data."""
    magic, footer = data[:8], b"\x02" + struct.pack("<QQQI", 20, 0, 0, 0)
    end = data.index(b"\x0f" + struct.pack("<Q", 4)) + 13
    return data[:end] + footer + magic

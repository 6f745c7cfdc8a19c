"""Small data sets in the published layouts of foreign formats, by the formats' own libraries where they exist.

Every frame is a plain colour that says which frame of which episode and camera it is, so that a test sees when a
reader mixes them up.
"""

from __future__ import annotations

import io
import json
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIZE = (48, 64)
FPS = 10


def frame_colour(episode: int, camera: int, frame: int) -> np.ndarray:
    """RGB of a frame, far enough apart for any codec."""
    return np.array([40 + 60 * camera, 30 + 90 * episode, 20 + 20 * frame], np.uint8)


def plain_frames(episode: int, camera: int, count: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Frames (f, h, w, 3) of `frame_colour`."""
    return np.stack([np.broadcast_to(frame_colour(episode, camera, at), (*size, 3)) for at in range(count)])


def shown_frame(image: np.ndarray) -> int:
    """The number of the frame that an image of `plain_frames` is."""
    return round((float(np.median(image[..., 2])) - 20) / 20)


def write_video(
    path: Path, frames: np.ndarray, *, fps: float = FPS, codec: Sequence[str] = ("libx264",), pixels: str = "yuv420p"
) -> None:
    """Encodes (f, h, w, 3) uint8, or (f, h, w) uint16 as 12-bit grey, with ffmpeg."""
    import imageio_ffmpeg

    grey = frames.dtype == np.uint16
    size = f"{frames.shape[2]}x{frames.shape[1]}"
    kind = ["-f", "rawvideo", "-pix_fmt", "gray12le" if grey else "rgb24", "-s", size, "-r", str(fps)]
    out = ["-pix_fmt", "gray12le" if grey else pixels, "-c:v", *codec, str(path)]
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *kind, "-i", "pipe:0", *out]
    subprocess.run(command, input=np.ascontiguousarray(frames).tobytes(), check=True, capture_output=True)


def png(image: np.ndarray) -> bytes:
    """One image as PNG, 16 bits a pixel for uint16."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


# --- LeRobot ---


def lerobot_feature(dtype: str, shape: Sequence[int], names: Any = None, **info: Any) -> dict[str, Any]:
    """One entry of `features` in info.json."""
    feature: dict[str, Any] = {"dtype": dtype, "shape": list(shape), "names": names}
    return {**feature, "info": info} if info else feature


def lerobot_info(version: str, features: Mapping[str, Any], episodes: Sequence[int], **changes: Any) -> dict[str, Any]:
    """The content of meta/info.json."""
    v3 = version.startswith("v3")
    data = "file-{file_index:03d}" if v3 else "episode_{episode_index:06d}"
    chunk = "chunk-{chunk_index:03d}" if v3 else "chunk-{episode_chunk:03d}"
    video = f"videos/{{video_key}}/{chunk}/{data}.mp4" if v3 else f"videos/{chunk}/{{video_key}}/{data}.mp4"
    return {
        "codebase_version": version,
        "robot_type": "so101_follower",
        "total_episodes": len(episodes),
        "total_frames": sum(episodes),
        "total_tasks": 1,
        "chunks_size": 1000,
        "fps": FPS,
        "data_path": f"data/{chunk}/{data}.parquet",
        "video_path": video,
        "features": dict(features),
        **changes,
    }


def lerobot_rows(episode: int, length: int, first: int, columns: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The rows of one episode; `columns` are arrays (t, n), lists of encoded images as bytes, or plain lists."""
    rows: dict[str, list[Any]] = {}
    for name, values in columns.items():
        if isinstance(values, np.ndarray):
            rows[name] = [row.tolist() for row in values]
        else:
            rows[name] = [{"bytes": value, "path": None} if isinstance(value, bytes) else value for value in values]
    steps = range(length)
    return rows | {
        "timestamp": [np.float32(at / FPS).item() for at in steps],
        "frame_index": list(steps),
        "episode_index": [episode] * length,
        "index": [first + at for at in steps],
        "task_index": [0] * length,
    }


def write_lerobot(
    root: Path,
    version: str,
    features: Mapping[str, Any],
    episodes: Sequence[Mapping[str, Any]],
    videos: Mapping[str, Sequence[np.ndarray]] | None = None,
    *,
    codec: Sequence[str] = ("libx264",),
    **changes: Any,
) -> Path:
    """Writes a whole dataset; `videos` are frames by camera and episode. v3 puts all episodes into one file each."""
    lengths = [len(next(iter(columns.values()))) for columns in episodes]
    videos = videos or {}
    _write_json(root / "meta/info.json", lerobot_info(version, features, lengths, **changes))
    starts = [sum(lengths[:at]) for at in range(len(lengths))]
    parts = zip(starts, lengths, episodes, strict=True)
    rows = [lerobot_rows(at, length, start, columns) for at, (start, length, columns) in enumerate(parts)]
    tasks = [[f"task of episode {at}"] for at in range(len(episodes))]
    if version.startswith("v2"):
        for at, table in enumerate(rows):
            _write_parquet(root / f"data/chunk-000/episode_{at:06d}.parquet", [table])
            for key, clips in videos.items():
                write_video(root / f"videos/chunk-000/{key}/episode_{at:06d}.mp4", clips[at], codec=codec)
        lines = [{"episode_index": at, "tasks": tasks[at], "length": length} for at, length in enumerate(lengths)]
        (root / "meta/episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return root
    _write_parquet(root / "data/chunk-000/file-000.parquet", rows)
    for key, clips in videos.items():
        write_video(root / f"videos/{key}/chunk-000/file-000.mp4", np.concatenate(clips), codec=codec)
    listed = [
        {"episode_index": at, "tasks": tasks[at], "length": length, "data/chunk_index": 0, "data/file_index": 0}
        | {"dataset_from_index": start, "dataset_to_index": start + length, "stats/action/mean": [0.0]}
        | {f"videos/{key}/{name}": 0 for key in videos for name in ("chunk_index", "file_index")}
        | {f"videos/{key}/from_timestamp": start / FPS for key in videos}
        | {f"videos/{key}/to_timestamp": (start + length) / FPS for key in videos}
        for at, (start, length) in enumerate(zip(starts, lengths, strict=True))
    ]
    path = root / "meta/episodes/chunk-000/file-000.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(listed), path)
    return root


def _write_parquet(path: Path, parts: Sequence[Mapping[str, list[Any]]]) -> None:
    """One row group for each part, as LeRobot's writer makes them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tables = [pa.table(dict(part)) for part in parts]
    with pq.ParquetWriter(path, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


# --- RLDS ---


def rlds_features(tree: Mapping[str, Any]) -> dict[str, Any]:
    """features.json of a dataset whose steps have these features; a leaf is (kind, shape, dtype)."""

    def node(value: Any) -> dict[str, Any]:
        if isinstance(value, Mapping):
            return {"featuresDict": {"features": {name: node(child) for name, child in value.items()}}}
        kind, shape, dtype = value
        if kind == "text":
            return {"text": {}}
        return {kind: {"shape": {"dimensions": [str(length) for length in shape]}, "dtype": dtype}}

    return {"featuresDict": {"features": {"steps": {"sequence": {"feature": node(tree)}}}}}


def field(number: int, data: bytes) -> bytes:
    """A field of a protocol buffer that holds bytes."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def example(features: Mapping[str, Any]) -> bytes:
    """A serialised tf.train.Example; lists of bytes, float arrays, integer arrays."""
    entries = b""
    for name, values in features.items():
        if isinstance(values, np.ndarray) and values.dtype.kind == "f":
            content = field(2, field(1, values.astype("<f4").tobytes()))
        elif isinstance(values, np.ndarray):
            content = field(3, field(1, b"".join(_varint(int(value) & 2**64 - 1) for value in values.ravel())))
        else:
            content = field(1, b"".join(field(1, value) for value in values))
        entries += field(1, field(1, name.encode()) + field(2, content))
    return field(1, entries)


def tfrecord(records: Sequence[bytes]) -> bytes:
    """A TFRecord file."""
    from trainer.episodes.readers.tfrecord import masked_crc

    parts: list[bytes] = []
    for data in records:
        length = struct.pack("<Q", len(data))
        parts += [length, struct.pack("<I", masked_crc(length)), data, struct.pack("<I", masked_crc(data))]
    return b"".join(parts)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])

"""What cameras of ROS 2 write: encodings of colours and of depth; one that is not read costs its camera alone."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap_ros2.writer import Writer

from model.errors import EpisodeError
from tests.foreign_factories import SIZE, plain_frames, png
from tests.unit.test_read_mcap import HEADER, PERIOD, STAMP, TYPES, image
from trainer.episodes.episode import Episode
from trainer.episodes.readers.mcap import READER

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
RED, GREEN, BLUE = 200, 120, 40
FRONT = {"/front/color/image_raw": image(plain_frames(0, 0, 1)[0], "rgb8")}
DEPTH = "/front/depth/image_raw/compressedDepth"


def opened(path: Path, messages: Mapping[str, dict[str, Any]]) -> Episode:
    """An episode of three steps, every topic with the same image at each."""
    with path.open("wb") as file, Writer(file) as writer:
        kinds = {name: writer.register_msgdef(name, HEADER.format(fields=TYPES[name])) for name in (RAW, COMPRESSED)}
        for topic, message in messages.items():
            for at in range(3):
                kind = kinds[COMPRESSED if "format" in message else RAW]
                stamped, now = {"header": STAMP, **message}, 10**9 + at * PERIOD
                writer.write_message(topic, kind, stamped, log_time=now, publish_time=now)
    (summary,) = READER.episodes(path)
    episode = READER.open(path, 0)
    assert (summary.views, summary.depth is not None) == (episode.info.views, episode.info.depth_scale is not None)
    return episode


def flat(*channels: int, dtype: type = np.uint8) -> np.ndarray:
    return np.broadcast_to(np.array(channels, dtype), (*SIZE, len(channels))).copy()


def mosaic(pattern: str) -> np.ndarray:
    """What a sensor with this pattern of filters sees of one colour."""
    seen = np.zeros((*SIZE, 1), np.uint8)
    for at, letter in enumerate(pattern):
        seen[at // 2 :: 2, at % 2 :: 2] = {"r": RED, "g": GREEN, "b": BLUE}[letter]
    return seen


def yuv(order: str) -> np.ndarray:
    """Two pixels of one colour as four bytes, by BT.601 in its narrow range."""
    r, g, b = np.array([RED, GREEN, BLUE]) / 255
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    values = {"y": 16 + 219 * luma, "u": 128 + 112 * (b - luma) / 0.886, "v": 128 + 112 * (r - luma) / 0.701}
    pair = np.array([round(values[letter]) for letter in order], np.uint8).reshape(2, 2)
    return np.tile(pair, (SIZE[0], SIZE[1] // 2, 1)).reshape(*SIZE, 2)


@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", flat(RED, GREEN, BLUE)),
        ("bgra8", flat(BLUE, GREEN, RED, 7)),
        ("8UC3", flat(BLUE, GREEN, RED)),
        ("rgb16", flat(RED * 257, GREEN * 257, BLUE * 257, dtype=np.uint16)),
        ("bgr16", flat(BLUE * 257, GREEN * 257, RED * 257, dtype=np.uint16)),
        ("yuv422_yuy2", yuv("yuyv")),
        ("yuyv", yuv("yuyv")),
        ("yuv422", yuv("uyvy")),
        ("uyvy", yuv("uyvy")),
        *((f"bayer_{pattern}8", mosaic(pattern)) for pattern in ("rggb", "bggr", "gbrg", "grbg")),
        ("bayer_rggb16", mosaic("rggb").astype(np.uint16) * 257),
    ],
)
def test_colours_are_what_the_camera_saw(tmp_path: Path, encoding: str, pixels: np.ndarray) -> None:
    episode = opened(tmp_path / "a.mcap", {"/cam/image_raw": image(pixels, encoding)})
    np.testing.assert_allclose(episode.rgb("static", 1)[2:-2, 2:-2], flat(RED, GREEN, BLUE)[2:-2, 2:-2], atol=3)


@pytest.mark.parametrize(("encoding", "scale"), [("mono8", 1), ("8UC1", 1), ("mono16", 257)])
def test_grey_is_grey(tmp_path: Path, encoding: str, scale: int) -> None:
    pixels = (np.arange(SIZE[0] * SIZE[1]) % 256 * scale).reshape(*SIZE, 1)
    message = image(pixels.astype(np.uint8 if scale == 1 else np.uint16), encoding)
    episode = opened(tmp_path / "a.mcap", {"/cam/image_raw": message})
    np.testing.assert_array_equal(episode.rgb("static", 0), np.repeat(pixels // scale, 3, axis=2))


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (image(flat(1), "nv12"), "encoding 'nv12' is not read"),
        (image(flat(1, 2)[:, :-1], "yuyv"), "63 x 48 pixels cannot be of this encoding"),
        ({"format": "jpeg", "data": b"\xff\xd8\xff nothing"}, "JPEG"),
    ],
)
def test_a_camera_that_cannot_be_read_costs_itself_alone(tmp_path: Path, message: dict[str, Any], says: str) -> None:
    path = tmp_path / "a.mcap"
    episode = opened(path, {"/base/image_raw": image(flat(1, 2, 3), "rgb8"), "/static/image_raw": message})
    assert episode.info.views == ("static",)
    np.testing.assert_array_equal(episode.rgb("static", 2), flat(1, 2, 3))
    (note,) = episode.info.notes
    assert note.startswith("'/static/image_raw'")
    assert says in note
    with pytest.raises(EpisodeError, match=f"{path}: '/static/image_raw'.*{says}"):
        opened(path, {"/static/image_raw": message})


def test_images_that_are_left_out_are_named(tmp_path: Path) -> None:
    infra = {"/front/infra1/image_rect_raw": image(flat(60), "mono8")}
    lone = {"/rear/depth/image_raw": image(flat(700, dtype=np.uint16), "16UC1")}
    path = tmp_path / "a.mcap"
    notes = opened(path, {**FRONT, **infra, **lone}).info.notes
    assert [note.split("'")[1] for note in notes] == [*infra, *lone]
    assert "infrared" in notes[0]
    assert "the depth of no camera" in notes[1]
    (tmp_path / "a.topics.yaml").write_text(f"wrist: {next(iter(infra))}\ndepth: {{wrist: {next(iter(lone))}}}\n")
    named = opened(path, {**FRONT, **infra, **lone})
    assert named.info.notes == ()
    assert named.has("depth", "wrist")


def compressed_depth(kind: str, header: bytes, codes: np.ndarray) -> dict[str, dict[str, Any]]:
    return {**FRONT, DEPTH: {"format": f"{kind}; compressedDepth png", "data": header + png(codes)}}


def test_inverse_depth_is_metres(tmp_path: Path) -> None:
    metres = np.linspace(0.4, 6.0, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)
    a = 100.0 * 101.0  # what the transport writes for 10 m and a quantisation of 100
    b = 1 - a / 10
    codes = np.round(a / metres + b).astype(np.uint16)
    codes[0, :3] = (0, 1, 65535)
    episode = opened(tmp_path / "a.mcap", compressed_depth("32FC1", struct.pack("<iff", 0, a, b), codes))
    depth = episode.depth("static", 1)
    assert np.isnan(depth[0, 0])
    assert depth[0, 1] == pytest.approx(10)
    np.testing.assert_allclose(depth[1:], metres[1:], rtol=5e-3)
    assert (episode.info.depth_scale, episode.info.notes) == ("metric", ())


def test_compressed_millimetres_are_metres(tmp_path: Path) -> None:
    episode = opened(tmp_path / "a.mcap", compressed_depth("16UC1", bytes(12), np.full(SIZE, 2000, np.uint16)))
    np.testing.assert_allclose(episode.depth("static", 0), 2.0)


@pytest.mark.parametrize(
    ("kind", "header", "says"),
    [
        ("32FC1", b"", "how its inverse depth"),
        ("32FC1", struct.pack("<iff", 0, np.nan, 0), "how its inverse depth"),
        ("32FC1", struct.pack("<iff", 0, -5.0, 0), "how its inverse depth"),
        ("16UC1", bytes(3), "image"),
    ],
)
def test_depth_of_unknown_scale_is_left_out_and_named(tmp_path: Path, kind: str, header: bytes, says: str) -> None:
    episode = opened(tmp_path / "a.mcap", compressed_depth(kind, header, np.full(SIZE, 2000, np.uint16)))
    assert not episode.has("depth", "static")
    (note,) = episode.info.notes
    assert note.startswith(f"'{DEPTH}'")
    assert says in note


def test_depth_as_rvl_is_left_out_and_named(tmp_path: Path) -> None:
    message = {"format": "16UC1; compressedDepth rvl", "data": bytes(12) + b"\1" * 100}
    episode = opened(tmp_path / "a.mcap", {**FRONT, DEPTH: message})
    (note,) = episode.info.notes
    assert note == f"'{DEPTH}': depth compressed as RVL is not read; record it as PNG or raw; it is left out"
    assert episode.info.depth_scale is None

"""MCAP of ROS 2, written by the library's own writer: topics, clocks, depth, calibration; damage and bombs."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcap.writer import CompressionType
from mcap_ros2.writer import Writer

from model.errors import EpisodeError, UnsafeFileError
from tests.foreign_factories import SIZE, plain_frames, png, shown_frame
from trainer.episodes.readers.mcap import READER

LENGTH = 6
PERIOD = 100_000_000
HEADER = """std_msgs/Header header
{fields}
================================================================================
MSG: std_msgs/Header
builtin_interfaces/Time stamp
string frame_id
"""
POSE = """
================================================================================
MSG: geometry_msgs/Pose
geometry_msgs/Point position
geometry_msgs/Quaternion orientation
================================================================================
MSG: geometry_msgs/Point
float64 x
float64 y
float64 z
================================================================================
MSG: geometry_msgs/Quaternion
float64 x
float64 y
float64 z
float64 w
"""
TYPES = {
    "sensor_msgs/msg/Image": "uint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\n"
    "uint32 step\nuint8[] data",
    "sensor_msgs/msg/CompressedImage": "string format\nuint8[] data",
    "sensor_msgs/msg/CameraInfo": "uint32 height\nuint32 width\nstring distortion_model\nfloat64[] d\nfloat64[9] k",
    "sensor_msgs/msg/JointState": "string[] name\nfloat64[] position\nfloat64[] velocity\nfloat64[] effort",
    "geometry_msgs/msg/PoseStamped": "geometry_msgs/Pose pose",
}
TF = "tf2_msgs/msg/TFMessage"
BAR = "================================================================================\n"
TF_DEFINITION = (
    "geometry_msgs/TransformStamped[] transforms\n"
    f"{BAR}MSG: geometry_msgs/TransformStamped\nstd_msgs/Header header\nstring child_frame_id\n"
    "geometry_msgs/Transform transform\n"
    f"{BAR}MSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
    f"{BAR}MSG: geometry_msgs/Transform\ngeometry_msgs/Vector3 translation\ngeometry_msgs/Quaternion rotation\n"
    f"{BAR}MSG: geometry_msgs/Vector3\nfloat64 x\nfloat64 y\nfloat64 z\n"
    f"{BAR}MSG: geometry_msgs/Quaternion\nfloat64 x\nfloat64 y\nfloat64 z\nfloat64 w\n"
)
STAMP = {"stamp": {"sec": 0, "nanosec": 0}, "frame_id": ""}


def image(pixels: np.ndarray, encoding: str, padding: int = 0) -> dict[str, Any]:
    """A raw image whose rows may end with some bytes of nothing."""
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    step = rows.shape[1] + padding
    data = np.pad(rows, ((0, 0), (0, padding))).tobytes()
    height, width = pixels.shape[:2]
    return {"height": height, "width": width, "encoding": encoding, "is_bigendian": 0, "step": step, "data": data}


def transform(parent: str, child: str, xyz: Sequence[float], wxyz: Sequence[float] = (1, 0, 0, 0)) -> dict[str, Any]:
    """A geometry_msgs/TransformStamped."""
    moved, turned = dict(zip("xyz", xyz, strict=True)), dict(zip("wxyz", wxyz, strict=True))
    header = {"stamp": {"sec": 0, "nanosec": 0}, "frame_id": parent}
    return {"header": header, "child_frame_id": child, "transform": {"translation": moved, "rotation": turned}}


def recording(
    path: Path,
    compression: CompressionType = CompressionType.ZSTD,
    *,
    frames: Sequence[tuple[int, str, dict[str, Any]]] = (),
    distortion: Sequence[float] = (0.0,) * 5,
    model: str = "plumb_bob",
) -> Path:
    """Two cameras, aligned depth of one, calibration, joints at twice the rate, tool poses.

    Args:
        path: Of the file.
        compression: Of its chunks.
        frames: Time after the start, topic and transform of messages of type TFMessage.
        distortion: Of the first camera.
        model: Name of that distortion's model.
    """
    colour, wrist = plain_frames(0, 0, LENGTH), plain_frames(0, 1, LENGTH)
    messages: list[tuple[int, str, str, dict[str, Any]]] = []
    for at in range(LENGTH):
        now = 10**9 + at * PERIOD
        depth = np.full(SIZE, 700 + at, np.uint16)
        depth[0, 0] = 0
        k = [50.0, 0, 31.5, 0, 50.0, 23.5, 0, 0, 1]
        calibration = {"height": SIZE[0], "width": SIZE[1], "distortion_model": model, "d": list(distortion), "k": k}
        place = {"position": {"x": at, "y": 0, "z": 1}, "orientation": {"x": 0, "y": 0, "z": 0, "w": 1}}
        messages += [
            (now, "/front/color/image_raw", "sensor_msgs/msg/Image", image(colour[at][..., ::-1], "bgr8", padding=5)),
            (now + 3, "/front/depth/image_raw", "sensor_msgs/msg/Image", image(depth, "16UC1")),
            (now + 1, "/front/color/camera_info", "sensor_msgs/msg/CameraInfo", calibration),
            (
                now + PERIOD // 5,
                "/wrist/image/compressed",
                "sensor_msgs/msg/CompressedImage",
                {"format": "png", "data": png(wrist[at])},
            ),
            (now, "/tool_pose", "geometry_msgs/msg/PoseStamped", {"pose": place}),
        ]
        for half in (0, 1):
            joints = {"name": ["arm", "finger"], "position": [at + half / 2, 0.04], "velocity": [], "effort": []}
            messages.append((now + half * PERIOD // 2, "/joint_states", "sensor_msgs/msg/JointState", joints))
    with path.open("wb") as file, Writer(file, chunk_size=20_000, compression=compression) as writer:
        schemas = {
            name: writer.register_msgdef(name, HEADER.format(fields=text) + (POSE if "Pose" in name else ""))
            for name, text in TYPES.items()
        }
        for time, topic, kind, message in messages:
            header = {**STAMP, "frame_id": "front_optical" if topic.startswith("/front") else ""}
            writer.write_message(topic, schemas[kind], {"header": header, **message}, log_time=time, publish_time=time)
        tf = writer.register_msgdef(TF, TF_DEFINITION)
        for after, topic, moved in frames:
            writer.write_message(topic, tf, {"transforms": [moved]}, log_time=10**9 + after, publish_time=10**9 + after)
    return path


@pytest.mark.parametrize("compression", list(CompressionType))
def test_cameras_depth_calibration_and_joints_follow_the_static_camera(
    tmp_path: Path, compression: CompressionType
) -> None:
    path = recording(tmp_path / "trial.mcap", compression)
    assert READER.recognise(path)
    (summary,) = READER.episodes(path)
    assert (summary.length, summary.views, summary.depth) == (LENGTH, ("static", "wrist"), ("true", "metric"))
    episode = READER.open(path, 0)
    assert episode.info.control_hz == pytest.approx(10)
    for step in reversed(range(LENGTH)):
        assert shown_frame(episode.rgb("static", step)) == shown_frame(episode.rgb("wrist", step)) == step
        depth = episode.depth("static", step)
        assert np.isnan(depth[0, 0])
        np.testing.assert_allclose(depth[1:], 0.7 + step / 1000, rtol=1e-6)
    np.testing.assert_allclose(episode.intrinsics("static"), [[50, 0, 32], [0, 50, 24], [0, 0, 1]])
    np.testing.assert_allclose(episode.features["/joint_states/position/arm"][:, 0], np.arange(LENGTH))
    assert episode.feature_names["/tool_pose"] == ("x", "y", "z", "qw", "qx", "qy", "qz")
    assert not episode.has("state")
    assert not episode.has("depth", "wrist")
    assert episode.info.notes == ()


def test_a_topic_map_names_views_state_and_outcome(tmp_path: Path) -> None:
    path = recording(tmp_path / "trial.mcap")
    (tmp_path / "trial.topics.yaml").write_text(
        "static: /wrist/image/compressed\nwrist: /front/color/image_raw\n"
        "instruction: stack the cups\noutcome: failure\n"
        "state:\n  pose: /tool_pose\n  gripper: {topic: /joint_states, joint: finger, shut: 0.0, open: 0.08}\n"
    )
    episode = READER.open(path, 0)
    assert (episode.info.instruction, episode.info.outcome) == ("stack the cups", "failure")
    assert episode.has("depth", "wrist")
    np.testing.assert_allclose(episode.state[3], [3, 0, 1, 1, 0, 0, 0, 0.5])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("static: /nowhere\n", "static"),
        ("cameras: 3\n", "cameras"),
        ("depth: {side: /front/depth/image_raw}\n", "side"),
        ("state: {pose: /tool_pose}\n", "gripper"),
        ("outcome: maybe\n", "outcome"),
    ],
)
def test_a_wrong_topic_map_is_one_clear_error(tmp_path: Path, text: str, says: str) -> None:
    path = recording(tmp_path / "trial.mcap")
    (tmp_path / "trial.topics.yaml").write_text(text)
    with pytest.raises(EpisodeError, match=says):
        READER.open(path, 0)


def arm_frames() -> list[tuple[int, str, dict[str, Any]]]:
    """A camera on a base that stands in the map, and a tool that moves along x and turns about z."""
    turn = [(float(np.cos(angle / 2)), 0.0, 0.0, float(np.sin(angle / 2))) for angle in (0.0, 0.2)]
    return [
        (0, "/tf_static", transform("map", "base", (1, 2, 3))),
        (0, "/tf_static", transform("base", "front_optical", (0, 0, 1), (0, 1, 0, 0))),
        (0, "/tf", transform("/base", "/tool", (0, 0, 0), turn[0])),
        (4 * PERIOD, "/tf", transform("base", "tool", (0.4, 0, 0), turn[1])),
    ]


def test_cameras_and_tool_stand_where_tf_says(tmp_path: Path) -> None:
    path = recording(tmp_path / "trial.mcap", frames=arm_frames())
    (tmp_path / "trial.topics.yaml").write_text(
        "state: {gripper: {topic: /joint_states, joint: finger, shut: 0.0, open: 0.08}}\nframes: {tool: tool}\n"
    )
    episode = READER.open(path, 0)
    camera = episode.T_world_camera("static")
    assert len(camera) == LENGTH
    np.testing.assert_allclose(camera[3], [[1, 0, 0, 1], [0, -1, 0, 2], [0, 0, -1, 4], [0, 0, 0, 1]], atol=1e-12)
    assert not episode.has("T_world_camera", "wrist")
    np.testing.assert_allclose(episode.state[:, 0], 1 + np.minimum(np.arange(LENGTH) / 10, 0.4))
    angle = 2 * np.arctan2(episode.state[:, 6], episode.state[:, 3])
    np.testing.assert_allclose(angle, np.minimum(np.arange(LENGTH) * 0.05, 0.2), atol=1e-4)
    np.testing.assert_allclose(episode.state[:, 7], 0.5)
    assert episode.info.notes == ()
    (tmp_path / "trial.topics.yaml").write_text("frames: {world: base}\n")
    np.testing.assert_allclose(READER.open(path, 0).T_world_camera("static")[0, :3, 3], [0, 0, 1], atol=1e-12)


def test_frames_that_do_not_help_are_said(tmp_path: Path) -> None:
    lost = [*arm_frames()[1:2], (0, "/tf_static", transform("moon", "rock", (0, 0, 0), (0, 0, 0, 0)))]
    path = recording(tmp_path / "trial.mcap", frames=lost)
    named = tmp_path / "trial.topics.yaml"
    assert "frame 'rock' is not always a pose" in READER.open(path, 0).info.notes[0]
    named.write_text("frames: {world: map}\n")
    episode = READER.open(path, 0)
    assert not episode.has("T_world_camera", "static")
    assert "does not connect its frame 'front_optical' with 'map'" in " ".join(episode.info.notes)
    for text, says in (("{static: nose}", "no frame 'nose'"), ("{nose: base}", "names 'nose'"), ("{tool: 3}", "tool")):
        named.write_text(f"frames: {text}\n")
        with pytest.raises(EpisodeError, match=says):
            READER.open(path, 0)
    circle = [
        (0, "/tf", transform("b", "front_optical", (0, 0, 0))),
        (0, "/tf", transform("front_optical", "b", (0, 0, 0))),
    ]
    with pytest.raises(EpisodeError, match=r"circle\.mcap: .* form a circle"):
        READER.open(recording(tmp_path / "circle.mcap", frames=circle), 0)


def images_at(path: Path, times: Sequence[int]) -> Path:
    """One camera whose frames were logged at these times, written in this order."""
    frames = plain_frames(0, 0, len(times))
    name = "sensor_msgs/msg/Image"
    with path.open("wb") as file, Writer(file) as writer:
        kind = writer.register_msgdef(name, HEADER.format(fields=TYPES[name]))
        for frame, time in zip(frames, times, strict=True):
            message = {"header": STAMP, **image(frame, "rgb8")}
            writer.write_message("/camera/image_raw", kind, message, log_time=time, publish_time=time)
    return path


def test_steps_follow_the_clock_whatever_the_order_in_the_file(tmp_path: Path) -> None:
    times = [PERIOD, 4 * PERIOD, 2 * PERIOD, 3 * PERIOD]
    episode = READER.open(images_at(tmp_path / "trial.mcap", times), 0)
    assert [shown_frame(episode.rgb("static", step)) for step in range(4)] == [0, 2, 3, 1]
    assert episode.info.control_hz == pytest.approx(10)


@pytest.mark.parametrize(
    ("times", "says"), [([7, 7, 7, 9], "logged at one time"), ([2**64 - 2, 2**64 - 1], "after the end of time")]
)
def test_times_that_cannot_be_are_one_error(tmp_path: Path, times: list[int], says: str) -> None:
    path = images_at(tmp_path / "trial.mcap", times)
    with pytest.raises(EpisodeError, match=f"{path}: .*{says}"):
        READER.open(path, 0)


@pytest.mark.parametrize(("height", "width", "says"), [(1, 9000, "9000 x 1 pixels, at most"), (-2, -2, "-2 x -2")])
def test_images_of_impossible_sizes_are_one_error(tmp_path: Path, height: int, width: int, says: str) -> None:
    name = "sensor_msgs/msg/Image"
    definition = TYPES[name].replace("uint32 height\nuint32 width", "int32 height\nint32 width")
    path = tmp_path / "trial.mcap"
    with path.open("wb") as file, Writer(file) as writer:
        kind = writer.register_msgdef(name, HEADER.format(fields=definition))
        pixels = {**image(np.zeros((1, 9000, 3), np.uint8), "rgb8"), "height": height, "width": width}
        writer.write_message("/camera/image_raw", kind, {"header": STAMP, **pixels}, log_time=1, publish_time=1)
    with pytest.raises((EpisodeError, UnsafeFileError), match=f"trial.mcap: .*{says}"):
        READER.open(path, 0)


def test_lens_distortion_is_removed_where_its_model_is_known(tmp_path: Path) -> None:
    import cv2

    coefficients = (0.3, 0.0, 0.0, 0.0, 0.0)
    plain = READER.open(recording(tmp_path / "plain.mcap"), 0)
    bent = READER.open(recording(tmp_path / "bent.mcap", distortion=coefficients), 0)
    assert "(plumb_bob) removed" in bent.info.notes[0]
    np.testing.assert_allclose(bent.intrinsics("static"), plain.intrinsics("static"))
    K = bent.intrinsics("static").copy()
    K[:2, 2] -= 0.5
    said = cv2.undistort(plain.rgb("static", 2), K, np.array(coefficients))
    np.testing.assert_allclose(bent.rgb("static", 2), said, atol=1)
    assert np.nanmax(bent.depth("static", 2)) == pytest.approx(0.702)
    fisheye = READER.open(recording(tmp_path / "fish.mcap", distortion=(0.3, 0, 0, 0), model="equidistant"), 0)
    assert "('equidistant'), which is not removed" in fisheye.info.notes[0]
    np.testing.assert_array_equal(fisheye.rgb("static", 2), plain.rgb("static", 2))


def test_a_cut_file_opens_up_to_its_last_whole_chunk_and_says_so(tmp_path: Path) -> None:
    path = recording(tmp_path / "trial.mcap", CompressionType.NONE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    episode = READER.open(path, 0)
    assert 1 < episode.info.length < LENGTH
    assert "damaged after" in episode.info.notes[0]
    assert shown_frame(episode.rgb("static", episode.info.length - 1)) == episode.info.length - 1


@pytest.mark.parametrize("claim", [2**40, 10, 2**27])
def test_a_chunk_that_lies_about_its_size_is_refused(tmp_path: Path, claim: int) -> None:
    path = recording(tmp_path / "trial.mcap")
    data = bytearray(path.read_bytes())
    chunk = data.index(b"\x04\x00\x00\x00zstd")  # the chunk's compression; before it crc (4) and unpacked size (8)
    data[chunk - 12 : chunk - 4] = struct.pack("<Q", claim)
    path.write_bytes(data)
    with pytest.raises(UnsafeFileError, match="announces"):
        READER.open(path, 0)


def raw(path: Path, kind: str, definition: str, data: bytes) -> Path:
    """One message of a definition of one's own, its bytes as they are."""
    from mcap.writer import Writer as RawWriter

    with path.open("wb") as file:
        writer = RawWriter(file)
        writer.start()
        schema = writer.register_schema(f"sensor_msgs/msg/{kind}", "ros2msg", definition.encode())
        channel = writer.register_channel("/cam/image", "cdr", schema)
        writer.add_message(channel, 0, data, 0)
        writer.finish()
    return path


FIELDS = "uint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\n"
LINE = "=" * 80


@pytest.mark.parametrize(
    ("definition", "says"),
    [
        (f"a/None[4000000000] x\nuint8[] data\n{LINE}\nMSG: a/None\n", "parts that take no bytes"),
        (
            f"a/None[4000000000] x\nuint8[] data\n{LINE}\nMSG: a/None\nuint8 X=1 # no field\n",
            "parts that take no bytes",
        ),
        (f"a/None[4000000000] x\nuint8[] data\n{LINE}\nMSG: a/None\nuint8[0] x\n", "cannot be decoded"),
        (f"{FIELDS}float64[] data\n", "are no bytes"),
        (f"{FIELDS}string header\nuint8[] data\n", "cannot be decoded"),
        (f"{FIELDS}uint8[] data\n", "'header.frame_id' is missing"),
        (f"a/A x\nuint8[] data\n{LINE}\nMSG: a/A\na/A x\n", "cannot be decoded"),
    ],
)
def test_definitions_that_lie_are_one_quick_error(tmp_path: Path, definition: str, says: str) -> None:
    path = raw(tmp_path / "trial.mcap", "Image", definition, bytes([0, 1, 0, 0]) + bytes(64))
    start = time.process_time()
    with pytest.raises(EpisodeError, match=says) as caught:
        READER.open(path, 0)
    assert "trial.mcap: '/cam/image' message 0" in str(caught.value)
    assert time.process_time() - start < 2


def test_mutated_files_raise_nothing_but_our_errors(tmp_path: Path) -> None:
    good = recording(tmp_path / "trial.mcap", CompressionType.NONE).read_bytes()
    rng = np.random.default_rng(0)
    for attempt in range(60):
        data = bytearray(good)
        for at in rng.integers(8, len(data), 20):
            data[at] = rng.integers(256)
        path = tmp_path / f"{attempt}.mcap"
        path.write_bytes(data)
        try:
            episode = READER.open(path, 0)
            episode.rgb("static", 0)
            assert len(episode.features) >= 0
        except (EpisodeError, UnsafeFileError):
            continue
        finally:
            path.unlink()

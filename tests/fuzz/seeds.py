"""Good files of every format, small, by the formats' own libraries; the fuzzer damages them.

`BAIT` is where a file lies that no parser may open; seeds that can name other files name it.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.foreign_factories import example, png, tfrecord, write_video

from .mutate import Seed

RNG_SEED = 7


def npy_seeds(bait: Path, folder: Path) -> list[Seed]:
    """Plain arrays, Fortran order, big endian, each header version, and an array of objects."""
    arrays = [np.arange(6).reshape(2, 3), np.asfortranarray(np.ones((3, 4), np.float32)), np.array(1, ">i2")]
    plain = [_npy(array, version) for array, version in zip(arrays, ((1, 0), (2, 0), (3, 0)), strict=True)]
    return [Seed(data) for data in (*plain, _npy(np.array([{}], object), (1, 0)))]


def npz_seeds(bait: Path, folder: Path) -> list[Seed]:
    """A step of CALVIN stored and deflated, and the same with only the inner npy mutated, its zip intact."""
    arrays = {"robot_obs": np.arange(15.0), "rgb_static": np.zeros((4, 4, 3), np.uint8)}
    plain, packed = io.BytesIO(), io.BytesIO()
    np.savez(plain, **arrays)
    np.savez_compressed(packed, **arrays)
    return [
        Seed(plain.getvalue()),
        Seed(packed.getvalue()),
        Seed(_npy(np.arange(15.0), (1, 0)), _zipped),
        Seed(zlib.compress(_npy(np.zeros(99), (1, 0)))[2:-4], _zipped_raw),
    ]


def pickle_seeds(bait: Path, folder: Path) -> list[Seed]:
    """CALVIN's annotations in every protocol, and pickles that run code."""
    import pickle

    language = {
        "language": {"ann": ["pull", "push"], "task": ["a", "b"], "emb": np.zeros((2, 1, 3), np.float32)},
        "info": {"episodes": [], "indx": [(1, 2), (np.int64(3), np.int64(4))]},
    }
    seeds = [Seed(pickle.dumps(_object_array(language), protocol), _object_npy) for protocol in (2, 3, 4, 5)]
    code = [Seed(pickle.dumps(_Reduce(function, str(bait)), 2), _object_npy) for function in (eval, open, _touch)]
    return [*seeds, *code, Seed(_object_npy(seeds[2].payload))]


class _Reduce:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


def _touch(path: str) -> None:
    Path(path).read_bytes()


def csv_seeds(bait: Path, folder: Path) -> list[Seed]:
    """Tables with names, quotes and other numbers."""
    texts = ("x,y,gripper\n0.1,2,1\n-3e-5,0,0\n", '"a b",c\r\n"1",2\r\n', "\ufeffx\n1\n\n2\n")
    return [Seed(text.encode()) for text in texts]


def json_seeds(bait: Path, folder: Path) -> list[Seed]:
    """meta/info.json of LeRobot, and its list of episodes."""
    info = {
        "codebase_version": "v2.1",
        "fps": 10,
        "chunks_size": 1000,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/{video_key}/episode_{episode_index:06d}.mp4",
        "features": {"observation.images.front": {"dtype": "video", "shape": [4, 4, 3], "names": None}},
    }
    escape = {**info, "data_path": str(bait), "video_path": f"../../{bait}"}
    return [Seed(json.dumps(content).encode()) for content in (info, {**info, "codebase_version": "v3.0"}, escape)]


def features_seeds(bait: Path, folder: Path) -> list[Seed]:
    """features.json of TensorFlow Datasets."""
    from tests.foreign_factories import rlds_features

    tree = {"observation": {"image": ("image", (4, 4, 3), "uint8")}, "action": ("tensor", (7,), "float32")}
    return [Seed(json.dumps(rlds_features(tree)).encode())]


def camera_seeds(bait: Path, folder: Path) -> list[Seed]:
    """camera.yaml, with the anchors and tags of YAML."""
    camera = (
        "static:\n  K: [[600, 0, 320], [0, 600, 240], [0, 0, 1]]\n  size: [480, 640]\n  pixel_centre: 0.5\n"
        "  T_world_camera: [[1, 0, 0, 0.1], [0, 1, 0, 0], [0, 0, 1, 0.5], [0, 0, 0, 1]]\n"
    )
    ros = (
        "image_width: 640\nimage_height: 480\ncamera_name: static\ndistortion_model: plumb_bob\n"
        "camera_matrix: {rows: 3, cols: 3, data: [600, 0, 320, 0, 600, 240, 0, 0, 1]}\n"
        "distortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0, 0, 0, 0]}\n"
    )
    hostile = f"static: &a\n  K: !!python/object/apply:builtins.open ['{bait}']\n  size: *a\n"
    return [
        Seed(camera.encode()),
        Seed(ros.encode()),
        Seed(hostile.encode()),
        Seed(json.dumps({"static": {"K": [[1, 0, 0]] * 3}}).encode()),
    ]


def meta_seeds(bait: Path, folder: Path) -> list[Seed]:
    """meta.yaml of a folder of videos."""
    meta = (
        "instruction: put the cup on the saucer\noutcome: success\nfps: 30\ndepth_unit: mm\ndepth_origin: true\n"
        "depth_scale: metric\naction_space: {metres_per_unit: 1, radians_per_unit: 0.5, frame: base}\n"
    )
    levels = [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]\n" for at in range(1, 12)]
    bomb = f"a0: &a0 [x, x]\n{''.join(levels)}instruction: *a11\noutcome: *a11\n"
    return [Seed(meta.encode()), Seed(bomb.encode())]


def calvin_config_seeds(bait: Path, folder: Path) -> list[Seed]:
    """The cameras of CALVIN's merged_config.yaml."""
    from tests.calvin_factory import calvin_config
    from tests.factories import make_recording

    return [Seed(calvin_config(make_recording(length=2, frame_stride=1, size=(8, 8))).encode())]


def tfrecord_seeds(bait: Path, folder: Path) -> list[Seed]:
    """Two episodes with images; the record alone, whose checksums are made afterwards; and the file as it is."""
    image = png(np.zeros((4, 4, 3), np.uint8))
    record = example(
        {
            "steps/observation/image": [image, image],
            "steps/action": np.zeros(14, np.float32),
            "steps/is_first": np.array([1, 0]),
            "steps/reward": np.array([0.0, 1.0]),
            "steps/language_instruction": [b"put the cup down", b"put the cup down"],
        }
    )
    return [Seed(record, lambda payload: tfrecord([payload])), Seed(tfrecord([record, record]))]


def parquet_seeds(bait: Path, folder: Path) -> list[Seed]:
    """Numbers, lists, texts and images; the footer alone in front of a good body, and whole files."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "episode_index": [0, 0, 1],
            "action": [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]],
            "task": ["a", "b", "c"],
            "image": [{"bytes": b"\x89PNG", "path": None}] * 3,
        }
    )
    seeds: list[Seed] = []
    for compression in ("none", "snappy", "zstd"):
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression=compression)
        data = buffer.getvalue()
        footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        body = data[:footer]
        seeds += [Seed(data), Seed(data[footer:-8], lambda payload, body=body: _with_footer(body, payload))]
    return seeds


def hdf5_seeds(bait: Path, folder: Path) -> list[Seed]:
    """A demonstration in the oldest and the newest form of the format, and some that point at the bait."""
    import h5py

    seeds: list[Seed] = []
    for form in ("earliest", "latest"):
        for fill in (_fill_wrist, _fill_depth, _external_link, _external_storage, _virtual_dataset):
            buffer = io.BytesIO()
            with h5py.File(buffer, "w", libver=form) as file:
                fill(_demo(file), bait)
            seeds.append(Seed(buffer.getvalue()))
    return seeds


def png16_seeds(bait: Path, folder: Path) -> list[Seed]:
    """Depth as PNG, and as TIFF packed and not; a PNG whose checksums are right whatever is in it."""
    depth = np.arange(64, dtype=np.uint16).reshape(8, 8) * 100
    tiffs: list[Seed] = []
    for compression in (None, "tiff_lzw", "tiff_adobe_deflate"):
        buffer = io.BytesIO()
        Image.fromarray(depth).save(buffer, "TIFF", compression=compression)
        tiffs.append(Seed(buffer.getvalue()))
    return [Seed(png(depth)), Seed(png(depth), _with_png_checksums), *tiffs]


def image_seeds(bait: Path, folder: Path) -> list[Seed]:
    """Colour images: JPEG plain and progressive, PNG in colours, grey and with a palette."""
    pixels = np.random.default_rng(RNG_SEED).integers(0, 255, (16, 24, 3), np.uint8)
    seeds = [Seed(png(pixels), _with_png_checksums), Seed(png(pixels[..., 0]))]
    for options in ({"quality": 80}, {"progressive": True}, {"quality": 95, "subsampling": 0}):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", **options)
        seeds.append(Seed(buffer.getvalue()))
    buffer = io.BytesIO()
    Image.fromarray(pixels).quantize(8).save(buffer, "PNG", transparency=0)
    return [*seeds, Seed(buffer.getvalue())]


def video_seeds(bait: Path, folder: Path) -> list[Seed]:
    """Four frames in each container, and playlists that name the bait."""
    frames = np.random.default_rng(RNG_SEED).integers(0, 255, (4, 32, 32, 3), np.uint8)
    seeds: list[Seed] = []
    for name, codec in (("v.mp4", "libx264"), ("v.mkv", "ffv1"), ("v.webm", "libvpx-vp9"), ("v.avi", "mpeg4")):
        write_video(folder / name, frames, codec=(codec,))
        seeds.append(Seed((folder / name).read_bytes()))
        (folder / name).unlink()
    playlists = (f"#EXTM3U\n#EXTINF:1,\nfile://{bait}\n", f"ffconcat version 1.0\nfile '{bait}'\n")
    return [*seeds, *(Seed(text.encode()) for text in playlists)]


def model_seeds(bait: Path, folder: Path) -> list[Seed]:
    """A MuJoCo model, and one with an entity."""
    from tests.factories import make_recording
    from tests.libero_factory import model_text

    good = model_text(make_recording(length=2, frame_stride=1, size=(8, 8)))
    entity = f'<!DOCTYPE m [<!ENTITY x SYSTEM "file://{bait}">]><mujoco><body name="&x;"/></mujoco>'
    return [Seed(good.encode()), Seed(entity.encode())]


def stream_seeds(bait: Path, folder: Path) -> list[Seed]:
    """The compressed images of a packed episode: a safetensors file of numbered pieces."""
    from trainer.episodes.streams import write_delta, write_jpeg

    frames = np.random.default_rng(RNG_SEED).integers(0, 255, (3, 8, 8, 3), np.uint8)
    seeds: list[Seed] = []
    for write in (write_delta, write_jpeg):
        write(folder / "stream", frames)
        seeds.append(Seed((folder / "stream").read_bytes()))
    return seeds


def _npy(array: np.ndarray, version: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=version, allow_pickle=True)
    return buffer.getvalue()


def _object_array(value: Any) -> np.ndarray:
    array = np.empty((), object)
    array[()] = value
    return array


def _object_npy(payload: bytes) -> bytes:
    return _npy(_object_array(None), (1, 0))[:128] + payload


def _zipped(payload: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("robot_obs.npy"), payload)
    return buffer.getvalue()


def _zipped_raw(payload: bytes) -> bytes:
    """An archive whose member is this deflated stream, whatever is in it, with a true length and a made-up checksum."""
    name, size = b"rgb_static.npy", 128 + 99 * 8
    fields = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0x21, zlib.crc32(payload), len(payload), size, len(name), 0)
    local = b"PK\x03\x04" + fields + name + payload
    central = b"PK\x01\x02" + struct.pack("<H", 20) + fields + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    return local + central + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)


def _with_footer(body: bytes, footer: bytes) -> bytes:
    return body + footer + len(footer).to_bytes(4, "little") + b"PAR1"


def _with_png_checksums(data: bytes) -> bytes:
    """Walks through the chunks as far as their lengths make sense, and puts right checksums behind them."""
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        length = int.from_bytes(out[at : at + 4], "big")
        if at + 12 + length > len(out):
            break
        end = at + 8 + length
        out[end : end + 4] = zlib.crc32(out[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(out)


def _demo(file: Any) -> Any:
    """What every demonstration has: texts, a packed stream, actions."""
    rng = np.random.default_rng(RNG_SEED)
    data = file.create_group("data")
    data.attrs["problem_info"] = '{"language_instruction": "put the cup down"}'
    demo = data.create_group("demo_0")
    demo.attrs["model_file"] = "<mujoco/>"
    obs = demo.create_group("obs")
    obs.create_dataset("agentview_rgb", data=rng.integers(0, 255, (2, 4, 4, 3), np.uint8), compression="gzip")
    demo["actions"] = rng.normal(size=(2, 7))
    return demo


def _fill_wrist(demo: Any, bait: Path) -> None:
    """A second camera, stored plain, the state and the outcome."""
    obs = demo["obs"]
    obs["eye_in_hand_rgb"] = np.ones((2, 4, 4, 3), np.uint8)
    obs["ee_states"], obs["gripper_states"] = np.ones((2, 6)), np.ones((2, 2))
    demo["dones"] = np.array([0, 1], np.uint8)


def _fill_depth(demo: Any, bait: Path) -> None:
    """Depth, shuffled and with checksums in several pieces, and a link within the file."""
    import h5py

    packed = {"chunks": (1, 4, 4), "compression": "lzf", "shuffle": True, "fletcher32": True}
    demo["obs"].create_dataset("agentview_depth", data=np.ones((2, 4, 4), np.float32), **packed)
    demo["states"] = h5py.SoftLink("/data")


def _external_link(demo: Any, bait: Path) -> None:
    import h5py

    demo["obs"]["eye_in_hand_rgb"] = h5py.ExternalLink(str(bait), "/x")


def _external_storage(demo: Any, bait: Path) -> None:
    demo["obs"].create_dataset("eye_in_hand_depth", (2, 4, 4), "f4", external=[(str(bait), 0, 128)])


def _virtual_dataset(demo: Any, bait: Path) -> None:
    import h5py

    layout = h5py.VirtualLayout((2, 4, 4), "f4")
    layout[:] = h5py.VirtualSource(str(bait), "x", (2, 4, 4))
    demo["obs"].create_virtual_dataset("agentview_depth", layout)

"""The parsers that are fuzzed: how each is given a file, and how far what it gives back is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import seeds
from .mutate import Seed
from .seeds_mcap import mcap_seeds

CHILD = ("subprocess.Popen",)  # a library or decoder in a process of its own


@dataclass(frozen=True, kw_only=True)
class Target:
    """One parser.

    Attributes:
        file: What the input is called below the root.
        seeds: Makes the good files, given the path of the bait and a folder to write in.
        words: The format's magic numbers, keys and names.
        read: Uses the parser on the file: `read(path, root)`. Returns, or raises one of the workbench's own errors.
        allowed: What this parser does that others must not, see `Guard`.
        share: One input for so many of the others': media decoders in processes of their own are slow.
        rss_mb: Resident memory of this process that is too much.
    """

    file: str
    seeds: Callable[[Path, Path], Sequence[Seed]]
    words: tuple[bytes, ...]
    read: Callable[[Path, Path], object]
    allowed: tuple[str, ...] = ()
    share: int = 1
    rss_mb: int = 512


def _read_npy(path: Path, root: Path) -> None:
    from trainer.episodes.safe_npy import read_npy

    read_npy(path, root)


def _read_npz(path: Path, root: Path) -> None:
    from trainer.episodes.safe_npy import NpzFile

    with NpzFile(path, root) as file:
        for name in file.names:
            file.header(name)
            file.read(name)


def _read_pickle(path: Path, root: Path) -> None:
    from trainer.episodes.readers import calvin_split
    from trainer.episodes.restricted_pickle import read_object_npy

    calvin_split._spoken(read_object_npy(path, root), path)


def _read_csv(path: Path, root: Path) -> None:
    from trainer.episodes.readers.folder_tables import flat, read_table

    flat(read_table(path, root).columns)


def _read_info(path: Path, root: Path) -> None:
    from trainer.episodes.readers.lerobot_meta import EpisodeEntry, LeRobotMeta

    meta = LeRobotMeta(root)
    entry = EpisodeEntry(index=3, length=2, tasks=(), fields={"data/chunk_index": 0, "data/file_index": 1})
    found = [meta.data_file(entry)]
    if meta.fps and not meta.is_v3:
        found += [meta.video(entry, key).path for key in meta.features]
    if any(".." in name.parts or not name.is_relative_to(root) for name in found):
        raise AssertionError(f"a template led out of the dataset: {found}")


def _read_json_lines(path: Path, root: Path) -> None:
    from trainer.episodes.safe_json import read_json_lines

    read_json_lines(path, root)


def _read_features(path: Path, root: Path) -> None:
    from trainer.episodes.readers.rlds_features import read_features

    read_features(path, root)


def _read_camera(path: Path, root: Path) -> None:
    from trainer.episodes.readers.folder_cameras import read_cameras

    read_cameras(root, ["static"])


def _read_meta(path: Path, root: Path) -> None:
    from trainer.episodes.readers.folder_facts import read_facts

    read_facts(root)


def _read_calvin_config(path: Path, root: Path) -> None:
    from trainer.episodes.readers.calvin_camera import read_cameras

    for camera in read_cameras(root).values():
        camera.intrinsics((4, 4))


def _read_tfrecord(path: Path, root: Path) -> None:
    from trainer.episodes.readers import rlds
    from trainer.episodes.readers.example import parse_example
    from trainer.episodes.readers.rlds_features import FeatureSpec
    from trainer.episodes.readers.tfrecord import index_records, read_record

    image = FeatureSpec(name="steps/observation/image", kind="image", shape=(4, 4, 3), dtype="uint8")
    action = FeatureSpec(name="steps/action", kind="tensor", shape=(7,), dtype="float32")
    file = index_records(path)
    for span in file.spans[:4]:
        features = parse_example(read_record(path, span), str(path))
        record = rlds._Record(features, {spec.name: spec for spec in (image, action)}, str(path))
        episode = record.lazy("bridge_dataset", "0" * 64, ())
        episode.rgb(episode.info.views[0], 0)


def _read_mcap(path: Path, root: Path) -> None:
    from trainer.episodes.readers import mcap, mcap_file

    mcap_file._opened.cache_clear()
    episode = mcap.READER.open(path, 0)
    for view in episode.info.views:
        for step in (0, episode.info.length - 1):
            episode.rgb(view, step)
            if episode.has("depth", view):
                episode.depth(view, step)
    len(episode.features)


def _read_parquet(path: Path, root: Path) -> None:
    from trainer.episodes.readers.safe_parquet import ParquetTable, numbers_of

    table = ParquetTable(path, root)
    for name in table.columns[:8]:
        column = table.read([name]).column(0)
        if name in ("action", "episode_index"):
            numbers_of(column, f"{path}: '{name}'")
        else:
            column.to_pylist()


def _read_hdf5(path: Path, root: Path) -> None:
    from trainer.episodes.readers.libero_demo import Demo, read_facts

    facts = read_facts(path)
    for listed in facts.demos[:2]:
        demo = Demo(path=path, name=listed.name, upright=facts.upright)
        demo.model_text()
        if listed.length:
            demo.numbers(listed.length)
            for view in listed.views:
                demo.rgb(view, listed.length - 1)


def _read_depth_image(path: Path, root: Path) -> None:
    from trainer.episodes.media.images import decode_depth_image, read_image_file

    decode_depth_image(read_image_file(path), path)


def _read_image(path: Path, root: Path) -> None:
    from trainer.episodes.media.images import decode_image, image_size, read_image_file

    data = read_image_file(path)
    if decode_image(data, path).shape[:2] != image_size(data, path):
        raise AssertionError("an image has another size than its header says")


def _read_video(path: Path, root: Path) -> None:
    from trainer.episodes.media.video import Video

    video = Video(path)  # whatever it is: the decoder itself is asked about playlists too
    for index in {0, len(video) // 2, video.readable - 1}:
        video.frame(index)


def _read_model(path: Path, root: Path) -> None:
    from trainer.episodes.readers.libero_model import parse_model

    for camera in parse_model(path.read_bytes().decode("utf-8", "replace")).cameras.values():
        camera.intrinsics((8, 8))


def _read_stream(path: Path, root: Path) -> None:
    from trainer.episodes.streams import DeltaStream, JpegStream

    shape = (3, 8, 8, 3)
    stream = DeltaStream(path, shape, "uint8") if b'"000001"' not in path.read_bytes() else JpegStream(path, shape)
    for index in range(3):
        stream.frame(index)


_YAML = (
    b"!!python/object/apply:os.system",
    b"&a",
    b"*a",
    b"<<: *a",
    b"!!",
    b"---\n",
    b"? ",
    b".inf",
    b".nan",
    b"0x",
    b"1:2",
)
_JSON = (
    b'{"a":',
    b"[[",
    b"null",
    b"true",
    b'"\\ud800"',
    b"NaN",
    b"1e999",
    b"{}",
    b"..",
    b"/etc/passwd",
    b"{episode_index",
    b"}",
)
_ZIP = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"../", b".npy", b"robot_obs")
_NPY = (b"\x93NUMPY", b"'descr'", b"'<f8'", b"'|O'", b"'shape'", b"(1, 2)", b"True", b"__import__('os')", b"'V8'")
_PICKLE = (
    *(b"c__builtin__\neval\n", b"\x8c\x05numpy", b"\x93", b"R", b"b", b"(", b"\x85", b"\x94", b"h\x00", b"."),
    *(
        b"\x8c\x08builtins\x8c\x07getattr\x93",
        b"\x8c\x0cnumpy._core.multiarray",
        b"\x8c\x0c_reconstruct",
        b"Q",
        b"\x82\x01",
    ),
)
_HDF5 = (b"OHDR", b"OCHK", b"FRHP", b"FHDB", b"BTHD", b"TREE", b"SNOD", b"HEAP", b"GCOL", b"\x89HDF\r\n\x1a\n", b"EADB")
_PNG = (b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"acTL", b"eXIf", b"II*\x00", b"MM\x00*")
_JPEG = (
    b"\xff\xc0",
    b"\xff\xc4",
    b"\xff\xda",
    b"\xff\xdb",
    b"\xff\xdd",
    b"\xff\xd8",
    b"\xff\xd9",
    b"\xff\xe1",
    b"\xff\xee",
)
_MCAP = (b"\x89MCAP0\r\n", b"zstd", b"lz4", b"cdr", b"ros2msg", b"16UC1", b"32FC1", b"string[] a\n", b"uint8[<=9] b\n")
_MODEL = (
    b"<!DOCTYPE",
    b"<!ENTITY",
    b"<![CDATA[",
    b"&lt;",
    b"<?xml",
    b"<camera",
    b"<body",
    b"mode=",
    b"quat=",
    b"/>",
    b"nan",
)
_VIDEO = (
    b"moov",
    b"mdat",
    b"trak",
    b"stbl",
    b"stsz",
    b"stco",
    b"dref",
    b"url ",
    b"file:///etc/passwd",
    b"\x1a\x45\xdf\xa3",
)

TARGETS: dict[str, Target] = {
    "npy": Target(file="a.npy", seeds=seeds.npy_seeds, words=_NPY, read=_read_npy),
    "npz": Target(file="a.npz", seeds=seeds.npz_seeds, words=(*_ZIP, *_NPY), read=_read_npz),
    "pickle": Target(file="auto_lang_ann.npy", seeds=seeds.pickle_seeds, words=_PICKLE, read=_read_pickle),
    "hdf5": Target(file="a.hdf5", seeds=seeds.hdf5_seeds, words=_HDF5, read=_read_hdf5, allowed=CHILD),
    "tfrecord": Target(file="a.tfrecord", seeds=seeds.tfrecord_seeds, words=(b"steps/", b"\x0a"), read=_read_tfrecord),
    "mcap": Target(file="a.mcap", seeds=mcap_seeds, words=_MCAP, read=_read_mcap),
    "parquet": Target(
        file="a.parquet",
        seeds=seeds.parquet_seeds,
        words=(b"PAR1", b"\x15\x00"),
        read=_read_parquet,
        allowed=CHILD,
    ),
    "json": Target(file="meta/info.json", seeds=seeds.json_seeds, words=_JSON, read=_read_info),
    "json lines": Target(file="episodes.jsonl", seeds=seeds.json_seeds, words=(*_JSON, b"\n"), read=_read_json_lines),
    "features.json": Target(file="features.json", seeds=seeds.features_seeds, words=_JSON, read=_read_features),
    "camera.yaml": Target(file="camera.yaml", seeds=seeds.camera_seeds, words=_YAML, read=_read_camera),
    "meta.yaml": Target(file="meta.yaml", seeds=seeds.meta_seeds, words=_YAML, read=_read_meta),
    "calvin config": Target(
        file=".hydra/merged_config.yaml",
        seeds=seeds.calvin_config_seeds,
        words=_YAML,
        read=_read_calvin_config,
    ),
    "csv": Target(file="state.csv", seeds=seeds.csv_seeds, words=(b'"', b",", b"\r", b"\0"), read=_read_csv),
    "mujoco xml": Target(file="a.xml", seeds=seeds.model_seeds, words=_MODEL, read=_read_model),
    "packed stream": Target(file="rgb", seeds=seeds.stream_seeds, words=(*_JSON, b'"dtype":"U8"'), read=_read_stream),
    "png16, tiff": Target(
        file="a.png",
        seeds=seeds.png16_seeds,
        words=_PNG,
        read=_read_depth_image,
        allowed=CHILD,
        share=100,
    ),
    "jpeg, png": Target(
        file="a.jpg",
        seeds=seeds.image_seeds,
        words=(*_JPEG, *_PNG),
        read=_read_image,
        allowed=CHILD,
        share=100,
    ),
    "video": Target(file="a.mp4", seeds=seeds.video_seeds, words=_VIDEO, read=_read_video, allowed=CHILD, share=100),
}
"""Every parser by its name."""

"""RLDS (Bridge, Open X-Embodiment, LIBERO conversions): TFRecord files as TensorFlow Datasets writes them, without it.

A dataset is a folder with features.json and one or more *.tfrecord* files; every record is an episode, counted over the
files in the order of their names. Listing reads no image.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from model.errors import EpisodeError, WorkbenchError

from ..camera import Camera
from ..episode import ActionSpace, Episode, EpisodeInfo, Outcome
from ..lazy import LazyEpisode, Numbers
from ..media.images import decode_image, image_size
from ..safe_path import plain_file
from .example import Feature, parse_example
from .libero_style import NOTE, mirrored_back, with_libero_intrinsics
from .reader import EpisodeSummary, Reader
from .rlds_conventions import Convention, convention_of
from .rlds_depth import depth_reader, depth_specs
from .rlds_features import FeatureSpec, read_features
from .tfrecord import RecordFile, index_records, read_record
from .views import assign_views, split_views

FEATURES = "features.json"
_MAX_FILE = 64 << 30
_WIDEST = 128  # entries; wider features (embeddings) are not shown
_ASSUMED_HZ = 10.0
_INSTRUCTIONS = ("language_instruction", "natural_language_instruction", "instruction", "language_instruction_2")
_NUMBERS = ("float", "int", "uint", "bool")
_SHARD = re.compile(r"^(?P<dataset>.+?)-[A-Za-z0-9_]+\.tfrecord")


class RldsReader:
    """Reads datasets of TensorFlow Datasets whose records are episodes of steps."""

    format = "rlds"
    looks_for = f"an RLDS dataset ({FEATURES} and *.tfrecord files)"

    def recognise(self, path: Path) -> bool:
        """Whether a folder has features.json and a TFRecord file."""
        return (path / FEATURES).is_file() and bool(_files(path))

    def episodes(self, path: Path) -> Sequence[EpisodeSummary]:
        """All records; reads the instruction and the number of steps of each, no image."""
        specs, dataset = read_features(path / FEATURES, path), _dataset(path)
        views = assign_views(_image_names(specs))
        depth = ("true", "metric") if depth_specs(specs) else None
        summaries: list[EpisodeSummary] = []
        for file, span in _records(path):
            instruction, length, outcome = _glance(file.path, span)
            summaries.append(
                EpisodeSummary(
                    name=f"{path}#{len(summaries)}",
                    source=f"rlds {dataset}",
                    instruction=instruction,
                    length=length,
                    views=tuple(views),
                    depth=depth,
                    outcome=outcome,
                )
            )
        return summaries

    def open(self, path: Path, index: int) -> Episode:
        """One record; its checksum is compared."""
        specs = read_features(path / FEATURES, path)
        records = list(_records(path))
        if not 0 <= index < len(records):
            damaged = {f"; {file.path.name} ends early, {file.complaint}" for file, _ in records if file.complaint}
            more = "".join(sorted(damaged)[:3])
            raise EpisodeError(f"{path}: has {len(records)} episodes, from #0; asked for #{index}{more}")
        file, span = records[index]
        data = read_record(file.path, span)
        is_last = span == file.spans[-1]
        notes = (f"{file.path.name} ends here, damaged: {file.complaint}",) if file.complaint and is_last else ()
        episode = _Record(parse_example(data, f"{file.path} #{index}"), specs, f"{path}#{index}")
        digest = hashlib.sha256((path / FEATURES).read_bytes() + b"\0rlds-1\0" + data).hexdigest()
        return episode.lazy(_dataset(path), digest, notes)


class _Record:
    """One parsed record with what features.json says of it."""

    def __init__(self, features: Mapping[str, Feature], specs: Mapping[str, FeatureSpec], name: str) -> None:
        self._features, self._specs, self._name = features, specs, name
        self._notes: list[str] = []
        self._length = _length(features)
        if not self._length:
            raise EpisodeError(f"{name}: has no steps")

    def lazy(self, dataset: str, digest: str, notes: tuple[str, ...]) -> LazyEpisode:
        known = convention_of(dataset)
        numbers = self._numbers()
        meant = None if known is None else known.convert(numbers)
        mirrored = known is not None and known.mirrored and meant is not None
        cameras = {name: self._camera(f"steps/observation/{name}", mirrored) for name in _image_names(self._specs)}
        views = assign_views(cameras)
        own, others = split_views(cameras, views)
        if mirrored:
            own = with_libero_intrinsics(own)
        assumed = [] if known else ["control_hz"]
        assumed += [f"K.{view}" for view in own if mirrored]
        assumed += [f"depth.{view}" for view, camera in own.items() if camera.depth is not None]
        has_depth = any(camera.depth is not None for camera in own.values())
        info = EpisodeInfo(
            source=f"rlds {dataset}",
            instruction=_instruction(self._features),
            length=self._length,
            control_hz=known.control_hz if known else _ASSUMED_HZ,
            views=tuple(own),
            depth_scale="metric" if has_depth else None,
            depth_origin="true" if has_depth else None,
            has_exact_flow=False,
            outcome=_outcome(self._features),
            action_space=_space(known, meant),
            assumed=tuple(assumed),
            notes=(*notes, *self._notes, *([NOTE] if mirrored else [])),
        )
        return LazyEpisode(
            name=self._name,
            info=info,
            content_hash=digest,
            frame_steps=np.arange(self._length),
            cameras=own,
            others=others,
            numbers=lambda: meant or Numbers(features=numbers),
        )

    def _camera(self, key: str, mirrored: bool) -> Camera:
        blobs = self._features[key].blobs() if key in self._features else []
        if len(blobs) != self._length:
            raise EpisodeError(f"{self._name}: '{key}' has {len(blobs)} images for {self._length} steps")
        where = f"{self._name}: {key}"

        def rgb(index: int) -> np.ndarray:
            image = decode_image(bytes(blobs[index]), f"{where} step {index}")
            return mirrored_back(image) if mirrored else image

        size = image_size(bytes(blobs[0]), f"{where} step 0")
        depth = depth_reader(key, size, self._features, self._specs, self._name)
        return Camera(source_name=key.removeprefix("steps/"), size=size, rgb=rgb, depth=depth)

    def _numbers(self) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for key, spec in self._specs.items():
            if not key.startswith("steps/") or spec.kind != "tensor" or not spec.dtype.startswith(_NUMBERS):
                continue
            width = int(np.prod([length or 0 for length in spec.shape]))
            if key in self._features and 0 < width <= _WIDEST:
                if self._features[key].holds_bytes:
                    self._notes.append(f"'{key}' is stored as bytes where numbers are expected; it is left out")
                    continue
                values = self._features[key].numbers()
                if len(values) != self._length * width:
                    raise EpisodeError(
                        f"{self._name}: '{key}' has {len(values)} numbers, expected {self._length} x {width}"
                    )
                found[key.removeprefix("steps/")] = values.reshape(self._length, width).astype(np.float64)
        return found


def _space(known: Convention | None, meant: Numbers | None) -> ActionSpace | None:
    return None if known is None or meant is None else known.action_space


def _files(path: Path) -> list[Path]:
    try:
        with os.scandir(path) as entries:
            return [path / name for name in sorted(entry.name for entry in entries) if ".tfrecord" in name]
    except OSError:
        return []


def _dataset(path: Path) -> str:
    match = _SHARD.match(_files(path)[0].name)
    return match["dataset"] if match else path.name


def _records(path: Path) -> Iterator[tuple[RecordFile, tuple[int, int]]]:
    for file in _files(path):
        stat = plain_file(file, path, max_bytes=_MAX_FILE)
        index = _index(file, stat.st_mtime_ns, stat.st_size)
        for span in index.spans:
            yield index, span


@lru_cache(maxsize=4096)
def _index(path: Path, modified: int, size: int) -> RecordFile:
    return index_records(path)


def _glance(path: Path, span: tuple[int, int]) -> tuple[str, int | None, Outcome | None]:
    """Instruction, length and outcome of a record, touching only those bytes of it that hold them."""
    try:
        with path.open("rb") as file:
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        features = parse_example(mapped[span[0] : sum(span)], str(path))
        return _instruction(features), _length(features) or None, _outcome(features)
    except (WorkbenchError, OSError, ValueError):
        return "", None, None  # opening it says what is wrong


def _image_names(specs: Mapping[str, FeatureSpec]) -> list[str]:
    prefix = "steps/observation/"
    return [
        key.removeprefix(prefix)
        for key, spec in sorted(specs.items())
        if key.startswith(prefix) and spec.kind == "image" and spec.dtype == "uint8" and spec.shape[2:] == (3,)
    ]


def _length(features: Mapping[str, Feature]) -> int:
    for key in ("steps/is_first", "steps/is_last", "steps/is_terminal"):
        if key in features:
            return len(features[key].integers())
    images = (feature for key, feature in features.items() if key.startswith("steps/") and feature.holds_bytes)
    return next((len(feature.blobs()) for feature in images), 0)  # images and texts are one a step


def _instruction(features: Mapping[str, Feature]) -> str:
    for name in _INSTRUCTIONS:
        for prefix in ("steps/", "steps/observation/"):
            feature = features.get(prefix + name)
            if feature is None or not feature.holds_bytes:  # Language Table's are numbers of characters
                continue
            blobs = feature.blobs()[:1]
            if blobs and len(blobs[0]):
                return bytes(blobs[0][:4096]).decode("utf-8", "replace")
    return ""


def _outcome(features: Mapping[str, Feature]) -> Outcome | None:
    """Success where the last step is rewarded with 1; a missing reward says nothing."""
    reward = features.get("steps/reward")
    values = reward.numbers() if reward is not None else np.empty(0)
    return "success" if len(values) and values[-1] >= 1 else None


READER: Reader = RldsReader()

"""The packed episode's schema: what a folder holds, whichever way its images are encoded. Strict in both directions.

    manifest.json        schema, version, encoding, content hash; size and sha256 of every other file. Written last
    meta.json            `EpisodeMeta`: what is known without decoding a frame
    arrays.safetensors   everything low-dimensional, at every control step, exactly as recorded
    VIEW_STREAM.EXT      one file a view and stream (rgb, depth, body), at the rendered steps

Dimensions: t control step, f rendered frame, h w pixels, n body, q simulator state.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from model.errors import EpisodeError

from .episode import VIEWS, ActionSpace, DepthOrigin, DepthScale, EpisodeInfo, Outcome, View

SCHEMA = "foresight-episode"
VERSION = 1
META_FILE = "meta.json"
ARRAYS_FILE = "arrays.safetensors"
FEATURE = "feature."  # before the name of a source's own numeric feature in ARRAYS_FILE

Encoding = Literal["compressed", "mapped"]
StreamKind = Literal["rgb", "depth", "body"]
STREAM_KINDS: tuple[StreamKind, ...] = get_args(StreamKind)
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)

T = TypeVar("T", bound=str)

_OMITTED_WHEN_EMPTY = ("assumed", "corrected", "notes")  # so that an episode without them keeps its bytes and its hash
MAX_LENGTH = 1_000_000
MAX_SIDE = 8192


@dataclass(frozen=True, kw_only=True)
class ViewMeta:
    """One camera: stored image size in pixels and the streams it has (`rgb` always)."""

    height: int
    width: int
    streams: tuple[StreamKind, ...]


@dataclass(frozen=True, kw_only=True)
class EpisodeMeta:
    """The content of meta.json; `feature_names` are those of the entries of the source's features, if it has any."""

    info: EpisodeInfo
    n_frames: int
    views: dict[View, ViewMeta]
    body_names: tuple[str, ...]
    feature_names: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def stream_shape(self, view: View, kind: StreamKind) -> tuple[int, ...]:
        """Shape of a whole stream: (f, h, w, 3) for rgb, (f, h, w) for the others."""
        size = self.views[view]
        return (self.n_frames, size.height, size.width, *((3,) if kind == "rgb" else ()))


def stream_dtype(kind: StreamKind) -> str:
    """The dtype a stream is stored in; depth counts 0.1 mm, see `codecs`."""
    return "uint16" if kind == "depth" else "uint8"


def meta_to_json(meta: EpisodeMeta) -> str:
    """Canonical JSON: sorted keys, so that equal episodes have equal bytes."""
    fields = dataclasses.asdict(meta)
    for name in _OMITTED_WHEN_EMPTY:
        if not fields["info"][name]:
            del fields["info"][name]
    if not meta.feature_names:
        del fields["feature_names"]
    return json.dumps(fields, indent=1, sort_keys=True, allow_nan=False)


def meta_from_json(text: str, where: Path) -> EpisodeMeta:
    """Parses meta.json; any surprise is an `EpisodeError` that names the file and the field."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EpisodeError(f"{where}: not JSON ({error}); pack the episode again") from None
    reader = _Fields(fields, where, "")
    info = _info(reader.fields_of("info"))
    n_frames = reader.integer("n_frames", 1, MAX_LENGTH)
    views: dict[View, ViewMeta] = {}
    sizes = reader.fields_of("views")
    for view in VIEWS:
        if view in info.views:
            size = sizes.fields_of(view)
            views[view] = ViewMeta(
                height=size.integer("height", 1, MAX_SIDE),
                width=size.integer("width", 1, MAX_SIDE),
                streams=tuple(kind for kind in STREAM_KINDS if kind in size.strings("streams", STREAM_KINDS)),
            )
            size.done()
            if "rgb" not in views[view].streams:
                raise size.error("streams", "must contain rgb")
    sizes.done()
    body_names = reader.strings("body_names")
    names = reader.fields_of("feature_names").lists_of_strings() if reader.has("feature_names") else {}
    reader.done()
    return EpisodeMeta(info=info, n_frames=n_frames, views=views, body_names=body_names, feature_names=names)


def _info(reader: _Fields) -> EpisodeInfo:
    space = None
    if reader.value("action_space") is not None:
        scales = reader.fields_of("action_space")
        space = ActionSpace(
            metres_per_unit=scales.number("metres_per_unit"),
            radians_per_unit=scales.number("radians_per_unit"),
            frame=scales.choice("frame", ("base", "tool")),
        )
        scales.done()
    named = reader.strings("views", VIEWS)
    views: tuple[View, ...] = tuple(view for view in VIEWS if view in named)
    if not views:
        raise reader.error("views", "must name a camera")
    info = EpisodeInfo(
        source=reader.string("source"),
        instruction=reader.string("instruction"),
        length=reader.integer("length", 1, MAX_LENGTH),
        control_hz=reader.number("control_hz"),
        frame_stride=reader.integer("frame_stride", 1, MAX_LENGTH),
        views=views,
        depth_scale=reader.optional_choice("depth_scale", get_args(DepthScale)),
        depth_origin=reader.optional_choice("depth_origin", get_args(DepthOrigin)),
        has_exact_flow=reader.boolean("has_exact_flow"),
        outcome=reader.optional_choice("outcome", get_args(Outcome)),
        action_space=space,
        task=reader.optional_string("task"),
        initial_state=reader.optional_integer("initial_state"),
        seed=reader.optional_integer("seed"),
        renderer=reader.optional_string("renderer"),
        assumed=reader.strings("assumed") if reader.has("assumed") else (),
        corrected=reader.strings("corrected") if reader.has("corrected") else (),
        notes=reader.strings("notes") if reader.has("notes") else (),
    )
    reader.done()
    return info


class _Fields:
    """Takes typed values out of a JSON object and remembers what nobody asked for."""

    def __init__(self, fields: Any, where: Path, prefix: str) -> None:
        self._where, self._prefix = where, prefix
        if not isinstance(fields, dict):
            raise EpisodeError(f"{where}: '{prefix.rstrip('.') or 'the file'}' must be a JSON object")
        self._fields: dict[str, Any] = fields
        self._left = set(self._fields)

    def error(self, name: str, problem: str) -> EpisodeError:
        return EpisodeError(f"{self._where}: field '{self._prefix}{name}' {problem}")

    def value(self, name: str) -> Any:
        if name not in self._fields:
            raise self.error(name, "is missing")
        self._left.discard(name)
        return self._fields[name]

    def has(self, name: str) -> bool:
        return name in self._fields

    def done(self) -> None:
        if self._left:
            raise self.error(min(self._left), "is unknown to this version")

    def fields_of(self, name: str) -> _Fields:
        return _Fields(self.value(name), self._where, f"{self._prefix}{name}.")

    def string(self, name: str) -> str:
        value = self.value(name)
        if not isinstance(value, str):
            raise self.error(name, f"must be text, got {value!r:.60}")
        return value

    def boolean(self, name: str) -> bool:
        value = self.value(name)
        if not isinstance(value, bool):
            raise self.error(name, f"must be true or false, got {value!r:.60}")
        return value

    def integer(self, name: str, low: int, high: int) -> int:
        value = self.value(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.error(name, f"must be an integer in {low}..{high}, got {value!r:.60}")
        return value

    def number(self, name: str) -> float:
        value = self.value(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < float("inf"):
            raise self.error(name, f"must be a positive number, got {value!r:.60}")
        return float(value)

    def choice(self, name: str, allowed: tuple[T, ...]) -> T:
        value = self.value(name)
        if value not in allowed:
            raise self.error(name, f"must be one of {', '.join(allowed)}, got {value!r:.60}")
        return value

    def strings(self, name: str, allowed: tuple[T, ...] | None = None) -> tuple[T, ...]:
        value = self.value(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(name, f"must be a list of texts, got {value!r:.60}")
        if allowed is not None and (len(set(value)) < len(value) or any(item not in allowed for item in value)):
            raise self.error(name, f"may hold {', '.join(allowed)}, each once, got {value!r:.60}")
        return tuple(value)

    def lists_of_strings(self) -> dict[str, tuple[str, ...]]:
        return {name: self.strings(name) for name in self._fields}

    def optional_string(self, name: str) -> str | None:
        return None if self.value(name) is None else self.string(name)

    def optional_integer(self, name: str) -> int | None:
        return None if self.value(name) is None else self.integer(name, 0, 2**63 - 1)

    def optional_choice(self, name: str, allowed: tuple[T, ...]) -> T | None:
        return None if self.value(name) is None else self.choice(name, allowed)

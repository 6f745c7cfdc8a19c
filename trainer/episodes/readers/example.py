"""`tf.train.Example` from its bytes: a map of names to lists of bytes, floats or integers. No compiled messages.

The wire format is protocol buffers' (https://protobuf.dev/programming-guides/encoding), the messages are
Example{1: Features}, Features{1: map<string, Feature>}, Feature{1: BytesList | 2: FloatList | 3: Int64List}, each list
{1: repeated value}, packed or not. Nothing is copied before it is asked for, and nothing is larger than the bytes are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Integer

from model.errors import EpisodeError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3
MAX_FEATURES = 2_000
_MAX_VALUES = 100_000  # of a list that is not packed: an image or a text of every step
_MAX_FLOAT_BYTES, _MAX_INTEGER_BYTES = 64 << 20, 4 << 20  # of one list; integers need thirty times their bytes
_MAX_PARTS = 4  # of an entry: a name and a list; protocol buffers let them come again, the last one counts


@dataclass(frozen=True)
class Feature:
    """One named list, still in its bytes. `where` is for messages. Members raise `EpisodeError` on another kind."""

    where: str
    kind: int
    data: memoryview

    @property
    def holds_bytes(self) -> bool:
        """Whether it is a list of bytes: images or texts."""
        return self.kind == _BYTES_LIST

    def blobs(self) -> list[memoryview]:
        """The values of a list of bytes."""
        self._expect(_BYTES_LIST, "bytes", len(self.data))
        return [
            value
            for number, value in _fields(self.data, self.where, _MAX_VALUES)
            if number == 1 and isinstance(value, memoryview)
        ]

    def floats(self) -> Float[np.ndarray, " n"]:
        """The values of a list of floats, float32."""
        self._expect(_FLOAT_LIST, "floats", _MAX_FLOAT_BYTES)
        parts: list[np.ndarray] = []
        for number, value in _fields(self.data, self.where, _MAX_VALUES):
            if number == 1 and isinstance(value, memoryview):
                if len(value) % 4:
                    raise EpisodeError(f"{self.where}: its floats are cut off")
                parts.append(np.frombuffer(value, "<f4"))
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def integers(self) -> Integer[np.ndarray, " n"]:
        """The values of a list of integers, int64."""
        self._expect(_INT64_LIST, "integers", _MAX_INTEGER_BYTES)
        parts: list[np.ndarray] = []
        for number, value in _fields(self.data, self.where, _MAX_VALUES):
            if number == 1:
                parts.append(np.array([value], np.uint64) if isinstance(value, int) else _varints(value, self.where))
        return np.concatenate(parts).astype(np.int64) if parts else np.empty(0, np.int64)

    def numbers(self) -> np.ndarray:
        """The values of a list of floats or integers."""
        return self.integers() if self.kind == _INT64_LIST else self.floats()

    def _expect(self, kind: int, name: str, most: int) -> None:
        if self.kind != kind:
            raise EpisodeError(f"{self.where}: is no list of {name}")
        if len(self.data) > most:
            raise EpisodeError(f"{self.where}: has {len(self.data)} bytes of {name}, at most {most} are read")


def parse_example(data: bytes | memoryview, where: str) -> dict[str, Feature]:
    """The features of an Example by name.

    Raises:
        EpisodeError: Not an Example, or damaged.
    """
    features: dict[str, Feature] = {}
    for number, message in _fields(memoryview(data), where, _MAX_PARTS):
        if number != 1 or not isinstance(message, memoryview):
            continue
        for entry_number, entry in _fields(message, where, MAX_FEATURES):
            if entry_number == 1 and isinstance(entry, memoryview):
                name, feature = _entry(entry, where)
                features[name] = feature
    if not features:
        raise EpisodeError(f"{where}: is no tf.train.Example")
    return features


def _entry(entry: memoryview, where: str) -> tuple[str, Feature]:
    name, kind, data = "", 0, memoryview(b"")
    for number, value in _fields(entry, where, _MAX_PARTS):
        if not isinstance(value, memoryview):
            continue
        if number == 1:
            name = bytes(value[:1024]).decode("utf-8", "replace")
        elif number == 2:
            for list_kind, content in _fields(value, where, _MAX_PARTS):
                if isinstance(content, memoryview):
                    kind, data = list_kind, content
    return name, Feature(f"{where}: {name}", kind, data)


def _fields(data: memoryview, where: str, most: int) -> Iterator[tuple[int, memoryview | int]]:
    """Numbers and values of the fields of a message: a span of bytes, or an integer for a varint."""
    at = count = 0
    while at < len(data):
        count += 1
        if count > most:
            raise EpisodeError(f"{where}: has more than {most} values where a recording has fewer")
        tag, at = _varint(data, at, where)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at, where)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(data, at, where)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise EpisodeError(f"{where}: damaged (wire type {wire})")
        if length > len(data) - at:
            raise EpisodeError(f"{where}: damaged (a field of {length} bytes where {len(data) - at} are left)")
        yield number, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int, where: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise EpisodeError(f"{where}: damaged (a number that does not end)")


def _varints(data: memoryview, where: str) -> np.ndarray:
    """Packed varints: seven bits a byte, the lowest first; a byte below 128 ends a number."""
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    if not len(raw):
        return np.empty(0, np.uint64)
    if not len(ends) or ends[-1] != len(raw) - 1:
        raise EpisodeError(f"{where}: damaged (a number that does not end)")
    starts = np.concatenate([[0], ends[:-1] + 1])
    place = np.arange(len(raw)) - np.repeat(starts, ends - starts + 1)
    if place.max() > 9:
        raise EpisodeError(f"{where}: damaged (a number of more than ten bytes)")
    return np.add.reduceat((raw & 0x7F).astype(np.uint64) << (7 * place).astype(np.uint64), starts)

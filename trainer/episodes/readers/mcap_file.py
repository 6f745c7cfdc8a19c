"""An MCAP file read within bounds: which messages there are, in one pass, and any one of them again.

Built on the `mcap` library's record reader. Chunks are unpacked here, because the library would unpack whatever they
announce.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from model.errors import EpisodeError, UnsafeFileError

from ..safe_path import plain_file
from .extra import library
from .mcap_messages import check_definition, check_message

MAGIC = b"\x89MCAP0\r\n"
MAX_FILE = 256 << 30
MAX_RECORD, MAX_CHUNK = 128 << 20, 128 << 20
MAX_MESSAGES = 1_000_000
MAX_SMALL = 128 << 20  # bytes of messages that are no images, kept in memory
_MAX_KEPT_SCHEMA = 64 << 10
_LATEST = (1 << 63) - 1  # ns; the year 2262
_PURPOSE = "an MCAP file"


@dataclass(frozen=True)
class Place:
    """Where a message lies: the file offset of its record or chunk, and its place among the chunk's messages."""

    offset: int
    index: int


@dataclass
class Topic:
    """One topic's messages. `data` is empty for images, whose messages are read again when they are asked for."""

    name: str
    schema: Any
    message_encoding: str
    times: list[int] = field(default_factory=list[int])
    places: list[Place] = field(default_factory=list[Place])
    data: list[bytes] = field(default_factory=list[bytes])


class McapFile:
    """The messages of a file by topic.

    Args:
        path: The file.

    Raises:
        EpisodeError: (by every member) Not an MCAP file, or damaged before its first message.
        UnsafeFileError: (by every member) It announces more than this program reads.
    """

    def __init__(self, path: Path) -> None:
        plain_file(path.resolve(), path.resolve().parent, max_bytes=MAX_FILE)
        self.path = path
        self.topics: dict[str, Topic] = {}
        self.complaint = ""
        self._lock = threading.Lock()
        self._chunk: tuple[int, list[Any]] | None = None
        self._index()
        if not any(topic.times for topic in self.topics.values()):
            raise EpisodeError(f"{path}: holds no message ({self.complaint or 'it is empty'})")

    def message(self, topic: Topic, index: int) -> Any:
        """One decoded message.

        Raises:
            EpisodeError: It cannot be decoded.
        """
        data = topic.data[index] if topic.data else self._read(topic.places[index])
        kind = schema_name(topic)
        try:
            decode = _decoder(topic)
            if decode is None:
                raise ValueError(f"{topic.message_encoding} {getattr(topic.schema, 'encoding', '')} is not read")
            check_definition(kind, bytes(getattr(topic.schema, "data", b"")).decode("utf-8", "replace"), len(data))
            message = decode(data)
            check_message(kind, message)
            return message
        except Exception as error:  # the decoder follows a schema that the file itself brings
            why = str(error)[:160] or type(error).__name__
            raise EpisodeError(f"{self.path}: '{topic.name}' message {index} cannot be decoded ({why})") from None

    def _index(self) -> None:
        """Walks through all records; what is damaged ends the walk and is remembered."""
        records = library("mcap.records", _PURPOSE)
        channels: dict[int, tuple[Any, str, Any]] = {}
        schemas: dict[int, Any] = {}
        small, count = 0, 0
        try:
            with self.path.open("rb") as file:
                reader = library("mcap.stream_reader", _PURPOSE).StreamReader(
                    file, emit_chunks=True, record_size_limit=MAX_RECORD
                )
                offset = len(MAGIC)
                for record in reader.records:
                    if isinstance(record, records.DataEnd):
                        break  # what follows says again what was read
                    inner = self._unpack(record) if isinstance(record, records.Chunk) else [record]
                    for index, item in enumerate(inner):
                        if isinstance(item, records.Schema):
                            schemas[item.id] = item
                        elif isinstance(item, records.Channel):
                            channels[item.id] = (item.topic, item.message_encoding, schemas.get(item.schema_id))
                        elif isinstance(item, records.Message) and item.channel_id in channels:
                            kept = self._add(channels[item.channel_id], item, Place(offset, index))
                            small, count = small + kept, count + 1
                    if small > MAX_SMALL or count > MAX_MESSAGES:
                        raise UnsafeFileError(f"{self.path}: more than {MAX_MESSAGES} messages or {MAX_SMALL} bytes")
                    offset = file.tell()
        except (UnsafeFileError, OSError):
            raise
        except Exception as error:  # the library raises many kinds at a damaged record
            self.complaint = f"damaged after {count} messages: {str(error)[:100] or type(error).__name__}"

    def _add(self, channel: tuple[Any, str, Any], message: Any, place: Place) -> int:
        name, encoding, schema = channel
        if message.log_time > _LATEST:
            raise ValueError(f"a message of '{name:.40}' was logged after the end of time")
        topic = self.topics.setdefault(name, Topic(name=name, schema=schema, message_encoding=encoding))
        topic.times.append(message.log_time)
        topic.places.append(place)
        if is_image(topic):
            return 0
        topic.data.append(message.data)
        return len(message.data)

    def _read(self, place: Place) -> bytes:
        with self._lock:
            if self._chunk is None or self._chunk[0] != place.offset:
                self._chunk = (place.offset, self._records_at(place.offset))
            return self._chunk[1][place.index].data

    def _records_at(self, offset: int) -> list[Any]:
        stream = library("mcap.stream_reader", _PURPOSE)
        with self.path.open("rb") as file:
            file.seek(offset)
            reader = stream.StreamReader(file, skip_magic=True, emit_chunks=True, record_size_limit=MAX_RECORD)
            record = next(iter(reader.records))
        return self._unpack(record) if hasattr(record, "uncompressed_size") else [record]

    def _unpack(self, chunk: Any) -> list[Any]:
        """The records of a chunk, unpacked to the size it announces and not further."""
        size = chunk.uncompressed_size
        if size > MAX_CHUNK:
            raise UnsafeFileError(f"{self.path}: a chunk announces {size} bytes, at most {MAX_CHUNK}")
        if chunk.compression == "zstd":
            data = library("zstandard", _PURPOSE).ZstdDecompressor().stream_reader(chunk.data).read(size + 1)
        elif chunk.compression == "lz4":
            data = library("lz4.frame", _PURPOSE).LZ4FrameDecompressor().decompress(chunk.data, max_length=size + 1)
        else:
            data = chunk.data
        if len(data) != size:
            raise UnsafeFileError(f"{self.path}: a chunk does not hold the {size} bytes that it announces")
        plain = dataclasses.replace(chunk, compression="", data=data)
        return library("mcap.stream_reader", _PURPOSE).breakup_chunk(plain, validate_crc=True)


def _decoder(topic: Topic) -> Callable[[bytes], Any] | None:
    schema = topic.schema
    if schema is None or len(schema.data) > _MAX_KEPT_SCHEMA:
        return library("mcap_ros2.decoder", _PURPOSE).DecoderFactory().decoder_for(topic.message_encoding, schema)
    return _kept_decoder(topic.message_encoding, schema.name, schema.encoding, schema.data)


@lru_cache(maxsize=64)
def _kept_decoder(message_encoding: str, name: str, encoding: str, definition: bytes) -> Callable[[bytes], Any] | None:
    """Made once for all files of a robot: a definition takes longer to parse than a small message to decode."""
    schema = library("mcap.records", _PURPOSE).Schema(id=1, name=name, encoding=encoding, data=definition)
    return library("mcap_ros2.decoder", _PURPOSE).DecoderFactory().decoder_for(message_encoding, schema)


def is_image(topic: Topic) -> bool:
    """Whether its messages are images, raw or compressed."""
    return schema_name(topic) in ("Image", "CompressedImage")


def schema_name(topic: Topic) -> str:
    """The last part of its message type: `sensor_msgs/msg/Image` -> `Image`."""
    return str(getattr(topic.schema, "name", "")).rpartition("/")[2]


def open_mcap(path: Path) -> McapFile:
    """The file, indexed once as long as it does not change."""
    try:
        stat = path.stat()
    except OSError as error:
        raise EpisodeError(f"{path}: cannot be read ({error.strerror})") from None
    return _opened(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _opened(path: Path, modified: int, size: int) -> McapFile:
    return McapFile(path)

"""TFRecord files without TensorFlow: length, its checksum, data, its checksum, again and again.

Layout and masked CRC-32C as documented at https://www.tensorflow.org/tutorials/load_data/tfrecord.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from model.errors import EpisodeError, UnsafeFileError

from .extra import library

MAX_RECORD_BYTES = 256 << 20
MAX_RECORDS = 100_000
_HEADER = struct.Struct("<QI")
_FOOTER_BYTES = 4
_MASK_DELTA = 0xA282EAD8


@dataclass(frozen=True, kw_only=True)
class RecordFile:
    """Where the records of a file lie.

    Attributes:
        spans: (offset, length) of the data of every whole record.
        complaint: "" or what is wrong behind the last of them.
    """

    path: Path
    spans: tuple[tuple[int, int], ...]
    complaint: str


def index_records(path: Path) -> RecordFile:
    """Walks from record to record: reads twelve bytes of each, and checks them against each other.

    Raises:
        EpisodeError: Not readable, or not one whole record.
        UnsafeFileError: A record is larger, or there are more, than this program reads.
    """
    spans: list[tuple[int, int]] = []
    complaint = ""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            offset = 0
            while offset < size:
                header = file.read(_HEADER.size)
                complaint = _header_complaint(header, offset, size, path)
                if complaint:
                    break
                if len(spans) == MAX_RECORDS:
                    raise UnsafeFileError(f"{path}: has more than {MAX_RECORDS:,} records")
                start, length = offset + _HEADER.size, _HEADER.unpack(header)[0]
                spans.append((start, length))
                offset = start + length + _FOOTER_BYTES
                file.seek(offset)
    except OSError as error:
        raise EpisodeError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not spans:
        raise EpisodeError(f"{path}: holds no TFRecord ({complaint or 'it is empty'})")
    return RecordFile(path=path, spans=tuple(spans), complaint=complaint)


def read_record(path: Path, span: tuple[int, int]) -> bytes:
    """The data of one record, compared with its checksum.

    Raises:
        EpisodeError: Damaged or cut off.
    """
    offset, length = span
    try:
        with path.open("rb") as file:
            file.seek(offset)
            data, footer = file.read(length), file.read(_FOOTER_BYTES)
    except OSError as error:
        raise EpisodeError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(data) != length or len(footer) != _FOOTER_BYTES or masked_crc(data) != struct.unpack("<I", footer)[0]:
        raise EpisodeError(f"{path}: the record at byte {offset} is damaged (its checksum does not fit)")
    return data


def masked_crc(data: bytes) -> int:
    """CRC-32C, rotated by 15 bits and shifted by a constant, as the format stores it."""
    crc = library("google_crc32c", "an RLDS dataset").value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def _header_complaint(header: bytes, offset: int, size: int, path: Path) -> str:
    """What is wrong with the record that begins here, "" if nothing is."""
    if len(header) < _HEADER.size:
        return f"cut off at byte {offset}"
    length, crc = _HEADER.unpack(header)
    if masked_crc(header[:8]) != crc:
        return f"the length at byte {offset} does not fit its checksum"
    if length > MAX_RECORD_BYTES:
        raise UnsafeFileError(f"{path}: the record at byte {offset} has {length} bytes, at most {MAX_RECORD_BYTES}")
    if offset + _HEADER.size + length + _FOOTER_BYTES > size:
        return f"the record at byte {offset} is cut off"
    return ""

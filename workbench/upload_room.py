"""How much visitors may bring: bytes, and files and folders, of one of them, of all, and of what the disk has."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from model.errors import ConfigError

from .upload_incoming import size_text


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What visitors may bring.

    Attributes:
        file_bytes: One file.
        visitor_bytes: All of one visitor, packed and unpacked.
        total_bytes: All visitors.
        free_bytes: Always left free on the disk.
        files: Files and folders of one upload, also inside its archives.
        visitor_files: All of one visitor: tiny files exhaust a disk's file table long before its bytes.
        total_files: All visitors.
        free_files: Always left free in the disk's file table, where it has one.
        visitors: Spaces at once.
        hours: A space is removed so long after its visitor last came.
    """

    file_bytes: int = 4_000_000_000
    visitor_bytes: int = 8_000_000_000
    total_bytes: int = 32_000_000_000
    free_bytes: int = 2_000_000_000
    files: int = 20_000
    visitor_files: int = 60_000
    total_files: int = 240_000
    free_files: int = 100_000
    visitors: int = 64
    hours: float = 24.0


@dataclass(frozen=True)
class Room:
    """What something takes on the disk: bytes, and files and folders."""

    bytes: int = 0
    files: int = 0

    def __add__(self, other: Room) -> Room:
        return Room(self.bytes + other.bytes, self.files + other.files)


def check_room(limits: Limits, wanted: Room, *, own: Room, everybody: Room, coming: int, disk: Path) -> None:
    """Says early that something does not fit.

    Args:
        limits: What fits.
        wanted: What is to come in addition.
        own: What its visitor has.
        everybody: What all visitors have.
        coming: Bytes of other uploads that were promised room and are not on the disk yet.
        disk: A folder on the disk.

    Raises:
        ConfigError: It does not fit; says what is full and what to do.
    """
    _check_bytes(limits, wanted.bytes, own.bytes, everybody.bytes)
    _check_files(limits, wanted.files, own.files, everybody.files)
    left = shutil.disk_usage(disk).free - coming - limits.free_bytes
    if wanted.bytes > left:
        raise ConfigError(
            f"the upload needs {size_text(wanted.bytes)}, and the disk has {size_text(max(left, 0))} to spare;"
            " remove something from it"
        )
    table = os.statvfs(disk)
    left = table.f_favail - limits.free_files
    if table.f_files and wanted.files > left:  # a file system that needs no table says 0
        raise ConfigError(
            f"the upload has {wanted.files} files and folders, and the disk has room for {max(left, 0)};"
            " remove something from it"
        )


def _check_bytes(limits: Limits, wanted: int, own: int, everybody: int) -> None:
    said = f"the upload needs {size_text(wanted)}"
    if own + wanted > limits.visitor_bytes:
        used = f"; {size_text(own)} are used, remove some of your files" if own else ""
        raise ConfigError(f"{said}, and a visitor has {size_text(limits.visitor_bytes)}{used}")
    if everybody + wanted > limits.total_bytes:
        left = size_text(limits.total_bytes - everybody)
        raise ConfigError(f"{said}, and {left} are left for all visitors; try later")


def _check_files(limits: Limits, wanted: int, own: int, everybody: int) -> None:
    said = f"the upload has {wanted} files and folders"
    if own + wanted > limits.visitor_files:
        used = f"; {own} are used, remove some of your files" if own else ""
        raise ConfigError(f"{said}, and a visitor has room for {limits.visitor_files}{used}")
    if everybody + wanted > limits.total_files:
        left = limits.total_files - everybody
        raise ConfigError(f"{said}, and room for {left} is left for all visitors; try later")

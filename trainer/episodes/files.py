"""Folders that are either complete or absent, and files that are read only after their size and hash were checked.

A folder is written beside its place under a temporary name: files, fsync, then the manifest with every file's size and
sha256, fsync, rename. `kill -9` at any moment leaves the old state, or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from model.errors import EpisodeError, UnsafeFileError

from .schema import ENCODINGS, SCHEMA, VERSION, Encoding

MANIFEST_FILE = "manifest.json"
MAX_JSON_BYTES = 4 << 20
TEMP_MARK = ".tmp-"


@dataclass(frozen=True)
class FileEntry:
    """What the manifest says of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of manifest.json.

    Attributes:
        encoding: How the streams are stored.
        content_hash: sha256 of the recording itself; the same in both encodings (see `packed.content_hash`).
        files: Every other file of the folder.
    """

    encoding: Encoding
    content_hash: str
    files: dict[str, FileEntry]


@contextmanager
def new_folder(folder: Path, encoding: Encoding, content_hash: str) -> Generator[Path]:
    """Yields a temporary folder to fill; on success it becomes `folder`, on an error nothing is left.

    Raises:
        EpisodeError: When `folder` exists already (and is not an empty folder).
    """
    folder = folder.absolute()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise EpisodeError(f"{folder}: exists already; remove it or choose another name")
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    temp = folder.with_name(f"{folder.name}{TEMP_MARK}{os.getpid()}-{secrets.token_hex(4)}")
    temp.mkdir()
    try:
        yield temp
        files = {path.name: _finish(path) for path in sorted(temp.iterdir())}
        manifest = {
            "schema": SCHEMA,
            "version": VERSION,
            "encoding": encoding,
            "content_hash": content_hash,
            "files": {name: {"bytes": entry.bytes, "sha256": entry.sha256} for name, entry in files.items()},
        }
        (temp / MANIFEST_FILE).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        _fsync(temp / MANIFEST_FILE)
        _fsync(temp)
        try:
            temp.rename(folder)
        except OSError as error:
            if folder.exists():
                raise EpisodeError(f"{folder}: appeared while it was being written; somebody else made it") from error
            raise
        _fsync(folder.parent)
    except BaseException:
        shutil.rmtree(temp, ignore_errors=True)
        raise


def read_manifest(folder: Path) -> Manifest:
    """Reads manifest.json and checks that every file it names is there with its size. Hashes are not computed.

    Raises:
        EpisodeError: Not a packed episode, another version, or a file missing or truncated.
        UnsafeFileError: The manifest names files outside its folder.
    """
    where = folder / MANIFEST_FILE
    fields = _json_object(where)
    if fields.get("schema") != SCHEMA:
        raise EpisodeError(f"{where}: field 'schema' is {fields.get('schema')!r:.60}, not '{SCHEMA}'")
    if fields.get("version") != VERSION:
        raise EpisodeError(
            f"{where}: field 'version' is {fields.get('version')!r:.60}, this program reads {VERSION}; pack it again"
        )
    encoding: Encoding | None = next((known for known in ENCODINGS if known == fields.get("encoding")), None)
    if encoding is None:
        raise EpisodeError(f"{where}: field 'encoding' is {fields.get('encoding')!r:.60}, not {' or '.join(ENCODINGS)}")
    content_hash = fields.get("content_hash")
    if not _is_sha256(content_hash):
        raise EpisodeError(f"{where}: field 'content_hash' is not a sha256")
    files = _file_entries(fields.get("files"), where)
    for name, entry in files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise EpisodeError(f"{path}: missing, though the manifest names it; copy or pack the episode again")
        if path.stat().st_size != entry.bytes:
            raise EpisodeError(f"{path}: has {path.stat().st_size} bytes, the manifest says {entry.bytes}; truncated?")
    return Manifest(encoding=encoding, content_hash=content_hash, files=files)


def read_checked(folder: Path, manifest: Manifest, name: str) -> bytes:
    """Reads a whole small file and compares its sha256 with the manifest's."""
    if name not in manifest.files:
        raise EpisodeError(f"{folder / MANIFEST_FILE}: does not name '{name}'; this episode is incomplete")
    data = (folder / name).read_bytes()
    if hashlib.sha256(data).hexdigest() != manifest.files[name].sha256:
        raise EpisodeError(f"{folder / name}: its sha256 is not the manifest's; damaged, copy or pack it again")
    return data


def check_hash(folder: Path, manifest: Manifest, name: str) -> None:
    """As `read_checked`, but streams the file and returns nothing."""
    if name not in manifest.files:
        raise EpisodeError(f"{folder / MANIFEST_FILE}: does not name '{name}'; this episode is incomplete")
    if _sha256(folder / name) != manifest.files[name].sha256:
        raise EpisodeError(f"{folder / name}: its sha256 is not the manifest's; damaged, copy or pack it again")


def _json_object(where: Path) -> dict[str, Any]:
    if not where.is_file():
        raise EpisodeError(f"{where.parent}: not a packed episode, it has no {where.name}")
    if where.stat().st_size > MAX_JSON_BYTES:
        raise UnsafeFileError(f"{where}: {where.stat().st_size} bytes is too large for a manifest")
    try:
        fields = json.loads(where.read_bytes())
    except (ValueError, RecursionError) as error:
        raise EpisodeError(f"{where}: not JSON ({error}); copy or pack the episode again") from None
    if not isinstance(fields, dict):
        raise EpisodeError(f"{where}: must be a JSON object")
    return fields


def _file_entries(value: Any, where: Path) -> dict[str, FileEntry]:
    if not isinstance(value, dict):
        raise EpisodeError(f"{where}: field 'files' must be an object")
    entries: dict[str, FileEntry] = {}
    for name, item in value.items():
        if Path(name).name != name or name in ("", ".", "..") or "\\" in name or "\0" in name:
            raise UnsafeFileError(f"{where}: field 'files' names {name!r:.80}, which is not a plain file name")
        size, digest = (item.get("bytes"), item.get("sha256")) if isinstance(item, dict) else (None, None)
        if not isinstance(size, int) or isinstance(size, bool) or size < 0 or not _is_sha256(digest):
            raise EpisodeError(f"{where}: field 'files.{name:.80}' must have 'bytes' and 'sha256'")
        entries[name] = FileEntry(size, digest)
    return entries


def _is_sha256(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _finish(path: Path) -> FileEntry:
    _fsync(path)
    return FileEntry(path.stat().st_size, _sha256(path))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(folder: Path) -> None:
    """Removes what dead writers of the same folder left behind."""
    for leftover in folder.parent.glob(f"{glob_escape(folder.name)}{TEMP_MARK}*"):
        pid = leftover.name.rpartition(TEMP_MARK)[2].partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            shutil.rmtree(leftover, ignore_errors=True)


def glob_escape(name: str) -> str:
    """Makes a file name literal inside a glob pattern."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in name)


def folder_bytes(folder: Path) -> int:
    """Size of a folder's files."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())

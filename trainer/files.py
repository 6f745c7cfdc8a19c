"""Files and folders that are either complete or absent, whatever kills the process, and reading them with care.

A folder is filled beside its place under a temporary name, every file is flushed to disk, the manifest with their sizes
and sha256 comes last, then one rename makes it visible. A folder is complete if and only if its manifest verifies.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeGuard

from model.errors import WorkbenchError

MANIFEST = "manifest.json"
MAX_JSON_BYTES = 4 << 20
TEMP_MARK = ".tmp-"
_WRITER = re.compile(rf".+{re.escape(TEMP_MARK)}(\d+)(-[0-9a-f]+)?")


@dataclass(frozen=True, kw_only=True)
class FolderKind:
    """Whose folder it is: the words and the classes of the errors about it.

    Attributes:
        name: With its article: "a checkpoint".
        remedy: What to do about a damaged one.
        error: Raised when it is absent, incomplete or damaged.
        unsafe: Raised when it would be read outside itself or exhaust memory.
    """

    name: str
    remedy: str
    error: type[WorkbenchError]
    unsafe: type[WorkbenchError]


@dataclass(frozen=True)
class FileEntry:
    """What the manifest says of one file."""

    bytes: int
    sha256: str


@contextmanager
def new_folder(
    folder: Path, facts: Mapping[str, Any], error: type[WorkbenchError], *, durable: bool = True
) -> Generator[Path]:
    """Yields a temporary folder to fill with plain files; on success it becomes `folder`, on an error nothing is left.

    Args:
        folder: Must not exist, or be empty. Its parent is created.
        facts: Fields of the manifest before `files`.
        error: Raised when `folder` exists already.
        durable: Flush everything to disk, so that a power loss cannot spoil what the rename made visible. Only a
            folder that can be made again, and whose reader verifies it, may do without.

    Raises:
        OSError: The disk is full or the place cannot be written.
    """
    folder = folder.absolute()
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise error(f"{folder}: exists already; remove it or choose another name")
    folder.parent.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(folder.parent, folder.name)
    temp = _temporary(folder)
    temp.mkdir()
    try:
        yield temp
        files = {path.name: FileEntry(path.stat().st_size, sha256_of(path)) for path in sorted(temp.iterdir())}
        manifest = {**facts, "files": {name: asdict(entry) for name, entry in files.items()}}
        (temp / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        if durable:
            for path in (*(temp / name for name in files), temp / MANIFEST, temp):
                _fsync(path)
        try:
            temp.rename(folder)
        except OSError as problem:
            if folder.exists():
                raise error(f"{folder}: appeared while it was being written; somebody else made it") from problem
            raise
    except BaseException as problem:
        shutil.rmtree(temp, ignore_errors=True)
        _name(problem, folder)
        raise
    if durable:
        _fsync(folder.parent)


def replace_file(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replaces the content of a small file in one step: readers see the old or the new content, never a part.

    Args:
        path: Its folder must exist.
        data: The new content.
        durable: Flush it to disk, so that it outlives a power loss.
    """
    temp = _temporary(path)
    try:
        temp.write_bytes(data)
        if durable:
            _fsync(temp)
        temp.replace(path)
    except BaseException as problem:
        temp.unlink(missing_ok=True)
        _name(problem, path)
        raise
    if durable:
        _fsync(path.parent)


def sweep_temporaries(parent: Path, name: str | None = None) -> None:
    """Removes what writers that are dead by now left under `parent`; with `name`, only what was to become that."""
    for path in parent.glob(f"*{TEMP_MARK}*"):
        match = _WRITER.fullmatch(path.name)
        if match and name in (None, path.name[: path.name.rindex(TEMP_MARK)]) and not _alive(int(match[1])):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def read_manifest(folder: Path, kind: FolderKind) -> dict[str, Any]:
    """All fields of a folder's manifest; nothing but its being a JSON object is checked.

    Raises:
        WorkbenchError: Of the kind's classes: there is none, it is too large, or it is no JSON object.
    """
    if not folder.is_dir():
        raise kind.error(f"{folder}: no such folder; give the folder of {kind.name}")
    if not (folder / MANIFEST).is_file():
        raise kind.error(f"{folder}: not {kind.name}, it has no {MANIFEST} (it is written last)")
    return read_json(folder / MANIFEST, kind)


def read_json(path: Path, kind: FolderKind) -> dict[str, Any]:
    """A JSON object from a small file.

    Raises:
        WorkbenchError: Of the kind's classes: the file is missing, too large, or holds something else.
    """
    if not path.is_file():
        raise kind.error(f"{path}: missing; {kind.remedy}")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise kind.unsafe(f"{path}: {path.stat().st_size} bytes is too large for this file of {kind.name}")
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as problem:
        raise kind.error(f"{path}: not JSON ({problem}); {kind.remedy}") from None
    if not isinstance(value, dict):
        raise kind.error(f"{path}: must hold a JSON object; {kind.remedy}")
    return value


def listed_files(folder: Path, manifest: Mapping[str, Any], kind: FolderKind) -> dict[str, FileEntry]:
    """The files that a manifest names, every one of them there with its size. Hashes are not computed.

    Raises:
        WorkbenchError: Of the kind's classes: an entry is ill-formed or names no plain file of this folder, or a file
            is missing or truncated.
    """
    entries = _file_entries(manifest.get("files"), folder / MANIFEST, kind)
    for name, entry in entries.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            raise kind.error(f"{path}: missing (or a link), though the manifest names it; {kind.remedy}")
        if (size := path.stat().st_size) != entry.bytes:
            raise kind.error(f"{path}: {size} bytes, the manifest says {entry.bytes}; truncated, {kind.remedy}")
    return entries


def verify_folder(folder: Path, kind: FolderKind) -> dict[str, Any]:
    """Returns the manifest of a complete folder after every size and hash was checked.

    Raises:
        WorkbenchError: Of the kind's classes, as `read_manifest`, `listed_files` and `check_hash`.
    """
    manifest = read_manifest(folder, kind)
    for name, entry in listed_files(folder, manifest, kind).items():
        check_hash(folder / name, entry, kind)
    return manifest


def check_hash(path: Path, entry: FileEntry, kind: FolderKind) -> None:
    """Compares a file's sha256 with the manifest's; reads it in pieces."""
    _compare(path, sha256_of(path), entry, kind)


def read_checked(path: Path, entry: FileEntry, kind: FolderKind) -> bytes:
    """The content of a small file, its sha256 compared with the manifest's."""
    data = path.read_bytes()
    _compare(path, hashlib.sha256(data).hexdigest(), entry, kind)
    return data


def sha256_of(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_bytes(folder: Path) -> int:
    """Size of a folder's files."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def _file_entries(value: Any, where: Path, kind: FolderKind) -> dict[str, FileEntry]:
    if not isinstance(value, dict):
        raise kind.error(f"{where}: field 'files' must be an object; {kind.remedy}")
    entries: dict[str, FileEntry] = {}
    for name, item in value.items():
        if Path(name).name != name or name in ("", ".", "..") or "\\" in name or "\0" in name:
            raise kind.unsafe(f"{where}: field 'files' names {name!r:.80}, which is not a plain file name")
        size, digest = (item.get("bytes"), item.get("sha256")) if isinstance(item, dict) else (None, None)
        if not isinstance(size, int) or isinstance(size, bool) or size < 0 or not is_sha256(digest):
            raise kind.error(f"{where}: field 'files.{name:.80}' must have 'bytes' and 'sha256'; {kind.remedy}")
        entries[name] = FileEntry(size, digest)
    return entries


def is_sha256(value: Any) -> TypeGuard[str]:
    """Whether a value is a digest in lower-case hex."""
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def _compare(path: Path, digest: str, entry: FileEntry, kind: FolderKind) -> None:
    if digest != entry.sha256:
        raise kind.error(f"{path}: its sha256 is not the manifest's; damaged, {kind.remedy}")


def _temporary(path: Path) -> Path:
    """A name beside `path` that no other thread or process takes, and that says whose it is."""
    return path.with_name(f"{path.name}{TEMP_MARK}{os.getpid()}-{secrets.token_hex(4)}")


def _name(problem: BaseException, path: Path) -> None:
    """A full disk does not say what was being written."""
    if isinstance(problem, OSError) and problem.filename is None:
        problem.filename = str(path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

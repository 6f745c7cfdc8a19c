"""Files and folders that are either complete or absent, whatever kills the process.

A folder is filled under a temporary name, every file is flushed to disk, the manifest with their sizes and sha256 comes
last, then one rename makes it visible. A folder is complete if and only if its manifest verifies.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from model.errors import CheckpointError

MANIFEST = "manifest.json"
MAX_JSON_BYTES = 4 << 20
_TEMP = re.compile(r".+\.tmp-(\d+)$")


def publish_folder(folder: Path, fill: Callable[[Path], None], **facts: Any) -> None:
    """Makes `folder` appear with what `fill` writes into the temporary folder it is given, and a manifest.

    Args:
        folder: Must not exist. Its parent is created.
        fill: Writes plain files, no sub-folders.
        facts: Further fields of the manifest.

    Raises:
        OSError: The disk is full or the place cannot be written; nothing is left behind.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temp = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    shutil.rmtree(temp, ignore_errors=True)
    temp.mkdir()
    try:
        fill(temp)
        files = {path.name: _describe(path) for path in sorted(temp.iterdir())}
        for name in files:
            _fsync(temp / name)
        manifest = {**facts, "files": files}
        (temp / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        _fsync(temp / MANIFEST)
        _fsync(temp)
        temp.rename(folder)
    except BaseException:
        shutil.rmtree(temp, ignore_errors=True)
        raise
    _fsync(folder.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Replaces the content of a small file in one step: readers see the old or the new content, never a part."""
    temp = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        temp.write_bytes(data)
        _fsync(temp)
        temp.replace(path)
    except BaseException:
        temp.unlink(missing_ok=True)
        raise
    _fsync(path.parent)


def verify_folder(folder: Path) -> dict[str, Any]:
    """Returns the manifest of a complete folder.

    Raises:
        CheckpointError: There is no manifest, or a file is missing, truncated, changed, or not named by it.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; give a checkpoint folder such as RUN/final")
    if not (folder / MANIFEST).is_file():
        raise CheckpointError(f"{folder}: not a checkpoint, it has no {MANIFEST} (it is written last)")
    manifest = read_json(folder / MANIFEST)
    files: Any = manifest.get("files")
    if not isinstance(files, Mapping):
        raise CheckpointError(f"{folder / MANIFEST}: field 'files' must be an object; copy the checkpoint again")
    for name, facts in files.items():
        path = folder / str(name)
        if Path(str(name)).name != name or path.is_symlink() or not isinstance(facts, Mapping):
            raise CheckpointError(f"{folder / MANIFEST}: field 'files' has an unsafe or ill-formed entry {name!r:.80}")
        if not path.is_file():
            raise CheckpointError(f"{path}: missing, though the manifest names it; copy the checkpoint again")
        if path.stat().st_size != facts.get("bytes"):
            raise CheckpointError(
                f"{path}: {path.stat().st_size} bytes, the manifest says {facts.get('bytes')}; truncated, copy it again"
            )
        if sha256_of(path) != facts.get("sha256"):
            raise CheckpointError(f"{path}: its sha256 is not the manifest's; the file is damaged, copy it again")
    return manifest


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a small file.

    Raises:
        CheckpointError: The file is missing, too large, or holds something else.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; copy the checkpoint again")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise CheckpointError(
            f"{path}: {path.stat().st_size} bytes is too large for this file; it is not a checkpoint's"
        )
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON ({error}); copy the checkpoint again") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: must hold a JSON object")
    return value


def sweep_temporaries(parent: Path) -> None:
    """Removes what writers that are dead by now left under `parent`."""
    for path in parent.glob("*.tmp-*"):
        match = _TEMP.match(path.name)
        if match and not _alive(int(match[1])):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


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

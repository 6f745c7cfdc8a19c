"""Checkpoint folders to rows: the manifest is read, the weights are not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from model.errors import CheckpointError, WorkbenchError

from .catalog_rows import ID_LENGTH, CheckpointRow, Problem

_MANIFEST = "manifest.json"


def list_checkpoints(roots: Iterable[Path]) -> tuple[dict[str, CheckpointRow], list[Problem]]:
    """Rows by id, of the roots and of one level below them, and what looks like a checkpoint and is none."""
    rows: dict[str, CheckpointRow] = {}
    problems: list[Problem] = []
    for root in roots:
        found = _folders(root)
        if not found:
            problems.append(Problem(where=str(root), message=f"{root}: no checkpoint here (a folder with {_MANIFEST})"))
        for folder in found:
            try:
                row = read_checkpoint_row(folder)
            except WorkbenchError as error:
                problems.append(Problem(where=str(folder), message=str(error)))
            else:
                rows.setdefault(row.id, row)
    return rows, problems


def read_checkpoint_row(folder: str | Path) -> CheckpointRow:
    """Reads the manifest of a checkpoint; the weights are verified when they are loaded.

    Raises:
        CheckpointError: The folder is missing or holds no readable manifest.
    """
    folder = Path(folder)
    return CheckpointRow(id=checkpoint_hash(folder)[:ID_LENGTH], name=folder.name, path=folder)


def checkpoint_hash(folder: Path) -> str:
    """The content hash that `trainer.loop.checkpoint` computes, from the hashes in the manifest: no weights are read.

    Raises:
        CheckpointError: The folder is missing, or its manifest is not a checkpoint's.
    """
    manifest = folder / _MANIFEST
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder; give a checkpoint folder such as assets/checkpoints/compact")
    if not manifest.is_file():
        raise CheckpointError(
            f"{folder}: no {_MANIFEST}; this is not a finished checkpoint (`python -m trainer train` makes one)"
        )
    try:
        files = json.loads(manifest.read_bytes())["files"]
        parts = str(files["config.json"]["sha256"]) + str(files["weights.safetensors"]["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{manifest}: not the manifest of a checkpoint; copy the folder again") from error
    return hashlib.sha256(parts.encode()).hexdigest()


def _folders(root: Path) -> list[Path]:
    if (root / _MANIFEST).is_file():
        return [root]
    return sorted(path.parent for path in root.glob(f"*/{_MANIFEST}")) if root.is_dir() else []

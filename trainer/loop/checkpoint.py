"""The checkpoint folder: configuration, averaged weights, card and facts, with a manifest of hashes written last.

A training checkpoint is the same folder with the state of the run beside the weights (see `resume`), so that any of
them opens in the page. Only safetensors and JSON are read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.config import PolicyConfig, from_json, to_json
from model.encoders.choose import frozen_encoders
from model.errors import CheckpointError, ConfigError
from model.policy import Policy
from model.weights import load_weights, save_weights
from trainer.files import MAX_JSON_BYTES, FolderKind, new_folder, read_json, sha256_of, verify_folder

from .card import model_card

FORMAT, VERSION = "foresight-workbench checkpoint", 1
CONFIG, WEIGHTS, CARD, METADATA = "config.json", "weights.safetensors", "card.md", "metadata.json"
CHECKPOINT = FolderKind(
    name="a checkpoint", remedy="copy the checkpoint again", error=CheckpointError, unsafe=CheckpointError
)


@dataclass(frozen=True, kw_only=True)
class LoadedCheckpoint:
    """A policy ready to predict.

    Attributes:
        policy: In evaluation mode, on the CPU.
        metadata: Facts about its training; `weights` says "EMA" or "raw".
        content_hash: sha256 hex over configuration and weights: equal for equal predictions, keys every cache.
    """

    policy: Policy
    config: PolicyConfig
    metadata: dict[str, Any]
    content_hash: str
    path: Path


def save_inference_checkpoint(folder: Path, policy: Policy, config: PolicyConfig, metadata: Mapping[str, Any]) -> None:
    """Writes `folder`, which must not exist, with the weights the policy holds now (put the EMA there before).

    Raises:
        CheckpointError: `folder` exists.
        OSError: It cannot be written; nothing is left behind.
    """
    facts = {**metadata, "encoders": encoder_facts(policy)}
    publish_checkpoint(folder, config, facts, {WEIGHTS: lambda path: save_weights(policy, path)})


def encoder_facts(policy: Policy) -> dict[str, dict[str, Any]]:
    """What the frozen encoders are, which no checkpoint holds, by the part of the configuration that names them."""
    return {
        name.rpartition(".")[2]: {"sha256": encoder.content_hash(), "parameters": encoder.n_parameters}
        for name, encoder in frozen_encoders(policy).items()
    }


def check_encoders(policy: Policy, metadata: Mapping[str, Any], path: Path) -> None:
    """Raises CheckpointError unless the policy's frozen encoders are those that the checkpoint `path` was made with."""
    for name, here in encoder_facts(policy).items():
        stored: Any = metadata.get("encoders", {})
        fact = stored.get(name) if isinstance(stored, dict) else None
        if not isinstance(fact, dict) or fact.get("sha256") != here["sha256"]:
            raise CheckpointError(
                f"{path / METADATA}: field 'encoders.{name}': the policy was trained with another {name} encoder than "
                f"the one that {name}.weights of {CONFIG} leads to here; put that one in its place"
            )


def publish_checkpoint(
    folder: Path, config: PolicyConfig, metadata: Mapping[str, Any], tensors: Mapping[str, Callable[[Path], None]]
) -> None:
    """`save_inference_checkpoint` with any set of tensor files: file name -> function that writes the file."""
    with new_folder(folder, {"format": FORMAT, "version": VERSION}, CheckpointError) as temp:
        (temp / CONFIG).write_text(to_json(config), encoding="utf-8")
        (temp / METADATA).write_text(json.dumps(metadata, indent=1) + "\n", encoding="utf-8")
        (temp / CARD).write_text(model_card(config, metadata), encoding="utf-8")
        for name, write in tensors.items():
            write(temp / name)


def load_checkpoint(folder: str | Path) -> LoadedCheckpoint:
    """Opens a checkpoint folder after every hash of its manifest was checked.

    Raises:
        CheckpointError: It is missing, truncated, damaged, of another program, or its weights do not fit its
            configuration or are not finite.
    """
    path = Path(folder).absolute()
    check_manifest(path)
    if (path / CONFIG).stat().st_size > MAX_JSON_BYTES:
        raise CheckpointError(f"{path / CONFIG}: too large for a configuration; it is not a checkpoint's")
    try:
        config = from_json((path / CONFIG).read_text(encoding="utf-8"))
    except (ConfigError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path / CONFIG}: {error}") from error
    metadata = read_json(path / METADATA, CHECKPOINT)
    if not isinstance(metadata.get("data", {}), dict):
        raise CheckpointError(f"{path / METADATA}: field 'data' must be a JSON object; copy the checkpoint again")
    policy = Policy(config)
    load_weights(policy, path / WEIGHTS)
    check_encoders(policy, metadata, path)
    policy.eval()
    return LoadedCheckpoint(policy=policy, config=config, metadata=metadata, content_hash=content_hash(path), path=path)


def check_manifest(folder: Path) -> None:
    """Checks format, version and hashes of a checkpoint folder without loading it.

    Raises:
        CheckpointError: As `load_checkpoint`.
    """
    manifest = verify_folder(folder, CHECKPOINT)
    if manifest.get("format") != FORMAT:
        raise CheckpointError(
            f"{folder}: not a checkpoint of this program (manifest says {manifest.get('format')!r:.60})"
        )
    if manifest.get("version") != VERSION:
        raise CheckpointError(
            f"{folder}: checkpoint version {manifest.get('version')!r:.20}, this program reads {VERSION}"
        )
    if absent := {CONFIG, WEIGHTS, METADATA} - manifest["files"].keys():
        raise CheckpointError(f"{folder}: {min(absent)} is not in the manifest; copy the checkpoint again")


def content_hash(folder: Path) -> str:
    """sha256 hex over the configuration and the weights; card and metadata may change without changing a prediction."""
    parts = sha256_of(folder / CONFIG) + sha256_of(folder / WEIGHTS)
    return hashlib.sha256(parts.encode()).hexdigest()

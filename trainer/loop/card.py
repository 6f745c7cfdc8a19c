"""The model card: what a checkpoint was trained on and how, written from the facts stored beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from model.config import PolicyConfig
from model.open_choices import answers

_INTENDED = (
    "Made to look at foresight: predicted current depth, future RGB-D and 3D flow beside what really came. It has seen "
    "only the simulated scenes, cameras and instructions listed under Data; elsewhere its predictions mean little. "
    "Its actions are a by-product at this size: do not run them on a robot."
)
_TRAINED = (
    "Policy with 3D foresight after arXiv 2502.10028, trained by this repository (`python -m trainer train`). "
    "It is a re-implementation, not the authors' weights."
)
_IMPORTED = "Weights of another repository, whose training nothing here can vouch for, imported name by name."
_LICENCE = "Apache-2.0, as the code. LIBERO, whose scenes it was trained on: MIT code, CC-BY-4.0 data."


def model_card(config: PolicyConfig, metadata: Mapping[str, Any]) -> str:
    """Markdown of the card. Facts that `metadata` lacks are left out, never guessed."""
    sections = [
        f"# {config.name}",
        _IMPORTED if "imported" in metadata else _TRAINED,
        _table("Imported", _flat(metadata.get("imported", {}))),
        _table("Facts", _facts(metadata)),
        _encoders(config, metadata.get("encoders")),
        _table("Data", ((key, value) for key, value in _flat(metadata.get("data", {})) if key != "episode_hashes")),
        _table("Training", _flat(metadata.get("training", {}))),
        _metrics(metadata.get("metrics")),
        "" if "imported" in metadata else "## Limits\n\n" + _INTENDED,
        _open_choices(config),
        _table("Every field of the configuration", _flat(dataclasses.asdict(config))),
        "## Licence\n\n" + ("That of the imported file." if "imported" in metadata else _LICENCE),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _facts(metadata: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in ("weights", "parameters", "step", "windows", "hours", "device", "precision", "torch", "finished"):
        if key in metadata:
            yield key, _text(metadata[key])


def _encoders(config: PolicyConfig, encoders: Any) -> str:
    """The frozen encoders, which are not in the checkpoint."""
    if not isinstance(encoders, Mapping) or not encoders:
        return ""
    weights = {"image": config.image.weights, "text": config.text.weights}
    rows = [
        f"| {name} | {_text(weights.get(name) or 'random: never trained')} | {fact['parameters']} | {fact['sha256']} |"
        for name, fact in encoders.items()
    ]
    return "\n".join(
        [
            "## Frozen encoders, not in this folder",
            "",
            "| part | weights | parameters | sha256 |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def _open_choices(config: PolicyConfig) -> str:
    """What the paper does not say, and what this policy does."""
    rows: list[str] = []
    asked = ""
    for answer in answers(config):
        question = "" if answer.question == asked else answer.question
        others = ", ".join(_text(choice) for choice in answer.choices if choice != answer.value)
        rows.append(f"| {question} | `{answer.field}` | {_text(answer.value)} | {others} |")
        asked = answer.question
    head = ["## What the paper leaves open", "", "| question | field | here | could be |", "|---|---|---|---|"]
    return "\n".join([*head, *rows])


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, item in value.items():
        if isinstance(item, Mapping):
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _text(item)


def _metrics(metrics: Any) -> str:
    if not isinstance(metrics, Mapping) or not metrics:
        return ""
    rows = [f"| {name} | {row['model']} | {row['baseline']} | {row['n']} |" for name, row in metrics.items()]
    return "\n".join(
        ["## Metrics on held-out episodes", "", "| metric | model | baseline | n |", "|---|---|---|---|", *rows]
    )


def _table(title: str, rows: Iterator[tuple[str, str]]) -> str:
    lines = [f"| {key} | {value} |" for key, value in rows]
    return "\n".join([f"## {title}", "", "| | |", "|---|---|", *lines]) if lines else ""


def _text(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")

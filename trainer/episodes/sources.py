"""`python -m trainer sources [list|set|undo|remove|move] [PATH]`: what is set for the sources of this user."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from model.errors import ConfigError

from .settings_store import (
    StoredSetting,
    add_setting,
    move_settings,
    remove_setting,
    setting_of,
    settings_folder,
    stored_settings,
    undo_setting,
)
from .source_settings import setting_from_json, setting_to_json


@dataclass(frozen=True)
class SourcesArguments:
    """List, change or remove what is set for sources: every command and the page apply it to their episodes.

    Attributes:
        action: list (of one source or of all), set, undo (the last step), remove (all of it), move (what is set at and
            below a place that was moved counts where it is now).
        source: A dataset, or a folder for everything at or below it.
        to: For move: where `source` is now.
        setting: For set: JSON such as '{"static": {"turn": "rotate-180"}, "why": ["hung upside-down"]}'; it is added to
            what is set already. Fields: trainer/episodes/source_settings.py.
        machine: Print JSON instead of text.
    """

    action: tyro.conf.Positional[Literal["list", "set", "undo", "remove", "move"]] = "list"
    source: tyro.conf.Positional[Path | None] = None
    to: tyro.conf.Positional[Path | None] = None
    setting: str | None = None
    machine: bool = False


def main(argv: list[str]) -> int:
    """Runs the command; returns 0, or 1 where nothing was there to list or remove."""
    arguments = tyro.cli(SourcesArguments, args=argv, prog="python -m trainer sources")
    if arguments.action == "list":
        return _list(arguments)
    if arguments.source is None:
        raise ConfigError(f"sources {arguments.action}: name the dataset or folder")
    if arguments.action == "remove":
        removed = remove_setting(arguments.source)
        sys.stdout.write(f"{arguments.source}: {'removed' if removed else 'nothing was set'}\n")
        return 0 if removed else 1
    if arguments.action == "undo":
        left = undo_setting(arguments.source)
        sys.stdout.write(f"{arguments.source}: {_said(left) if left else 'nothing is set any more'}\n")
        return 0
    if arguments.action == "move":
        return _move(arguments.source, arguments.to)
    if arguments.setting is None:
        raise ConfigError("sources set: give --setting JSON")
    if not arguments.source.exists():
        raise ConfigError(f"{arguments.source}: does not exist")
    try:
        value: object = json.loads(arguments.setting)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"sources set: --setting is not JSON ({error})") from None
    sys.stdout.write(f"{arguments.source}: {_said(add_setting(arguments.source, setting_from_json(value)))}\n")
    return 0


def _move(old: Path, new: Path | None) -> int:
    if new is None:
        raise ConfigError("sources move: name the old place and the new one")
    count = move_settings(old, new)
    sys.stdout.write(f"{new}: {count} {'setting counts' if count == 1 else 'settings count'} here now\n")
    return 0 if count else 1


def _list(arguments: SourcesArguments) -> int:
    if arguments.source is None:
        found = stored_settings()
    else:
        one = setting_of(arguments.source)
        found = [] if one is None else [one]
    usable = [item for item in found if isinstance(item, StoredSetting)]
    if arguments.machine:
        record = [
            {"source": str(item.source), "setting": setting_to_json(item.setting), "steps": len(item.steps)}
            for item in usable
        ]
        sys.stdout.write(json.dumps(record, indent=1) + "\n")
    else:
        for item in usable:
            gone = "" if item.source.exists() else " (does not exist any more; `sources move` says where it is now)"
            sys.stdout.write(f"{item.source}{gone}\n  {_said(item)}\n")
            sys.stdout.write("".join(f"  because: {reason}\n" for reason in item.setting.why))
        if not found:
            sys.stdout.write(f"nothing is set (in {settings_folder()})\n")
    for item in found:
        if isinstance(item, ConfigError):
            sys.stderr.write(f"error: {item}\n")
    return 0 if usable else 1


def _said(stored: StoredSetting) -> str:
    return ", ".join(stored.setting.clauses()) or "its steps undo each other"

"""Where source settings are kept: one small JSON file a source in the user's own folder, never beside the data.

A setting belongs to a place: a dataset (what PATH names in PATH#INDEX), or a folder for everything at or below it. The
nearest one counts. What was found one after the other is kept as steps, so that the last can be undone.

A place, not content: folders have no content of their own, two labs' datasets may share all their metadata, and a wrong
correction that nobody asked for is worse than one that is missing. Where a dataset has moved, `move_settings` follows.

    $FORESIGHT_CONFIG, else $XDG_CONFIG_HOME/foresight-workbench, else ~/.config/foresight-workbench
      sources/SHA256_OF_THE_PLACE.json   {"format", "version", "source", "steps": [setting, ...]}
      sources/lock                       held while a setting is changed, by whichever thread or process
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import json
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from model.errors import ConfigError, UnsafeFileError
from trainer.files import FolderKind, read_json, replace_file

from .source_settings import SourceSetting, setting_from_json, setting_to_json

_FORMAT = {"format": "foresight-source-setting", "version": 1}
_KIND = FolderKind(
    name="a source setting",
    remedy="`python -m trainer sources remove` the place, or delete the file",
    error=ConfigError,
    unsafe=UnsafeFileError,
)
_MAX_STEPS = 32


@dataclass(frozen=True, kw_only=True)
class StoredSetting:
    """The setting of one place.

    Attributes:
        source: The dataset or folder, absolute and without links.
        steps: As they were found, each on what the earlier ones corrected.
        file: Where it is kept.
    """

    source: Path
    steps: tuple[SourceSetting, ...]
    file: Path

    @functools.cached_property
    def setting(self) -> SourceSetting:
        """All steps as one."""
        return functools.reduce(SourceSetting.then, self.steps, SourceSetting())


def settings_folder() -> Path:
    """Where the settings of this user are; it need not exist."""
    configured, xdg = os.environ.get("FORESIGHT_CONFIG"), os.environ.get("XDG_CONFIG_HOME")
    if configured:
        return Path(configured).expanduser() / "sources"
    return (Path(xdg) if xdg else Path.home() / ".config") / "foresight-workbench" / "sources"


def setting_of(path: Path) -> StoredSetting | None:
    """What is set for a dataset: its own setting, else that of the nearest folder around it.

    Raises:
        ConfigError: The setting's file is damaged or from another version; says how to get rid of it.
        UnsafeFileError: The file is far too large.
    """
    if not settings_folder().is_dir():
        return None
    places = (file for place in _places(path.resolve()) if (file := _file(place)).exists())
    return next((_read(file) for file in places), None)


def setting_mark(path: Path) -> str:
    """A short text that changes with what is set for a dataset, "" while nothing is; for keys of what was drawn."""
    try:
        stored = setting_of(path)
    except (ConfigError, UnsafeFileError, OSError):
        return "damaged"
    return "" if stored is None else hashlib.sha256(stored.setting.fingerprint.encode()).hexdigest()[:12]


def stored_settings() -> list[StoredSetting | ConfigError]:
    """Every setting, by place; of a file that cannot be used, the error instead."""
    found: list[StoredSetting | ConfigError] = []
    for file in sorted(settings_folder().glob("*.json")):
        try:
            found.append(_read(file))
        except (ConfigError, UnsafeFileError, OSError) as error:
            found.append(ConfigError(str(error)))
    return sorted(found, key=lambda item: str(item.source if isinstance(item, StoredSetting) else item))


def add_setting(path: Path, setting: SourceSetting, *, scope: Path | None = None) -> StoredSetting:
    """Adds what was found on the episodes of a dataset to what is set for it already.

    Args:
        path: The dataset it was found on.
        setting: What corrects its episodes as they are shown now.
        scope: The folder around `path` for which it is to count; by default the dataset itself.

    Raises:
        ConfigError: `scope` is not around `path`, nothing would change, or the two settings contradict each other.
        OSError: The folder of settings cannot be written.
    """
    path = path.resolve()
    scope = path if scope is None else scope.resolve()
    if setting.empty:
        raise ConfigError("this setting changes nothing")
    if scope not in _places(path):
        raise ConfigError(f"{scope}: a setting found on {path} can only be for it or a folder around it")
    with _alone():
        before = setting_of(path)
        steps = (*(before.steps if before else ()), setting)
        if len(steps) > _MAX_STEPS:
            raise ConfigError(f"{scope}: {_MAX_STEPS} settings one on the other are enough; remove them and start anew")
        stored = StoredSetting(source=scope, steps=steps, file=_file(scope))
        _ = stored.setting  # raises if they cannot be said together
        _write(stored)
        for place in _places(path):  # a nearer one would hide it; its steps are in the new one
            if place == scope:
                break
            _file(place).unlink(missing_ok=True)
    return stored


def undo_setting(path: Path) -> StoredSetting | None:
    """Takes back the last step of what counts for a dataset; returns what is left, None if nothing is.

    Raises:
        ConfigError: Nothing is set for it.
    """
    with _alone():
        before = setting_of(path)
        if before is None:
            raise ConfigError(f"{path}: nothing is set for this source")
        if len(before.steps) == 1:
            before.file.unlink(missing_ok=True)
            return None
        left = StoredSetting(source=before.source, steps=before.steps[:-1], file=before.file)
        _write(left)
        return left


def remove_setting(place: Path) -> bool:
    """Removes what is set for exactly this dataset or folder, damaged or not; says whether there was something."""
    with _alone():
        file = _file(place.resolve())
        existed = file.exists()
        file.unlink(missing_ok=True)
        return existed


def move_settings(old: Path, new: Path) -> int:
    """Lets what is set at and below a place that was moved or renamed count for where it is now; how many those were.

    Raises:
        ConfigError: `new` does not exist, or something else is set there already. Nothing was moved then.
        OSError: The folder of settings cannot be written.
    """
    old, new = old.resolve(), new.resolve()
    if not new.exists():
        raise ConfigError(f"{new}: does not exist")
    with _alone():
        moved: list[tuple[StoredSetting, StoredSetting]] = []
        for before in stored_settings():
            if not isinstance(before, StoredSetting) or not before.source.is_relative_to(old):
                continue
            place = new / before.source.relative_to(old)
            after = replace(before, source=place, file=_file(place))
            if after.file.exists() and _read(after.file).steps != after.steps:
                raise ConfigError(
                    f"{place}: something is set for it already; `python -m trainer sources remove` it first"
                )
            moved.append((before, after))
        for _, after in moved:
            _write(after)
        for before in {before.file for before, _ in moved} - {after.file for _, after in moved}:
            before.unlink(missing_ok=True)
    return len(moved)


def remove_lost_settings(below: Path) -> int:
    """Removes what is set for sources below a folder that are not there any more; how many those were."""
    below, removed = below.resolve(), 0
    if not settings_folder().is_dir():
        return removed
    with _alone():
        for stored in stored_settings():
            if isinstance(stored, StoredSetting) and stored.source.is_relative_to(below) and not stored.source.exists():
                stored.file.unlink(missing_ok=True)
                removed += 1
    return removed


@contextmanager
def _alone() -> Generator[None]:
    """While a setting is read, changed and written, no other thread or process may; a killed one lets go."""
    folder = settings_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _places(path: Path) -> Iterator[Path]:
    """The dataset and the folders around it, the nearest first."""
    yield path
    yield from path.parents


def _file(place: Path) -> Path:
    return settings_folder() / f"{hashlib.sha256(os.fsencode(place)).hexdigest()}.json"


def _write(stored: StoredSetting) -> None:
    record = {**_FORMAT, "source": str(stored.source), "steps": [setting_to_json(step) for step in stored.steps]}
    replace_file(stored.file, json.dumps(record, indent=1).encode())


def _read(file: Path) -> StoredSetting:
    record = read_json(file, _KIND)
    if {name: record.get(name) for name in _FORMAT} != _FORMAT or set(record) != {*_FORMAT, "source", "steps"}:
        raise ConfigError(f"{file}: not a source setting of this version; {_KIND.remedy}")
    source, steps = record["source"], record["steps"]
    if not isinstance(source, str) or "\0" in source or _file(Path(source)).name != file.name:
        raise ConfigError(f"{file}: field 'source' is not the place this file is named after; {_KIND.remedy}")
    if not isinstance(steps, list) or not 0 < len(cast("list[Any]", steps)) <= _MAX_STEPS:
        raise ConfigError(f"{file}: field 'steps' must hold 1 to {_MAX_STEPS} settings; {_KIND.remedy}")
    try:
        parts = tuple(setting_from_json(step) for step in cast("list[object]", steps))
        stored = StoredSetting(source=Path(source), steps=parts, file=file)
        _ = stored.setting
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}; {_KIND.remedy}") from None
    return stored

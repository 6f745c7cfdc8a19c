"""`python -m trainer export SRC DST --format F`: episodes of any source as a dataset of another format."""

from __future__ import annotations

import importlib
import logging
import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from model.errors import EpisodeError
from trainer.files import TEMP_MARK, sweep_temporaries

from .open import open_episode
from .selection import episodes_to_write
from .writers.trajectory import trajectory

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExportArguments:
    """Write episodes of any format as a CALVIN split, LIBERO HDF5 files or a LeRobot v3.0 dataset.

    The folder appears complete or not at all. What the source lacks is left out; what the format cannot say is named.

    Attributes:
        source: An episode (PATH#INDEX), a dataset, or a folder with such in it.
        destination: The folder to make.
        format: calvin (a split folder), libero (one HDF5 file a task) or lerobot (v3.0, images in parquet).
        drop_steps: Accept episodes whose images do not show every control step: the actions between are lost.
        silent_play: Also what has no instruction, in a dataset where other episodes have one (CALVIN's raw play).
    """

    source: tyro.conf.Positional[Path]
    destination: tyro.conf.Positional[Path]
    format: Literal["calvin", "libero", "lerobot"]
    drop_steps: bool = False
    silent_play: bool = False


def main(argv: list[str]) -> int:
    """Runs the command; returns the exit code."""
    arguments = tyro.cli(ExportArguments, args=argv, prog="python -m trainer export")
    names = episodes_to_write(arguments.source, silent_play=arguments.silent_play)
    if not names:
        open_episode(arguments.source)  # says what was looked for
    export(names, arguments.destination, arguments.format, drop_steps=arguments.drop_steps)
    return 0


def export(names: list[str], destination: Path, format: str, *, drop_steps: bool = False) -> None:
    """Writes episodes as one dataset.

    Raises:
        EpisodeError: An episode cannot be read or lacks images at some steps, or the destination exists.
    """
    write = getattr(importlib.import_module(f"{__package__}.writers.{format}"), f"write_{format}")
    trajectories = [trajectory(open_episode(name), drop_steps=drop_steps) for name in names]
    with _fresh(destination) as folder:
        write(trajectories, folder)
    rows = sum(len(one.steps) for one in trajectories)
    log.info("%s: %d episodes, %d steps, %s", destination, len(names), rows, format)


@contextmanager
def _fresh(destination: Path) -> Generator[Path]:
    """A folder under a temporary name that becomes `destination` on success; on an error nothing is left."""
    destination = destination.absolute()
    if destination.exists():
        raise EpisodeError(f"{destination}: exists already; remove it or choose another name")
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        sweep_temporaries(destination.parent, destination.name)
        temp = destination.with_name(f"{destination.name}{TEMP_MARK}{os.getpid()}-{secrets.token_hex(4)}")
        temp.mkdir()
    except OSError as error:
        raise EpisodeError(f"{destination}: cannot be written ({error.strerror})") from error
    try:
        yield temp
        temp.rename(destination)
    except OSError as error:
        shutil.rmtree(temp, ignore_errors=True)
        raise EpisodeError(f"{destination}: cannot be written ({error.strerror})") from error
    except BaseException:
        shutil.rmtree(temp, ignore_errors=True)
        raise

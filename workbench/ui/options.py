"""The flags of `python app.py`. Imports nothing heavy, so `--help` answers at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

_ASSETS = Path(__file__).resolve().parents[2] / "assets"
DEFAULT_CHECKPOINTS = _ASSETS / "checkpoints" / "compact"
DEFAULT_EPISODES = _ASSETS / "episodes"


@dataclass(frozen=True, kw_only=True)
class AppOptions:
    """See what a manipulation policy foresees, in the browser.

    Opens the bundled episodes with the bundled checkpoint when nothing else is named. Exit codes: 0 stopped,
    2 bad input.
    """

    checkpoint: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="DIR")] = ()
    """A checkpoint folder, or a folder of them; may be given many times. Default: assets/checkpoints/compact."""

    episodes: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="PATH")] = ()
    """An episode, or a folder of them; may be given many times; also what the Train tab offers as data.
    Default: assets/episodes."""

    labels: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """A store of `python -m trainer label`: its depth and tracks fill in what the episodes lack, marked pseudo."""

    runs: Annotated[Path, tyro.conf.arg(metavar="DIR")] = field(default=Path("runs"))
    """Where the Train tab keeps its runs."""

    host: str = "127.0.0.1"
    """Loopback address to listen on. The page has no login, so any other address is refused."""

    port: int = 7860
    """TCP port to listen on."""

    def checkpoint_roots(self) -> tuple[Path, ...]:
        """The folders to look for checkpoints in."""
        return self.checkpoint or (DEFAULT_CHECKPOINTS,)

    def episode_roots(self) -> tuple[Path, ...]:
        """The paths to look for episodes in."""
        return self.episodes or (DEFAULT_EPISODES,)


def parse_options(argv: list[str]) -> AppOptions:
    """Reads the command line; prints help or a usage error and exits (0 or 2) where that is asked for."""
    return tyro.cli(AppOptions, args=argv, prog="python app.py")

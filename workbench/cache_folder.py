"""Where files that can be made again are kept between sessions."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/foresight-workbench` (else below `~/.cache`), made if needed, private to the user."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "foresight-workbench"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder

"""The libraries of the extra [formats], imported when a file of their format is opened."""

from __future__ import annotations

import importlib
from typing import Any

from model.errors import EpisodeError


def library(name: str, purpose: str) -> Any:
    """Imports a module.

    Raises:
        EpisodeError: It is not installed; says how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise EpisodeError(
            f"{purpose} needs {name.split('.')[0]}: pip install 'foresight-workbench[formats]'"
        ) from None

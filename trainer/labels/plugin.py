"""A function from the user's own file: how a tracker or depth model that cannot be installed from here takes part.

The file is run as code, so it is only ever named on the command line by the person who owns it; no page, checkpoint or
episode can name one.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from model.errors import ConfigError, EpisodeError, WorkbenchError
from trainer.files import sha256_of

Result = TypeVar("Result")


def load_plugin(name: str, option: str) -> tuple[Callable[..., Any], str]:
    """The function that FILE.py:FUNCTION names, and the sha256 of the file.

    Raises:
        ConfigError: There is no such file or function, or the file fails when it is run.
    """
    file, mark, function = name.rpartition(":")
    path = Path(file).expanduser()
    if not mark or path.suffix != ".py" or not function.isidentifier():
        raise ConfigError(f"{option} {name}: must look like FILE.py:FUNCTION")
    if not path.is_file():
        raise ConfigError(f"{option} {name}: there is no file {path}")
    spec = importlib.util.spec_from_file_location(f"_plugin_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{option} {name}: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever somebody else's code raises
        raise ConfigError(f"{option} {name}: {path} cannot be run ({type(error).__name__}: {error})") from error
    if not callable(found := getattr(module, function, None)):
        raise ConfigError(f"{option} {name}: {path} has no function '{function}'")
    return found, sha256_of(path)


def ask(what: str, function: Callable[..., Result], *arguments: Any) -> Result:
    """Calls somebody else's code: whatever it raises is this episode's error and leaves the other episodes alone.

    Args:
        what: Who is asked, for the message: "the tracker".
        function: What is called.
        *arguments: With what.

    Raises:
        EpisodeError: It raised something, out of memory included.
    """
    try:
        return function(*arguments)
    except WorkbenchError:
        raise
    except Exception as error:  # whatever somebody else's code raises
        said = next(iter(str(error).splitlines()), "")
        raise EpisodeError(f"{what} failed ({type(error).__name__}: {said[:300]})") from error

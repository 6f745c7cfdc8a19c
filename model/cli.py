"""Command lines: pick the command, import only its module, turn errors of the input into one line and exit code 2."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Mapping, Sequence

from .errors import WorkbenchError

BAD_INPUT = 2


def run_command(program: str, commands: Mapping[str, tuple[str, str]], argv: Sequence[str]) -> int:
    """Runs `commands[argv[0]]`, a pair (module with `main(argv) -> int`, one-line help), and returns its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, commands))
        lines = [f"usage: python -m {program} COMMAND [--help]", ""]
        lines += [f"  {name:<{width}}  {text}" for name, (_, text) in commands.items()]
        sys.stdout.write("\n".join(lines) + "\n")
        return 0 if argv else BAD_INPUT
    if argv[0] not in commands:
        sys.stderr.write(f"error: unknown command '{argv[0]}'; choose one of {', '.join(commands)}\n")
        return BAD_INPUT
    module, _ = commands[argv[0]]
    try:
        return importlib.import_module(module).main(list(argv[1:]))
    except WorkbenchError as error:
        sys.stderr.write(f"error: {error}\n")
        return BAD_INPUT
    except OSError as error:  # a full disk, a folder without permission: not ours, so no traceback
        sys.stderr.write(f"error: {error.filename or argv[0]}: {error.strerror or error}\n")
        return BAD_INPUT

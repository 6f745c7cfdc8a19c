"""`python app.py`: the workbench in the browser. See `--help`."""

from __future__ import annotations

import logging
import sys

from model.errors import WorkbenchError
from workbench.ui.launch import serve
from workbench.ui.options import parse_options


def main(argv: list[str]) -> int:
    """Parses the flags and serves the page; bad input is one line and exit code 2."""
    options = parse_options(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        return serve(options)
    except WorkbenchError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python -m workbench inspect EPISODE`: predict a whole episode and write numbers, a recording and a report."""

from __future__ import annotations


def main(argv: list[str]) -> int:
    """Runs the command; see `--help`."""
    raise NotImplementedError

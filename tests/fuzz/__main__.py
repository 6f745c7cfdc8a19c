"""`python -m tests.fuzz [-n N] [--parsers NAME ...]`: damaged files against every parser; goes on where it stopped."""

from __future__ import annotations

import argparse
import json
import platform
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from .runner import State, feed_all
from .targets import TARGETS


def main() -> int:
    """Returns 1 when anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=10_000, help="inputs for each parser; slow decoders get a hundredth")
    parser.add_argument("--parsers", nargs="+", default=list(TARGETS), choices=list(TARGETS), metavar="NAME")
    parser.add_argument("--seed", type=int, default=1, help="another number, other inputs")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, help="stop then; the same command goes on")
    parser.add_argument(
        "--out", type=Path, default=Path("out/fuzz"), help="totals, and every input that found something"
    )
    parser.add_argument("--json", type=Path, help="write the totals there too")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    state = State(given.out, given.seed)
    try:
        feed_all(given.parsers, state, given.n, given.seed, processes=given.processes, seconds=given.seconds)
    except KeyboardInterrupt:
        sys.stderr.write("\nstopped; the same command goes on\n")
    sys.stderr.write("\n")
    print(table(state))
    if given.json is not None:
        given.json.write_text(json.dumps(summary(state, given.n, given.seed), indent=1) + "\n")
    return int(any(totals.findings for totals in state.totals.values()))


def table(state: State) -> str:
    """One line a parser."""
    rows = [("parser", "inputs", "per CPU s", "refused", "accepted", "slowest", "peak RSS", "contained", "findings")]
    for name in [name for name in TARGETS if name in state.totals]:
        t = state.of(name)
        rate = f"{t.inputs / t.cpu_s:,.0f}" if t.cpu_s else "-"
        times = (f"{1000 * t.slowest_s:.0f} ms", f"{t.rss_mb} MB", str(t.contained), str(t.findings))
        rows.append((name, f"{t.inputs:,}", rate, f"{t.refused:,}", f"{t.accepted:,}", *times))
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return "\n".join("  ".join(f"{cell:>{w}}" for cell, w in zip(row, widths, strict=True)) for row in rows)


def summary(state: State, n: int, seed: int) -> dict[str, object]:
    """What the README quotes."""
    return {
        "command": f"make fuzz N={n}",
        "seed": seed,
        "python": platform.python_version(),
        "parsers": {name: asdict(state.of(name)) for name in TARGETS if name in state.totals},
    }


if __name__ == "__main__":
    sys.exit(main())

"""`make bench`: runs every `bench_*.py` of this folder, or those named, and prints the machine beside the numbers.

A benchmark is a module with `main() -> None` that prints its own lines. Timings of shared machines are ratios, so a
benchmark prints what it compares with in the same run.
"""

from __future__ import annotations

import importlib
import os
import platform
import sys
from pathlib import Path


def machine() -> str:
    """One line: processor, cores, memory, Python, torch and its device."""
    import torch

    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor() or "unknown processor",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return (
        f"{cpu}, {os.cpu_count()} cores, {memory:.0f} GiB, {device}, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def main(names: list[str]) -> None:
    """Runs the benchmarks called `names` (without the prefix), or all of them."""
    available = sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))
    unknown = set(names) - set(available)
    if unknown:
        sys.exit(f"error: no benchmark called {', '.join(sorted(unknown))}; choose from {', '.join(available)}")
    sys.stdout.write(f"machine: {machine()}\n")
    for name in names or available:
        sys.stdout.write(f"\n== {name}\n")
        sys.stdout.flush()
        importlib.import_module(f"tests.bench.bench_{name}").main()


if __name__ == "__main__":
    main(sys.argv[1:])

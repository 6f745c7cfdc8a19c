"""`python -m trainer COMMAND`: each command is a module with `main(argv) -> exit code`, imported when asked for."""

from __future__ import annotations

import sys

from model.cli import run_command

COMMANDS = {
    "record": ("trainer.simulation.record", "drive real LIBERO tasks and record the episodes that succeed"),
    "pack": ("trainer.episodes.pack", "turn episodes of any format into packed training data; check packed ones"),
    "export": ("trainer.episodes.export", "write episodes of any format as CALVIN, LIBERO HDF5 or LeRobot v3.0"),
    "sources": ("trainer.episodes.sources", "list, change or remove what is set for a source, such as upside-down"),
    "label": ("trainer.labels.command", "give episodes pseudo-depth or tracks; goes on where it was"),
    "train": ("trainer.loop.train", "train a policy on packed episodes; resumes exactly"),
    "import": ("trainer.loop.import_gr_mg", "turn a policy checkpoint of GR-MG, the backbone, into one of ours"),
    "evaluate": ("trainer.metrics.evaluate", "score a checkpoint against the trivial baselines"),
}

if __name__ == "__main__":
    sys.exit(run_command("trainer", COMMANDS, sys.argv[1:]))

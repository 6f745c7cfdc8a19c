"""`python -m workbench COMMAND`: what the page shows, without a browser."""

from __future__ import annotations

import sys

from model.cli import run_command

COMMANDS = {
    "inspect": ("workbench.inspect", "predict a whole episode and write numbers, a Rerun recording and an HTML report"),
    "prove": (
        "workbench.prove",
        "prove that the attention mask does what it says; exit code 0 only if everything holds",
    ),
    "audit": (
        "workbench.audit.command",
        "what is wrong with an episode: orientation, depth, cameras, timing, actions; exit code 0 if nothing is",
    ),
    "knockout": (
        "workbench.knockout",
        "is it used? knock out flow, cameras, language, state; rank by the action's change",
    ),
}

if __name__ == "__main__":
    sys.exit(run_command("workbench", COMMANDS, sys.argv[1:]))

"""The log of attempts beside the recordings: what was tried, with what outcome, so that nothing is tried twice.

One JSON object a line, appended and synced after each attempt; a line that a kill cut short is ignored.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from model.errors import ConfigError

from .tasks import Task

LOG_FILE = "attempts.jsonl"


@dataclass(frozen=True, order=True)
class Attempt:
    """One run of an expert; the same three numbers in the same suite give the same bytes."""

    suite: str
    task: int
    initial_state: int
    seed: int

    @property
    def folder(self) -> str:
        """Where its recording lies below the output folder."""
        return f"{self.suite}-{self.task}/{self.initial_state}-{self.seed}"


class AttemptLog:
    """The attempts made so far into one output folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOG_FILE
        self._outcomes = dict(_read_log(self._path))

    def outcome(self, attempt: Attempt) -> bool | None:
        """Whether an attempt succeeded; None where it was not made."""
        return self._outcomes.get(attempt)

    def add(self, attempt: Attempt, succeeded: bool) -> None:
        """Notes an outcome, on disk before it returns."""
        self._outcomes[attempt] = succeeded
        self._path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(asdict(attempt) | {"succeeded": succeeded}) + "\n"
        with self._path.open("a", encoding="utf-8") as file:
            if file.tell() and not _ends_with_newline(self._path):
                line = "\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def successes(self, task: Task) -> tuple[int, int]:
        """(k, n) of a task: attempts that succeeded, attempts."""
        outcomes = [
            outcome
            for attempt, outcome in self._outcomes.items()
            if (attempt.suite, attempt.task) == (task.suite, task.index)
        ]
        return sum(outcomes), len(outcomes)


def read_list(path: Path) -> list[tuple[str, Attempt]]:
    """Reads a committed list: pairs (folder below the output, attempt).

    The file is a JSON object: folder -> suite -> task index -> pairs [initial state, seed].

    Raises:
        ConfigError: Not such a file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [
            (folder, Attempt(suite, int(task), int(state), int(seed)))
            for folder, suites in content.items()
            for suite, tasks in suites.items()
            for task, pairs in tasks.items()
            for state, seed in pairs
        ]
    except OSError as error:
        raise ConfigError(f"--again: {path}: {error.strerror}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"--again: {path}: not a list of recordings ({error})") from None


def _read_log(path: Path) -> Iterable[tuple[Attempt, bool]]:
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            fields = json.loads(line)
            succeeded = bool(fields.pop("succeeded"))
            yield Attempt(**fields), succeeded
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # cut short by a kill; the attempt is simply made again


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"
